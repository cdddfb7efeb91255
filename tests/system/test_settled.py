"""``GET /v1/settled``: when all that an event set off has come to rest, everything can be read."""

from __future__ import annotations

import pytest

from tests.support.talking import Talk, assert_problem

pytestmark = pytest.mark.timeout(240)


def test_what_is_settled_can_be_read_everywhere_without_waiting(talk: Talk, name: str) -> None:
    talk.put("event_type", name, {"additional_properties": "allow"})
    rule = {"id": "any", "on": {"event": name}, "points": 7}
    talk.put("loyalty_program", name, {"earning_rules": [rule]})

    for number in range(1, 4):
        position = talk.tell(name, name).position
        settled = talk.read(f"/v1/settled?position={position}")

        assert settled["settled"] is True
        assert settled["dead_letters"] == []
        assert settled["rounds"] in range(1, 9)
        assert talk.points(name, program=name) == 7 * number
        kinds = [each["kind"] for each in talk.listed(f"/v1/customers/{name}/activity")]
        assert kinds.count(f"custom_event.{name}") == number


@pytest.mark.parametrize(
    ("position", "status"),
    [
        ("", 400),
        ("nonsense", 400),
        ("loyalty.entries/0/0", 400),
        ("customer.events/999/0", 400),
        ("customer.events/0/999999999", 404),
    ],
)
def test_a_position_where_no_chain_begins_is_refused(
    talk: Talk, position: str, status: int
) -> None:
    assert_problem(talk.ask("GET", f"/v1/settled?position={position}"), status)
