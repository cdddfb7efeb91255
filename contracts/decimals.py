"""Numbers as people write them: ``int`` or ``Decimal``, never a float on the way.

A number of the log is an ``int`` or a finite ``Decimal``; a ``bool`` is not a number.
"""

import math
from collections.abc import Iterable
from decimal import ROUND_DOWN, Context, Decimal
from typing import Final, TypeGuard

Number = int | Decimal

DIGITS_MAX: Final = 34  # digits of a number in the log (decimal128)
EXPONENT_MAX: Final = 308  # of a number people write in definitions: what every JSON reader holds
SUM_DIGITS_MAX: Final = 13_000  # of sums and quotients: a decimal128's whole range, twice

_WIDE: Final = Context(prec=SUM_DIGITS_MAX, rounding=ROUND_DOWN)


def add_exactly(numbers: Iterable[int | Decimal]) -> int | Decimal:
    """The sum, in no precision that the process happens to have set; 0 of nothing."""
    total = Decimal(0)
    for number in numbers:
        total = _WIDE.add(total, Decimal(number))
    return total


def whole_steps(value: int | Decimal, every: Decimal) -> int:
    """How many whole steps of ``every`` (above zero) are in ``value``, rounded toward zero."""
    return int(_WIDE.divide_int(Decimal(value), every))


def is_number(value: object) -> TypeGuard[int | Decimal]:
    """True for what JSON calls a number, as the codec decodes it."""
    kind = type(value)
    return kind is int or kind is Decimal


def exact_number(value: object) -> int | Decimal | None:
    """The number in ``value``, or None when it is not one.

    A YAML float counts as the decimal that its shortest form says, so ``0.1`` is a tenth. Whole
    decimals become ``int``, which compares and hashes the same and faster.
    """
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        value = Decimal(repr(value))
    if not is_number(value):
        return None
    if isinstance(value, Decimal):
        if not value.is_finite():
            return None
        if value == value.to_integral_value() and value.adjusted() < DIGITS_MAX:
            return int(value)
    return value
