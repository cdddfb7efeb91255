"""Adding rows to a table: one statement however many there are.

Guarantee: rows go in as ``projections.kernel.binary`` spells them, all or none. Where statements
are sent together (``services.runtime.postgres.in_one_trip``), these are too; many rows at once are
for COPY, which takes trips of its own and costs half as much a row.
"""

from collections.abc import Iterator, Sequence
from struct import Struct
from typing import LiteralString

import psycopg

from projections.kernel import binary
from services.runtime.postgres import Session, sends_together

_SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"
_COUNT_BYTES = 2
_LENGTH_BYTES = 4

_length = Struct(">i").unpack_from


class Table:
    """A table that rows are added to.

    Args:
        columns: in the order of a spelled row, each with its type, as in its DDL:
            ``"customer uuid, amount bigint"``.
    """

    def __init__(self, name: LiteralString, columns: LiteralString) -> None:
        declared = [each.split() for each in columns.split(",")]
        names = ", ".join(column for column, _ in declared)
        values = ", ".join("%s" for _ in declared)
        arrays = ", ".join(f"%s::{kind}[]" for _, kind in declared)
        into: LiteralString = f"{name} ({names})"
        self._copy: LiteralString = f"COPY {into} FROM STDIN (FORMAT binary)"
        self._one: LiteralString = f"INSERT INTO {into} VALUES ({values})"  # noqa: S608 - literals
        self._some: LiteralString = f"INSERT INTO {into} SELECT * FROM unnest({arrays})"  # noqa: S608
        self._oids = [psycopg.adapters.types[kind].oid for _, kind in declared]

    async def add(self, session: Session, rows: Sequence[bytes]) -> None:
        """Add rows already spelled; without any, nothing is sent."""
        if not rows:
            return
        if not sends_together(session):
            async with session.cursor() as cursor, cursor.copy(self._copy) as sink:
                await sink.write(b"".join((_SIGNATURE, *rows, _TRAILER)))
        elif len(rows) == 1:
            await session.execute(self._one, [_value(each) for each in _columns(rows[0])])
        else:
            columns = zip(self._oids, zip(*map(_columns, rows), strict=True), strict=True)
            await session.execute(self._some, [binary.array(oid, each) for oid, each in columns])


def _columns(row: bytes) -> Iterator[bytes]:
    """Cut a row into its columns, each with its length before it."""
    start, end = _COUNT_BYTES, len(row)
    while start < end:
        stop = start + _LENGTH_BYTES + max(_length(row, start)[0], 0)
        yield row[start:stop]
        start = stop


def _value(column: bytes) -> binary.Spelled | None:
    return None if column == binary.NULL else binary.Spelled(column[_LENGTH_BYTES:])
