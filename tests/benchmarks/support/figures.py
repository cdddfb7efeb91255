"""A figure is one measured number; its goal bounds the number, or its ratio to another figure."""

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec


class Goal(msgspec.Struct, frozen=True, kw_only=True):
    """A bound, the limit itself included."""

    bound: Literal["at_least", "at_most"]
    limit: float

    def holds(self, value: float) -> bool:
        match self.bound:
            case "at_least":
                return value >= self.limit
            case "at_most":
                return value <= self.limit


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One measured number.

    Attributes:
        name: unique in a run.
        unit: of ``value``, e.g. ``events/s``, ``ms``, ``MiB``.
        ratio_to: the name of the figure that this one is divided by; the goal is then the ratio's.
        ratio: measured in pairs, where both were driven in turns; absent: one value over the other.
        note: what a reader must know to judge the number.
    """

    name: str
    value: float
    unit: str
    goal: Goal | None = None
    ratio_to: str | None = None
    ratio: float | None = None
    note: str = ""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A figure as it is shown: its ratio worked out and its goal judged."""

    figure: Figure
    ratio: float | None
    met: bool | None


def at_least(limit: float) -> Goal:
    return Goal(bound="at_least", limit=limit)


def at_most(limit: float) -> Goal:
    return Goal(bound="at_most", limit=limit)


def judged(figures: Sequence[Figure]) -> list[Line]:
    """Work out ratios and goals; a goal on a ratio whose other figure was not measured is open."""
    values = {figure.name: figure.value for figure in figures}
    return [_line(figure, values) for figure in figures]


def _line(figure: Figure, values: Mapping[str, float]) -> Line:
    divisor = values.get(figure.ratio_to) if figure.ratio_to is not None else None
    ratio = figure.ratio
    if ratio is None and divisor:
        ratio = figure.value / divisor
    bounded = figure.value if figure.ratio_to is None else ratio
    met = None if figure.goal is None or bounded is None else figure.goal.holds(bounded)
    return Line(figure=figure, ratio=ratio, met=met)
