"""The bounded map of what was used lately."""

from __future__ import annotations

from services.gateway.identity import Recent


def test_what_is_used_is_kept_and_the_rest_forgotten() -> None:
    recent: Recent[int, str] = Recent(10)

    for n in range(100):
        recent.put(n, str(n))
        assert recent.get(0) == "0"

    kept = [n for n in range(100) if recent.get(n) is not None]
    assert kept[0] == 0
    assert 10 <= len(kept) <= 20
    assert kept[-1] == 99


def test_what_is_dropped_is_gone() -> None:
    recent: Recent[int, str] = Recent(1)
    recent.put(1, "one")
    recent.put(2, "two")

    recent.drop(1)
    recent.drop(2)

    assert recent.get(1) is None
    assert recent.get(2) is None
