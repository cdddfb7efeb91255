"""Arrays of instants as one binary parameter, beside those of ``projections.kernel.binary``."""

from collections.abc import Sequence
from datetime import datetime
from struct import Struct

import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format

from projections.kernel import binary

_OID, _OID_ARRAY = 1184, 1185  # timestamptz, timestamptz[]

_header = Struct(">iiiii").pack


class InstantArray(bytes):
    """A parameter of type ``timestamptz[]``."""


def instants(values: Sequence[datetime]) -> InstantArray:
    """Spell an array of instants."""
    header = _header(1, 0, _OID, len(values), 1)
    return InstantArray(header + b"".join(map(binary.instant, values)))


class _Instants(Dumper):
    format = Format.BINARY
    oid = _OID_ARRAY

    def dump(self, obj: bytes) -> bytes:
        """Return the parameter, which is spelled already."""
        return obj


psycopg.adapters.register_dumper(InstantArray, _Instants)
