"""``loyalty_program``: which events earn points, and how many.

Rules add up; each fires at most once an event. ``per`` counts whole steps of ``every`` in the sum
of the numbers at ``of``. ``from`` is included, ``until`` excluded, both judged by ``occurred_at``.
``limits`` bound what a rule gives one customer in a calendar period; all of them apply.
A rule leaves lasting effects, so its condition may not test sealed fields.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Final, Literal, Self

from msgspec import Struct
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from contracts.calendars import Per
from contracts.conditions import (
    ALWAYS,
    Condition,
    Context,
    Facts,
    Path,
    Predicate,
    compile_condition,
    parse,
    parse_path,
)
from contracts.conditions.evaluation import compile_sum
from contracts.decimals import whole_steps
from contracts.definitions.fields import (
    Document,
    Instant,
    PositiveDecimal,
    Times,
    Unsupported,
    WholePoints,
    read_document,
)
from contracts.definitions.triggers import TriggerDocument
from contracts.errors import Fault, RefusedError, pointer_to

AWARD_MAX: Final = 10**12  # points of one rule for one event
RULES_MAX: Final = 100  # rules of one program; bounds what one event costs
LIMITS_MAX: Final = 10  # limits of one rule: times and points by each kind of period

_RULE_CONTEXT: Final = Context(has_event=True, sealed_refused=True)

RuleId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]


class PerDocument(Document):
    """``{every: 10, points: 1, of: "metadata.amount"}``."""

    every: PositiveDecimal
    points: WholePoints
    of: str = Field(min_length=1, max_length=500)


class LimitDocument(Document):
    """``{times: 1, per: day}`` or ``{points: 500, per: month}``."""

    times: Times | None = None
    points: WholePoints | None = None
    per: Per

    @model_validator(mode="after")
    def _is_one_limit(self) -> Self:
        if (self.times is None) is (self.points is None):
            raise PydanticCustomError("limit", "takes exactly one of times and points")
        return self


class EarningRuleDocument(Document):
    """One rule; exactly one of ``points`` and ``per``."""

    id: RuleId
    on: TriggerDocument
    condition: object = Field(default=None, alias="if")
    points: WholePoints | None = None
    per: PerDocument | None = None
    from_at: Instant | None = Field(default=None, alias="from")
    until_at: Instant | None = Field(default=None, alias="until")
    active: bool = True
    limits: list[LimitDocument] = Field(default_factory=list, max_length=LIMITS_MAX)
    pending: Unsupported = None
    expires: Unsupported = None

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if (self.points is None) is (self.per is None):
            raise PydanticCustomError("points", "takes exactly one of points and per")
        if self.from_at and self.until_at and self.from_at >= self.until_at:
            raise PydanticCustomError("period", "ends before it begins")
        return self


class LoyaltyProgramDocument(Document):
    """The document as ``PUT /v1/definitions/loyalty_program/{name}`` takes it."""

    name: str | None = Field(default=None, min_length=1, max_length=200)
    earning_rules: list[EarningRuleDocument] = Field(default_factory=list, max_length=RULES_MAX)
    negative_balance: Literal["allow", "refuse"] = "allow"
    join: Literal["automatic", "explicit"] = "automatic"
    tiers: Unsupported = None
    notices: Unsupported = None


class PerSteps(Struct, frozen=True, kw_only=True):
    """``points`` for each whole step of ``every`` in ``measure(facts)``.

    ``measure`` answers the exact sum of the numbers at ``of``, None when there is none.
    """

    every: Decimal
    points: int
    of: Path
    measure: Callable[[Facts], int | Decimal | None]


class Limit(Struct, frozen=True, kw_only=True, gc=False):
    """How often a rule fires, or how many points it gives: exactly one of the two is set."""

    times: int | None
    points: int | None
    per: Per


class EarningRule(Struct, frozen=True, kw_only=True):
    """A rule as loyalty uses it: exactly one of ``points`` and ``per`` is set.

    ``award`` answers the points, below zero for a ``per`` of a negative value, and looks at
    neither ``holds`` nor the period nor the limits. It stops at ``AWARD_MAX`` either way.
    """

    id: str
    event: str
    condition: Condition | None
    holds: Predicate
    points: int | None
    per: PerSteps | None
    limits: tuple[Limit, ...]
    from_at: datetime | None
    until_at: datetime | None
    active: bool
    award: Callable[[Facts], int]


class LoyaltyProgram(Struct, frozen=True, kw_only=True):
    """A program as processes use it; ``rules_on`` has the active rules by their event."""

    name: str
    title: str
    rules: tuple[EarningRule, ...]
    rules_on: Mapping[str, tuple[EarningRule, ...]]
    negative_balance: Literal["allow", "refuse"]
    join: Literal["automatic", "explicit"]


def parse_loyalty_program(name: str, spec: object, pointer: str = "") -> LoyaltyProgram:
    """Read a program.

    Raises:
        RefusedError: with every fault.
    """
    document = read_document(LoyaltyProgramDocument, spec, pointer)
    rules: list[EarningRule] = []
    faults = list(_document_faults(document, pointer))
    for index, rule in enumerate(document.earning_rules):
        try:
            rules.append(_rule(rule, pointer_to(pointer, "earning_rules", index)))
        except RefusedError as refused:
            faults.extend(refused.faults)
    if faults:
        raise RefusedError(faults)
    return LoyaltyProgram(
        name=name,
        title=document.name or name,
        rules=tuple(rules),
        rules_on=_by_event(rules),
        negative_balance=document.negative_balance,
        join=document.join,
    )


def _document_faults(document: LoyaltyProgramDocument, pointer: str) -> Iterator[Fault]:
    seen: set[str] = set()
    for index, rule in enumerate(document.earning_rules):
        if rule.id in seen:
            yield Fault(
                pointer=pointer_to(pointer, "earning_rules", index, "id"),
                code="duplicate",
                detail=f"{rule.id} is the id of an earlier rule",
            )
        seen.add(rule.id)


def _rule(document: EarningRuleDocument, pointer: str) -> EarningRule:
    condition = None
    faults: list[Fault] = []
    if document.condition is not None:
        try:
            condition = parse(document.condition, pointer_to(pointer, "if"), _RULE_CONTEXT)
        except RefusedError as refused:
            faults.extend(refused.faults)
    per = None
    if document.per is not None:
        try:
            per = _per(document.per, pointer_to(pointer, "per"))
        except RefusedError as refused:
            faults.extend(refused.faults)
    if faults:
        raise RefusedError(faults)
    return EarningRule(
        id=document.id,
        event=document.on.event,
        condition=condition,
        holds=ALWAYS if condition is None else compile_condition(condition),
        points=document.points,
        per=per,
        limits=tuple(
            Limit(times=each.times, points=each.points, per=each.per) for each in document.limits
        ),
        from_at=document.from_at,
        until_at=document.until_at,
        active=document.active,
        award=_award(document.points, per),
    )


def _award(points: int | None, per: PerSteps | None) -> Callable[[Facts], int]:
    """Whole steps count toward zero, so a refund takes back by the same measure."""
    if per is None:
        assert points is not None, "a rule has points or per"
        return lambda _facts: points

    def award(facts: Facts) -> int:
        value = per.measure(facts)
        if value is None:
            return 0
        total = whole_steps(value, per.every) * per.points
        return max(-AWARD_MAX, min(AWARD_MAX, total))

    return award


def _per(document: PerDocument, pointer: str) -> PerSteps:
    place = pointer_to(pointer, "of")
    try:
        path = parse_path("event", document.of)
    except ValueError as error:
        detail = f"the path {document.of[:60]!r} {error}"
        raise RefusedError([Fault(pointer=place, code="path", detail=detail)]) from error
    if path.field not in ("goal_value", "metadata"):
        raise RefusedError([Fault(pointer=place, code="type", detail=f"{path.text} is no number")])
    return PerSteps(
        every=document.every, points=document.points, of=path, measure=compile_sum(path)
    )


def _by_event(rules: list[EarningRule]) -> Mapping[str, tuple[EarningRule, ...]]:
    grouped: dict[str, list[EarningRule]] = {}
    for rule in rules:
        if rule.active:
            grouped.setdefault(rule.event, []).append(rule)
    return {event: tuple(listed) for event, listed in grouped.items()}
