"""Numbers as people write them: ``int`` or ``Decimal``, never a float on the way.

A number of the log is an ``int`` or a finite ``Decimal``; a ``bool`` is not a number.
"""

import math
from decimal import Decimal
from typing import TypeGuard

Number = int | Decimal


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
        if value == value.to_integral_value() and value.adjusted() < 34:
            return int(value)
    return value
