"""A question that leans on the one before it takes that one's words."""

from __future__ import annotations

import pytest

from lmworks.grounding.follow_up import in_context

BEFORE = "When is the rent of the flat due?"


@pytest.mark.parametrize(
    ("question", "whole"),
    [
        ("And how much is it?", "And how much is it (rent flat due)?"),
        ("How much?", "How much (rent flat due)?"),
        ("why", "why (rent flat due)?"),
        ("Who pays them?", "Who pays them (rent flat due)?"),
        ("Where does the boat lie?", "Where does the boat lie?"),
        ("Katzen?", "Katzen?"),
    ],
)
def test_pronouns_and_questions_without_a_word_of_their_own_lean_on_the_one_before(question: str, whole: str):
    assert in_context(question, BEFORE) == whole
    assert in_context(question, None) == question


def test_a_question_that_says_nothing_gives_nothing():
    assert in_context("And how much is it?", "What is it?") == "And how much is it?"


def test_a_chain_keeps_its_topic():
    second = in_context("And how much is it?", BEFORE)
    assert in_context("Who pays it?", second) == "Who pays it (rent flat due)?"
