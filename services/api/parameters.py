"""Checking a request's parameters against its route's table.

Guarantee: what passes is typed as the table says; every fault is named by ``/query/<name>`` or
``/headers/<name>``. A query parameter that the route does not have is refused: a filter with a
typing error would otherwise answer everything.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from urllib.parse import parse_qsl

from contracts.conditions.operators import parse_time
from contracts.errors import Fault, RefusedError, pointer_to, refuse
from services.api.call import Value
from services.api.json_text import checked_text
from services.api.routes import Param, PathParam, Route

FIELDS_MAX = 100
"""Parameters of one query."""
INTEGER_DIGITS_MAX = 19
"""Digits of the largest integer that Postgres holds."""


def read_parameters(
    route: Route, query: bytes, headers: Iterable[tuple[bytes, bytes]]
) -> dict[str, Value]:
    """Read what the route declares, by name; raises ``RefusedError`` with every fault."""
    faults: list[Fault] = []
    given = _query(query)
    known = {param.name for param in route.query}
    faults.extend(
        Fault(
            pointer=pointer_to("", "query", name),
            code="unknown-field",
            detail="is no parameter here",
        )
        for name in given
        if name not in known
    )
    values: dict[str, Value] = {}
    sent = _headers(headers)
    for where, params, texts in (("query", route.query, given), ("headers", route.headers, sent)):
        for param in params:
            found = texts.get(param.name.lower() if where == "headers" else param.name, [])
            try:
                value = _value(param, found, pointer_to("", where, param.name))
            except RefusedError as error:
                faults.extend(error.faults)
            else:
                if value is not None:
                    values[param.name] = value
    if faults:
        raise RefusedError(faults)
    return values


def check_path(params: Iterable[PathParam], path: Mapping[str, str]) -> PathParam | None:
    """The parameter whose value is none of its choices, or None when all are fine."""
    for param in params:
        if param.choices and path[param.name] not in param.choices:
            return param
    return None


def _query(query: bytes) -> dict[str, list[str]]:
    try:
        pairs = parse_qsl(
            query.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=FIELDS_MAX,
        )
    except (UnicodeDecodeError, ValueError) as error:
        raise refuse("/query", "query", "is not readable as UTF-8 parameters") from error
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        checked_text(name, "/query")
        found.setdefault(name, []).append(checked_text(value, pointer_to("", "query", name)))
    return found


def _headers(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in headers:
        found.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1").strip())
    return found


def _value(param: Param, texts: list[str], pointer: str) -> Value | None:
    if not texts or (param.blank_is_absent and texts == [""]):
        if param.required:
            raise refuse(pointer, "required", "is required")
        return None
    if param.repeated:
        return tuple(part.strip() for text in texts for part in text.split(",") if part.strip())
    if len(texts) > 1:
        raise refuse(pointer, "repeated", "is given more than once")
    return _parsed(param, texts[0], pointer)


def _parsed(param: Param, text: str, pointer: str) -> Value:
    if len(text) > param.chars_max:
        raise refuse(pointer, "too-long", f"is longer than {param.chars_max} characters")
    if param.choices and text not in param.choices:
        raise refuse(pointer, "enum", f"is none of {', '.join(param.choices)}")
    match param.form:
        case "text":
            return text
        case "integer":
            return _integer(param, text, pointer)
        case "boolean":
            if text not in ("true", "false"):
                raise refuse(pointer, "type", "is neither true nor false")
            return text == "true"
        case "time":
            return _time(text, pointer)


def _integer(param: Param, text: str, pointer: str) -> int:
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()) or len(digits) > INTEGER_DIGITS_MAX:
        raise refuse(pointer, "type", "is not an integer")
    number = int(text)
    if not param.least <= number <= param.most:
        raise refuse(pointer, "range", f"is not between {param.least} and {param.most}")
    return number


def _time(text: str, pointer: str) -> datetime:
    instant = parse_time(text.replace(" ", "+"))  # a bare + of a query reads as a space
    if instant is None or len(text) <= len("2026-11-21"):  # a day begins elsewhere in another zone
        raise refuse(pointer, "time", "is not a time with its zone, such as 2026-11-21T09:30:00Z")
    return instant
