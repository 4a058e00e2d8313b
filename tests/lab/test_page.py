"""The handbook's page of claims says what is stored, and the whole of it."""

from __future__ import annotations

from pathlib import Path

from lmworks.lab import page, registry, store

PAGE = Path(__file__).parents[2] / "docs/lab.md"


def test_the_page_is_that_of_the_stored_results():
    found = [one for number in registry.experiments() if (one := store.stored(number)) is not None]
    assert PAGE.read_text(encoding="utf-8") == page.markdown(found), (
        "write it again: lmworks lab --all --show --markdown > docs/lab.md"
    )


def test_every_claim_has_its_verdict_and_its_checks():
    text = PAGE.read_text(encoding="utf-8")
    for number in registry.experiments():
        if (one := store.stored(number)) is None:
            continue
        section = " ".join(text.split(f"## Claim {number}\n")[1].split("\n## ")[0].split())
        assert f"**{one.verdict}**" in section
        assert all(" ".join(line.split()) in section for line in one.reasons)


def test_lines_are_short_and_none_begins_with_a_mark_of_markdown():
    words = [line.removeprefix("> ") for line in PAGE.read_text(encoding="utf-8").splitlines() if line[:2] != "- "]
    assert not [line for line in words if line.lstrip().startswith(("> ", "- ", "+ ", "* ", "1. "))]
    paragraphs = [line for line in words if not line.startswith(("|", "<!--"))]
    assert max(map(len, paragraphs)) <= 120
