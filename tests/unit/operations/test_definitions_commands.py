"""`apply` and `diff`: what they send, show and end with."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.operations.front_door import Answer, CommandLine, front_door, refusal

PLAN = {
    "revision": 7,
    "created": [{"kind": "event_type", "name": "signed_up"}],
    "changed": [
        {
            "kind": "endpoint",
            "name": "shop",
            "diff": [
                {"pointer": "/url", "change": "changed", "old": "http://a", "new": "http://b"},
                {"pointer": "/headers", "change": "added", "old": None, "new": {"x": 1.50}},
            ],
            "secret": "whsec_once",
        }
    ],
    "unchanged": [{"kind": "workspace", "name": "demo"}],
    "dry_run": True,
}
NOTHING = {**PLAN, "created": [], "changed": []}


@pytest.fixture
def file(tmp_path: Path) -> str:
    written = tmp_path / "definitions.yaml"
    written.write_text("kind: event_type\nname: signed_up\nspec: {}\n")
    return str(written)


def test_a_diff_shows_the_plan_and_ends_with_one(upshot: CommandLine, file: str) -> None:
    with front_door(lambda _: Answer(value=PLAN)) as door:
        shown = upshot(door, "diff", "-f", file)

    assert shown.code == 1
    assert shown.out.splitlines() == [
        "+ event_type signed_up",
        "~ endpoint shop",
        '    ~ /url: "http://a" → "http://b"',
        '    + /headers: {"x":1.5}',
        "An apply would leave 1 created, 1 changed, 1 unchanged.",
    ]
    assert door.asked[0].query == {"dry_run": "true"}
    assert door.asked[0].headers["content-type"] == "application/yaml"
    assert door.asked[0].body == Path(file).read_bytes()


def test_a_diff_without_differences_ends_with_nought(upshot: CommandLine, file: str) -> None:
    with front_door(lambda _: Answer(value=NOTHING)) as door:
        shown = upshot(door, "diff", "-f", file)

    assert (shown.code, shown.err) == (0, "")


def test_a_diff_that_has_no_plan_ends_with_two(upshot: CommandLine, file: str) -> None:
    with front_door(
        lambda _: refusal(400, "Refused", "/0/spec is odd", ("/0/spec", "is odd"))
    ) as d:
        refused = upshot(d, "diff", "-f", file)
        missing = upshot(d, "diff", "-f", f"{file}.not")

    assert (refused.code, refused.out, refused.err) == (2, "", "Refused: /0/spec is odd.\n")
    assert missing.code == 2
    assert "cannot be read" in missing.err


def test_an_apply_shows_what_it_did_and_each_secret_once(upshot: CommandLine, file: str) -> None:
    with front_door(lambda _: Answer(value=PLAN)) as door:
        shown = upshot(door, "apply", "-f", file, "--compatibility", "none")

    assert shown.code == 0
    assert "whsec_once" in shown.out
    assert shown.out.endswith("Revision 7: 1 created, 1 changed, 1 unchanged.\n")
    assert door.asked[0].query == {"compatibility": "none"}
