"""Who is shown, and in which tone of skin, does not make another family."""

from __future__ import annotations

import pytest

from lmworks.text.images.siblings import siblings

SAME = {
    "by the person": ["1f468-200d-1f680 man pilot", "1f469-200d-1f680 woman pilot", "1f9d1-200d-1f680 pilot"],
    "by the sign": ["1f6b6 person walking", "1f6b6-200d-2642-fe0f man walking", "1f6b6-200d-2640-fe0f woman walking"],
    "by the tone": ["270b raised hand", "270b-1f3fb raised hand: light skin tone", "270b-1f3ff raised hand: dark"],
    "by the tones of two": [
        "1faf1-1f3fb-200d-1faf2-1f3fc handshake: light skin tone, medium-light skin tone",
        "1faf1-1f3ff-200d-1faf2-1f3fb handshake: dark skin tone, light skin tone",
    ],
    "by the label alone": ["1f57a man dancing", "1f483 woman dancing"],
    "by a word of its own": ["1f934 prince", "1f478 princess"],
    "by the label after a colon": ["1f48f kiss", "1f468-200d-2764-fe0f-200d-1f48b-200d-1f468 kiss: man, man"],
    "by how many hold hands": ["1f46d women holding hands", "1f9d1-200d-1f91d-200d-1f9d1 people holding hands"],
    "by the children": ["1f468-200d-1f466 family: man, boy", "1f469-200d-1f467-200d-1f467 family: woman, girl, girl"],
    "by the direction": ["1f3c3 person running", "1f3c3-200d-27a1-fe0f person running: facing right"],
    "by two steps": ["1f385 Santa Claus", "1f9d1-200d-1f384 Mx Claus", "1f936 Mrs. Claus"],
}
APART = [
    "1f468-200d-1f680 man astronaut",
    "1f468-200d-1f373 man cook",
    "1f34e red apple",
    "1f34f green apple",
    "1f1e6-1f1f9 flag: Austria",
    "1f1e9-1f1ea flag: Germany",
    "2764 red heart",
    "1f499 blue heart",
    "1f468 man",
    "1f511 key",
    "1f5dd old key",
]


def families(lines):
    return siblings(dict(line.split(" ", 1) for line in lines))


@pytest.mark.parametrize("how", SAME)
def test_siblings_are_one_family(how):
    assert len(set(families(SAME[how]).values())) == 1


def test_what_differs_in_anything_else_is_no_sibling():
    assert len(set(families(APART).values())) == len(APART)


def test_a_family_does_not_depend_on_the_order():
    lines = [line for family in SAME.values() for line in family]
    assert families(reversed(lines)) == families(lines)
