"""Responses that are kept: the bounds are exact, and nobody's are pushed out who has no more than an even share."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lmworks.serving.api.kept_responses import KeptResponses
from lmworks.serving.errors import Refused


def response(name: str, size: int = 0) -> dict[str, Any]:
    return {"id": name, "text": "a" * size}


def holds(kept: KeptResponses, owner: str, *names: str) -> list[bool]:
    def there(name: str) -> bool:
        try:
            return bool(kept.of(owner, name))
        except Refused:
            return False

    return [there(name) for name in names]


def test_whoever_has_most_makes_room():
    kept = KeptResponses(most=4, most_bytes=2**20, longest=2**20)
    assert all(kept.keep("mine", response(name), []) for name in "ab")
    assert all(kept.keep("yours", response(str(number)), []) for number in range(9))
    assert holds(kept, "mine", "a", "b") == [True, True] and holds(kept, "yours", "6", "7", "8") == [False, True, True]
    kept.drop("yours", "7")
    assert all(kept.keep("mine", response(name), []) for name in "cd")
    assert holds(kept, "yours", "8") == [True] and holds(kept, "mine", *"abcd") == [False, True, True, True]
    assert kept.keep("theirs", response("x"), [])  # there is none too many of anybody else's
    assert holds(kept, "theirs", "x") == [True] and holds(kept, "mine", *"bcd") == [False, True, True]


def test_bytes_are_shared_too_and_what_is_more_than_a_share_is_not_kept():
    kept = KeptResponses(most=100, most_bytes=1000, longest=800)
    assert kept.keep("mine", response("a", 300), []) and kept.keep("mine", response("b", 50), [])
    for number in range(9):
        assert kept.keep("yours", response(str(number), 100), [])
    assert holds(kept, "mine", "a", "b") == [True, True]
    assert not kept.keep("theirs", response("long", 780), [])  # longer than all that anybody else has kept
    assert not kept.keep("theirs", response("longer", 800), [])
    assert holds(kept, "mine", "a", "b") == [True, True] and holds(kept, "yours", "8") == [True]


@given(
    asked=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 8), st.integers(0, 300)), max_size=40),
    most=st.integers(0, 6),
    most_bytes=st.integers(0, 900),
)
def test_bounds_are_exact_and_nobody_with_a_small_share_loses_any(asked, most, most_bytes):
    kept = KeptResponses(most, most_bytes, longest=250)
    held: dict[tuple[str, str], int] = {}
    for turn, (owner, drops, size) in enumerate(asked):
        before = dict(held)
        name = str(turn)
        if kept.keep(owner, response(name, size), []):
            held[owner, name] = 0
        held = {one: len(kept.of(*one).response) + 2 for one in held if holds(kept, *one)[0]}
        assert len(held) <= most and sum(held.values()) == kept.held_bytes <= most_bytes
        for other in set("abc") - {owner}:
            lost = [one for one in before if one[0] == other and one not in held]
            own = [size for (who, _), size in before.items() if who == other]
            assert not lost or len(own) > most / 3 or sum(own) > most_bytes / 3
        if drops == 0 and held:
            (whose, which), _ = held.popitem()
            kept.drop(whose, which)
