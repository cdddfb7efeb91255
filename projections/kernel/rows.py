"""Writing and naming sets of rows: COPY in text form, and arrays of keys as one parameter.

Guarantee: ``text`` escapes what COPY's text format gives a meaning, so any string goes in as it is.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import LiteralString

from contracts.identifiers import CustomerId
from services.runtime.postgres import Session

NULL = "\\N"
_CUSTOMER_PREFIX = "cust_"
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def text(value: str) -> str:
    """Spell a string for COPY."""
    return value.translate(_ESCAPES)


def json_text(value: bytes) -> str:
    """Spell compact JSON for COPY: it holds no raw control characters, only backslashes."""
    spelled = value.decode()
    return spelled.replace("\\", "\\\\") if "\\" in spelled else spelled


def optional_time(value: datetime | None) -> str:
    """Spell an instant or null for COPY."""
    return NULL if value is None else value.isoformat()


def customer_uuid(customer: str) -> str:
    """Return the hexadecimal digits of a customer id, as Postgres reads a uuid."""
    return customer.removeprefix(_CUSTOMER_PREFIX)


def customer_id(digits: str) -> CustomerId:
    """Return the public customer id of a uuid's hexadecimal digits (hyphens allowed)."""
    return CustomerId(_CUSTOMER_PREFIX + digits.replace("-", ""))


def array(values: Iterable[str]) -> str:
    """Spell an array whose elements need no quotes (digits, hexadecimal)."""
    return "{" + ",".join(values) + "}"


def text_array(values: Iterable[str]) -> str:
    """Spell an array of names that hold neither quotes nor backslashes."""
    return "{" + ",".join(f'"{value}"' for value in values) + "}"


async def copy(session: Session, statement: LiteralString, rows: list[str]) -> None:
    """Run a ``COPY … FROM STDIN`` with rows already spelled, tab-separated, without newlines."""
    if not rows:
        return
    payload = "\n".join(rows) + "\n"
    async with session.cursor() as cursor, cursor.copy(statement) as sink:
        await sink.write(payload)
