"""Every kind of bad input is refused with its pointer, and nothing else is."""

from __future__ import annotations

from decimal import Decimal

import pytest

from contracts.codec import decode_json
from contracts.errors import Fault
from services.gateway.admission import Admitted, admit
from services.gateway.bounds import EVENT_BYTES_MAX, METADATA_BYTES_MAX
from services.gateway.errors import RefusedEventError, problem_of
from services.gateway.faults import event_faults
from services.runtime import problems
from services.runtime.problems import ProblemError
from tests.support.gateway_events import NOW, definitions, text

DEFINITIONS = definitions()
START = b'{"event":"signed_up","customer":{"source_id":"alex"},'


def admitted(raw: bytes) -> Admitted:
    return admit(raw, DEFINITIONS, NOW)


def faults_of(raw: bytes) -> list[tuple[str, str]]:
    with pytest.raises(RefusedEventError) as caught:
        admit(raw, DEFINITIONS, NOW)
    return [(fault.pointer, fault.code) for fault in caught.value.faults]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", ("", "malformed-json")),
        (b"{", ("", "malformed-json")),
        (b"nonsense", ("", "malformed-json")),
        (b"null", ("", "type")),
        (b"[]", ("", "type")),
        (b"7", ("", "type")),
        (b'"text"', ("", "type")),
        (START + b'"metadata":{"a":NaN}}', ("", "malformed-json")),
        (START + b'"metadata":{"a":Infinity}}', ("", "malformed-json")),
        (START + b'"metadata":{"a":1e7000}}', ("/metadata/a", "number")),
        (START + b'"metadata":{"a":1e99999999999999999999}}', ("/metadata/a", "number")),
        (START + b'"metadata":{"a":1e-7000}}', ("/metadata/a", "number")),
        (START + b'"metadata":{"a":' + b"1" * 35 + b"}}", ("/metadata/a", "number")),
        (START + b'"metadata":{"a":' + b"1" * 5000 + b"}}", ("/metadata/a", "number")),
        (START + b'"metadata":{"a":0.' + b"1" * 35 + b"}}", ("/metadata/a", "number")),
        (START + b'"metadata":{"a":1,"a":2}}', ("/metadata/a", "duplicate-key")),
        (START + b'"metadata":{"a":1,"\\u0061":2}}', ("/metadata/a", "duplicate-key")),
        (START + b'"metadata":{"b":[{"c":1,"c":1}]}}', ("/metadata/b/0/c", "duplicate-key")),
        (START + b'"event":"signed_up"}', ("/event", "duplicate-key")),
        (START + b'"id":"1","id":"1"}', ("/id", "duplicate-key")),
        (START + b'"metadata":{"a":"\xff"}}', ("", "encoding")),
        (START + b'"metadata":{"a":"\xed\xa0\x80"}}', ("", "encoding")),
        (START + b'"metadata":{"a":"\\ud800"}}', ("/metadata/a", "lone-surrogate")),
        (START + b'"metadata":{"a":"\\ud800 and more text"}}', ("/metadata/a", "lone-surrogate")),
        (START + b'"metadata":{"a":"\\udc00\\ud800"}}', ("/metadata/a", "lone-surrogate")),
        (START + b'"metadata":{"\\ud800":1}}', ("/metadata/?", "lone-surrogate")),
        (START + b'"metadata":{"a":"\\u0000"}}', ("/metadata/a", "null-character")),
        (START + b'"metadata":{"a\\u0000b":1}}', ("/metadata/a\x00b", "null-character")),
        (START + b'"metadata":{"a":"\x00"}}', ("", "malformed-json")),
        (START + b'"external_id":"a\\u0000"}', ("/external_id", "null-character")),
        (START + b'"metadata":[]}', ("/metadata", "type")),
        (START + b'"metadata":"{}"}', ("/metadata", "type")),
        (START + b'"metadata":{"a":' + b"[" * 8 + b"]" * 8 + b"}}", ("/metadata", "depth")),
        (b"[" * 10_000 + b"]" * 10_000, ("", "depth")),
        (START + b'"metadata":' + b'{"a":' * 5000 + b"1" + b"}" * 5001, ("", "depth")),
        (START + b'"surprise":1}', ("/surprise", "unknown-field")),
        (START + b'"\\ud800":1}', ("/?", "lone-surrogate")),
        (START + b'"\\ud800":1,"\\ud800":2}', ("/?", "lone-surrogate")),
        (START + b'"\\ud800":{"\\udfff":[{"\\ud800":1}]}}', ("/?/?/0/?", "lone-surrogate")),
        (START + b'"referral":{"code":"X","\\ud800":1}}', ("/referral/?", "lone-surrogate")),
        (START + b'"loyalty":{"code":"X","\\ud800":1}}', ("/loyalty/?", "lone-surrogate")),
        (b'{"event":"\\ud800","customer":{}}', ("/event", "lone-surrogate")),
        (
            b'{"event":"signed_up","customer":{"source_id":"a","\\ud800":1}}',
            ("/customer/?", "lone-surrogate"),
        ),
        (
            b'{"event":"signed_up","customer":{"id":"a","address":{"\\ud800":1}}}',
            ("/customer/address/?", "lone-surrogate"),
        ),
        (START + b'"id":""}', ("/id", "length")),
        (START + b'"id":7}', ("/id", "type")),
        (START + b'"id":"' + b"x" * 129 + b'"}', ("/id", "length")),
        (START + b'"external_id":"' + b"x" * 256 + b'"}', ("/external_id", "length")),
        (START + b'"occurred_at":"2026-11-21T09:30:00"}', ("/occurred_at", "time")),
        (START + b'"occurred_at":"2026-11-21"}', ("/occurred_at", "time")),
        (START + b'"occurred_at":"yesterday"}', ("/occurred_at", "time")),
        (START + b'"occurred_at":1763717400}', ("/occurred_at", "type")),
        (START + b'"occurred_at":"2026-11-21T12:06:00Z"}', ("/occurred_at", "ahead")),
        (START + b'"occurred_at":"2026-11-21T13:05:01+01:00"}', ("/occurred_at", "ahead")),
        (START + b'"occurred_at":"9999-12-31T23:59:59Z"}', ("/occurred_at", "ahead")),
        (START + b'"occurred_at":"9999-12-31T23:59:59-05:00"}', ("/occurred_at", "time")),
        (START + b'"occurred_at":"0001-01-01T00:00:00+05:00"}', ("/occurred_at", "time")),
        (START + b'"deleted_at":"9999-12-31T23:59:59-05:00"}', ("/deleted_at", "time")),
        (START + b'"deleted_at":false}', ("/deleted_at", "type")),
        (START + b'"historical":"yes"}', ("/historical", "type")),
        (START + b'"goal_type":"sale"}', ("/goal_type", "enum")),
        (START + b'"goal_type":"purchase"}', ("/goal_value", "required")),
        (START + b'"goal_type":"subscription","goal_value":null}', ("/goal_value", "required")),
        (START + b'"goal_value":"149.99"}', ("/goal_value", "type")),
        (START + b'"goal_value":true}', ("/goal_value", "type")),
        (START + b'"goal_value":[1]}', ("/goal_value", "type")),
        (START + b'"goal_value":0.00001}', ("/goal_value", "range")),
        (START + b'"goal_value":1234567890123456}', ("/goal_value", "range")),
        (START + b'"goal_value":1e15}', ("/goal_value", "range")),
        (START + b'"goal_value":123456789012.1234}', ("/goal_value", "range")),
        (START + b'"goal_value":1e6000}', ("/goal_value", "range")),
        (START + b'"goal_name":""}', ("/goal_name", "length")),
        (START + b'"referral":{}}', ("/referral/code", "required")),
        (START + b'"referral":"X"}', ("/referral", "type")),
        (START + b'"referral":{"code":7}}', ("/referral/code", "type")),
        (START + b'"loyalty":{"code":"X","more":1}}', ("/loyalty/more", "unknown-field")),
        (b'{"customer":{"id":"x"}}', ("/event", "required")),
        (b'{"event":null,"customer":{"id":"x"}}', ("/event", "required")),
        (b'{"event":"","customer":{"id":"x"}}', ("/event", "name")),
        (b'{"event":7,"customer":{"id":"x"}}', ("/event", "type")),
        (b'{"event":"a\\u0001b","customer":{"id":"x"}}', ("/event", "name")),
        (b'{"event":"' + b"x" * 301 + b'","customer":{"id":"x"}}', ("/event", "name")),
        (b'{"event":"signed_up"}', ("/customer", "required")),
        (b'{"event":"never_defined","customer":{"id":"x"}}', ("/event", "unknown")),
    ],
)
def test_bad_input_is_refused_with_the_pointer_of_its_fault(
    raw: bytes, expected: tuple[str, str]
) -> None:
    assert expected in faults_of(raw)


def test_lone_surrogates_beyond_the_faults_listed_do_no_harm() -> None:
    many = ",".join(f'"{index}":1' for index in range(200)).encode()
    raw = START + many + b',"metadata":{"\\ud800":"\\ud800"}}'

    with pytest.raises(RefusedEventError) as caught:
        admit(raw, DEFINITIONS, NOW)

    problem = problem_of(caught.value)
    assert problem is not None
    assert problems.encode(problem, "req_1")


@pytest.mark.parametrize(
    "raw",
    [
        START + b'"metadata":{"a":1e400,"b":-0.0,"c":' + b"9" * 34 + b"}}",
        START + b'"metadata":{"a":"' + b"7" * 60 + b'"}}',
        START + b'"metadata":{"a":"say \\u0022hi\\u0022 \\\\u0000 \\ud83d\\ude00"}}',
        START + b'"metadata":{"a":"tab\\t quote\\" slash\\/ line\\n"}}',
        START + b'"metadata":{"\\u00e9":"\xc3\xa9"}}',
        START + b'"metadata":{"a":' + b"[" * 7 + b"]" * 7 + b"}}",
        START + b'"metadata":{"a":"[[[[[[[[[[[[[{{{{{{{{{"}}',
        START + b'"metadata":null,"referral":null,"loyalty":null,"occurred_at":null}',
        START + b'"occurred_at":"2026-11-21T12:04:59Z"}',
        START + b'"occurred_at":"0001-01-01T00:00:00Z"}',
        START + b'"goal_type":"lead"}',
        b' \n{"event" : "signed_up" , "customer" : { "source_id" : "alex" } }\r\n',
    ],
)
def test_odd_input_that_breaks_no_rule_is_admitted(raw: bytes) -> None:
    assert admitted(raw).body.event == "signed_up"


@pytest.mark.parametrize(
    ("written", "value"),
    [
        (b"149.990", "149.99"),
        (b"1e3", "1000"),
        (b"-25.5", "-25.5"),
        (b"0.0001", "0.0001"),
        (b"0.00", "0"),
        (b"-0", "0"),
        (b"999999999999999", "999999999999999"),
        (b"12345678901.123400000", "12345678901.1234"),
        (b"0e999999999", "0"),
    ],
)
def test_a_goal_value_is_kept_exactly_without_trailing_zeros(written: bytes, value: str) -> None:
    event = admitted(START + b'"goal_type":"purchase","goal_value":' + written + b"}")

    assert event.goal_value == Decimal(value)
    assert str(event.goal_value) == value


def test_numbers_in_metadata_keep_their_digits() -> None:
    written = b'{"a":0.1000,"b":1234567890123456789012345678901234,"c":12.5e-10}'

    event = admitted(START + b'"metadata":' + written + b"}")

    assert decode_json(event.metadata) == decode_json(written)
    assert b"0.1000" in bytes(event.metadata)


def test_every_fault_of_an_event_is_listed() -> None:
    raw = (
        b'{"event":"order.completed","customer":{"email":"nobody","pet":"cat"},'
        b'"metadata":{"amount":"much"},"occurred_at":"now","goal_type":"purchase","extra":1}'
    )

    assert sorted(faults_of(raw)) == [
        ("/customer/email", "email"),
        ("/customer/pet", "unknown-field"),
        ("/extra", "unknown-field"),
        ("/goal_value", "required"),
        ("/metadata/amount", "type"),
        ("/occurred_at", "time"),
    ]


def test_metadata_against_its_type_is_a_problem_of_its_own() -> None:
    raw = text(event="order.completed", metadata={"note": 7, "else": 1})

    with pytest.raises(RefusedEventError) as caught:
        admitted(raw)

    problem = problem_of(caught.value)
    assert problem is not None
    assert (problem.slug, problem.status) == ("metadata-invalid", 400)
    assert {fault.pointer for fault in problem.errors} == {
        "/metadata/amount",
        "/metadata/note",
        "/metadata/else",
    }


def test_an_unknown_event_type_is_admitted_where_the_workspace_allows_it() -> None:
    event = admit(text(event="never.defined"), definitions(unknown="allow"), NOW)

    assert event.event_type is None


def test_an_event_larger_than_its_bound_is_too_large() -> None:
    raw = text(metadata={"a": "x" * EVENT_BYTES_MAX})

    with pytest.raises(ProblemError) as caught:
        admitted(raw)

    assert caught.value.problem.status == 413


def test_metadata_larger_than_its_bound_is_refused() -> None:
    raw = text(metadata={"a": "x" * METADATA_BYTES_MAX})

    assert faults_of(raw) == [("/metadata", "size")]


def test_what_the_quick_way_takes_the_exact_way_finds_nothing_wrong_with() -> None:
    raw = text(metadata={"a": [1, 2.5, None, True]}, external_id="1", goal_value=1)

    assert event_faults(raw, NOW) == ()
    assert admitted(raw).metadata


def test_a_fault_is_listed_once_a_pointer() -> None:
    found: list[Fault] = list(event_faults(START + b'"id":"","id":""}', NOW))

    assert [fault.pointer for fault in found] == ["/id"]
