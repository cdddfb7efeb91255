"""What is used of limits, read from the ledger itself by one statement a batch.

Guarantee: it is the sum over the rule's own entries, so no correction has to keep a count right.
Ids of a rule's entries begin with the rule and the second of their event (``entries.Series``), so
a period is one range of the ledger's key.
"""

from typing import LiteralString

from projections.kernel import binary
from projections.loyalty.limits import Uses
from services.runtime.postgres import Session

# A reversal takes back what its entry gave, also where a part of it was forgiven.
_USED: LiteralString = """
SELECT k.number, sum(CASE WHEN e.reverses IS NULL THEN 1 ELSE -1 END)::bigint,
    sum(e.points - e.shortfall)::bigint
FROM unnest(%s, %s, %s, %s, %s, %s) WITH ORDINALITY
    AS k (workspace, customer, program, rule, low, high, number)
JOIN entries e ON e.workspace = k.workspace AND e.customer = k.customer
    AND e.entry BETWEEN k.low AND k.high
WHERE e.program = k.program AND e.rule = k.rule
    AND (e.kind = 'earned' OR (e.reverses IS NOT NULL AND e.points < e.shortfall))
GROUP BY k.number"""


async def load(session: Session, uses: Uses) -> None:
    """Read the use of the periods that a batch met for the first time."""
    wanted = uses.wanted
    if not wanted:
        return
    ranges = [each.entries.between(each.period.start, each.period.end) for each in wanted]
    parameters = (
        binary.texts([each.member[0] for each in wanted]),
        binary.uuids([binary.customer_key(each.member[1]) for each in wanted]),
        binary.texts([each.member[2] for each in wanted]),
        binary.texts([each.entries.rule for each in wanted]),
        binary.uuids([low for low, _ in ranges]),
        binary.uuids([high for _, high in ranges]),
    )
    for number, times, points in await (await session.execute(_USED, parameters)).fetchall():
        used = wanted[int(number) - 1].used
        used.times += times
        used.points += points
    wanted.clear()
