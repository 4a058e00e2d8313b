"""What is said of another month or weekday than the question's answers nothing of this one."""

from __future__ import annotations

import pytest

from grounding.small_index import indexed
from lmworks.grounding.calendar_names import unnamed_days


@pytest.mark.parametrize(
    ("question", "sentence", "missing"),
    [
        ("What was the revenue in March?", "February revenue: £109,500", ["March"]),
        ("When does the ferry leave on Monday?", "We are back on Friday at 16.52.", ["Monday"]),
        ("What do they do on Wednesday?", "Laptops are handed out on Tuesdays and Thursdays.", ["Wednesday"]),
        ("How many visitors came in August 2025?", "In July 2025 there were 1,200 visitors.", ["August"]),
        ("When does it close on Christmas Eve?", "On New Year’s Eve it closes at 18:00.", ["Christmas Eve"]),
    ],
)
def test_another_month_or_weekday_is_not_meant(question: str, sentence: str, missing: list[str]):
    assert unnamed_days(question, sentence, "", sentence) == missing


@pytest.mark.parametrize(
    ("question", "sentence"),
    [
        ("What was the revenue in March?", "March revenue: £120,000, February's was less."),
        ("What was the revenue in March?", "Revenue (Mar): £120,000, and in February £109,500."),
        ("What was the revenue in March?", "The revenue was £109,500."),
        ("What does it cost in March?", "It has cost 12 euros since January."),
        ("What does it cost in March?", "From 1 January on it costs 12 euros."),
        ("What does it cost in March?", "The price was raised to 12 euros in January."),
        ("What does it cost in March?", "Between January and May it costs 12 euros."),
        ("What does it cost in March?", "Paid on 14.3.2026, in February 12 euros."),
        ("When does it open on Wednesday?", "Monday to Friday it opens at 9."),
        ("When does it open on Wednesday?", "Mon–Fri 9, Sunday to Monday 10."),
        ("When does it open on Wednesday?", "It opens at 9 every day except Sunday."),
        ("What happens after March?", "In April we sow."),
        ("What happens until Monday?", "On Sunday we walk."),
        ("Is it open on Monday?", "It is open on Sunday."),
        ("Which day in March is the market?", "The market is in April."),
        ("How old is May?", "In June she is 7."),
        ("Who was April?", "In June she came."),
    ],
)
def test_what_may_be_meant_is_not_missing(question: str, sentence: str):
    assert unnamed_days(question, sentence, "", sentence) == []


def test_a_short_heading_says_when_and_the_passage_may_name_the_month():
    question, said = "What was the revenue in March?", "Revenue: £109,500"
    assert unnamed_days(question, said, "February 2026", said) == ["March"]
    assert not unnamed_days(question, said, "Figures that were agreed on in February", said)
    assert not unnamed_days(question, said, "February 2026", f"{said}. March: {said}")


def test_titles_name_the_month_but_of_what_is_said_of_another_one():
    title = "Minutes of 10 March 2026"
    said = "February revenue: £109,500, plan £114,000."
    assert unnamed_days("What was the revenue in March?", said, "2. Numbers", said, title) == ["March"]
    assert unnamed_days("What was the revenue for March?", "The revenue in February was low.", titles=title)
    decided = "We print the February report."
    assert unnamed_days("What was decided in March?", decided, "2. Numbers", decided, title) == []
    assert unnamed_days("What was decided in March?", decided, "", decided, "minutes/2026-03-10.md") == []
    assert unnamed_days("What was the revenue in March?", said, "", f"{said} March: £120,000", title) == []


def test_an_answer_about_another_month_is_refused_with_the_reason(tmp_path, minilm):
    text = "# Minutes of 10 March 2026\n\n## Numbers\n\nFebruary revenue: £109,500, plan £114,000.\n"
    index = indexed(tmp_path, {"minutes.md": text}, minilm)
    assert "109,500" in index.ask("What was the revenue in February?").text
    refused = index.ask("What was the revenue in March?")
    assert refused.refused and refused.why is not None
    assert (refused.why.kind, refused.why.named) == ("not_mentioned", ("March",))
    assert "109,500" in refused.nearest.text
