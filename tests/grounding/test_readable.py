"""Sentences become questions that a person could ask, or none at all."""

from __future__ import annotations

import pytest

from lmworks.grounding.self_test.readable import asked_in


@pytest.mark.parametrize(
    ("sentence", "asked"),
    [
        (
            "The boiler near Lindau was repaired by 34 people in 1995.",
            {
                "34": "The boiler near Lindau was repaired by how many people in 1995?",
                "1995": "The boiler near Lindau was repaired by 34 people in which year?",
            },
        ),
        ("However, the mayor opened the **new** bridge on Monday.",
         {"Monday": "The mayor opened the new bridge on which day?"}),
        ("The Black Death ravaged much of the old town.",
         {"The Black Death": "Who or what ravaged much of the old town?"}),
        ("Western medicine was practised by the monks of the Yuan court (see below).",
         {"Yuan": "Western medicine was practised by the monks of which court?"}),
        ("The old ship sailed without any lights to Genoa, which surprised everybody.",
         {"Genoa": "The old ship sailed without any lights to what?"}),
        ("The key of the small room is kept in the cellar.", {"cellar": "The key of the small room is kept in what?"}),
        ("Details are on page 4 of the printed handbook.", {"4": "Details are on which page of the printed handbook?"}),
        # In which year it was founded would have to be asked with the words in another order.
        ("In 1995 the town hall was rebuilt by its people.", {}),
        ("It was built by 34 people in the year of the flood.", {}),  # what was?
        ("Run the command again after 30 seconds of waiting.", {}),
        ("Does the boiler need 34 people to be repaired again?", {}),
        ("- The boiler was repaired by 34 people", {}),
        ("The value x = 34 is kept by `settings.toml` until the end.", {}),
        ("The plague of 1576–77 was worse than any that the town knew.", {}),
        ("No boat, no harbour, 34 ropes and a bell of brass.", {}),
    ],
)  # fmt: skip
def test_the_answer_is_replaced_in_place_or_nothing_is_asked(sentence, asked):
    made = {sentence[one.start : one.end]: one.text for one in asked_in(sentence, "english")}
    assert made == asked


def test_other_languages_than_english_are_not_asked_in_english():
    assert not list(asked_in("Der Kessel wurde 1995 von 34 Menschen in Lindau repariert.", "german"))
