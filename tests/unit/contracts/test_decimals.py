"""Numbers stay exact."""

from decimal import Decimal, localcontext

import pytest

from contracts.decimals import add_exactly, exact_number, is_number, whole_steps


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (5, 5),
        (Decimal("5.0"), 5),
        (Decimal("1E+3"), 1000),
        (Decimal("0.1"), Decimal("0.1")),
        (0.1, Decimal("0.1")),
        (Decimal("1E+6144"), Decimal("1E+6144")),
        (float("nan"), None),
        (float("inf"), None),
        (Decimal("NaN"), None),
        (True, None),
        ("5", None),
        (None, None),
    ],
)
def test_a_number_is_read_exactly(value: object, number: int | Decimal | None) -> None:
    assert exact_number(value) == number
    assert type(exact_number(value)) is type(number)


def test_a_boolean_is_no_number() -> None:
    assert [is_number(each) for each in (1, Decimal("1.5"), True, "1", 1.5)] == [
        True, True, False, False, False,
    ]  # fmt: skip


def test_sums_depend_on_no_precision_of_the_process() -> None:
    with localcontext(prec=3):
        assert add_exactly([Decimal("0.1"), Decimal("0.2")]) == Decimal("0.3")
        assert add_exactly([10**33, Decimal("1E-33")]) - 10**33 != Decimal(0)
        assert add_exactly([Decimal("1E+6144"), 1, Decimal("-1E+6144")]) == 1


@pytest.mark.parametrize(
    ("value", "every", "steps"),
    [("29.99", "10", 2), ("-29.99", "10", -2), ("0.3", "0.1", 3), ("9" * 34, "10", int("9" * 33))],
)
def test_steps_are_rounded_toward_zero(value: str, every: str, steps: int) -> None:
    with localcontext(prec=3):
        assert whole_steps(Decimal(value), Decimal(every)) == steps
