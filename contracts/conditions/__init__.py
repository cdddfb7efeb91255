"""The language of conditions: its syntax and its meaning, once, for every rule.

``parse`` reads a document and refuses it with the pointer of each fault; ``compile_condition``
makes a closure for the hot path; ``explain`` names the first condition that failed. The meaning is
api.md's: a path yields values, a test holds when any value passes it, a comparison with something
absent or of another type is false, numbers are exact decimals, strings compare by code point.
"""

from contracts.conditions.evaluation import (
    ALWAYS,
    CustomerFacts,
    EventFacts,
    Facts,
    FirstFailure,
    Predicate,
    compile_condition,
    explain,
)
from contracts.conditions.operators import Operand, Operator
from contracts.conditions.paths import Path, parse_path
from contracts.conditions.syntax import (
    DEPTH_MAX,
    NODES_MAX,
    AllOf,
    AnyOf,
    Comparison,
    Condition,
    Context,
    Not,
    comparisons_of,
    parse,
)

compile = compile_condition  # noqa: A001 - the name callers read best: conditions.compile(...)

__all__ = [
    "ALWAYS",
    "DEPTH_MAX",
    "NODES_MAX",
    "AllOf",
    "AnyOf",
    "Comparison",
    "Condition",
    "Context",
    "CustomerFacts",
    "EventFacts",
    "Facts",
    "FirstFailure",
    "Not",
    "Operand",
    "Operator",
    "Path",
    "Predicate",
    "comparisons_of",
    "compile",
    "compile_condition",
    "explain",
    "parse",
    "parse_path",
]
