"""The question at the end of a build comes from the text's own headings."""

from __future__ import annotations

import pytest

from lmworks.jobs.question import headings, question_of
from lmworks.text.document import Document

ENGLISH = "The way of the house, and the end of the road.\n"


@pytest.mark.parametrize(
    ("text", "source", "found"),
    [
        (
            "# Notes\n\n## Restoring a backup ##\n### The *second* `step`\n##### Too deep here",
            "a.md",
            ["Restoring a backup", "The second step"],
        ),
        (
            "Assignment statements\n=====================\n\ntext\n\nLone word\n---\n",
            "a.rst",
            ["Assignment statements", "Lone word"],
        ),
        ("```sh\n# no heading at all\n```\n# A true heading\n", "a.md", ["A true heading"]),
        ("# a comment of code\nx = 1", "a.py", []),
        ("# 1 2 3 4\n# See [the guide](http://x.y) first\n", "a.md", ["See the guide first"]),
        ("# " + "long " * 9, "a.md", []),
        ("# Setting up the house (2026-11-27)", "a.md", ["Setting up the house"]),
        ("#hashtag of mine\na --- b\n***\n\n***\n", "a.md", []),
        ("## Aus dem Lager\n", "chats.jsonl#3", []),
    ],
)
def test_headings_are_those_of_prose(text, source, found):
    assert list(headings(Document(text, source))) == found


def test_what_is_held_out_is_asked_about_first():
    train = [Document(f"# The other side\n{ENGLISH}", "a.md")]
    held_out = [Document(ENGLISH, "b.md"), Document(f"# Starting the server\n{ENGLISH}", "c.md")]
    assert question_of("notes", held_out, train) == 'What should I know about "Starting the server"?'
    assert question_of("notes", held_out[:1], train) == 'What should I know about "The other side"?'
    assert question_of("python-reference", held_out, train) == "What are lists typically used to store?"


@pytest.mark.parametrize(
    ("heading", "text", "question"),
    [
        ("How to install it", ENGLISH, "How do I install it?"),
        ("Why is it slow?", ENGLISH, "Why is it slow?"),
        ("Aus dem Lager", "Wir holen es aus dem Lager, und dann gehen wir heim.", "Aus dem Lager?"),
        ("サーバーの 起動", "サーバーを起動します。", "サーバーの 起動?"),
    ],
)
def test_the_question_is_in_the_language_of_the_text(heading, text, question):
    assert question_of("notes", [Document(f"# {heading}\n\n{text}", "a.md")], []) == question


def test_a_text_without_headings_is_asked_about_by_its_file_and_a_chat_by_its_first_turn():
    assert question_of("notes", [Document(ENGLISH * 9, "guides/first-steps.txt#2")], []) == (
        'What should I know about "first steps"?'
    )
    turns = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "When is lunch?"}]
    turns.append({"role": "assistant", "content": "At noon."})
    assert question_of("chats", [Document.conversation(turns, "all.jsonl#1")], []) == "When is lunch?"


def test_a_sentence_that_says_something_becomes_the_question_unless_a_heading_asks():
    said = f"# The ferry\n{ENGLISH}\nThe ferry of the lake carries 40 cars on each trip.\n"
    asked = "The ferry of the lake carries how many cars on each trip?"
    assert question_of("notes", [Document(f"# Start\n{ENGLISH}", "a.md"), Document(said, "b.md")], []) == asked
    how = Document(f"# How to get home\n{ENGLISH}", "c.md")
    assert question_of("notes", [Document(said, "b.md"), how], []) == "How do I get home?"
