"""The handbook's page of claims says what is stored, and the whole of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.test_run import NORMAL, TOY
from lmworks.lab import page, registry, store
from lmworks.lab.chart import Chart, Series
from lmworks.lab.run import run_experiment
from lmworks.lab.site.words import titles

PAGE = Path(__file__).parents[2] / "docs/lab.md"


def shipped():
    return [one for number in registry.experiments() if (one := store.stored(number)) is not None]


def test_the_page_is_that_of_the_stored_results():
    assert PAGE.read_text(encoding="utf-8") == page.markdown(shipped(), titles(), "lab"), (
        "write it again: lmworks lab --all --show --markdown docs/lab.md"
    )
    pictures = {path.name for path in PAGE.with_suffix("").iterdir()}
    assert pictures == {page.picture(one) for one in shipped() if one.chart is not None}


def test_every_claim_has_its_parts():
    sections = PAGE.read_text(encoding="utf-8").split("\n## ")[1:]
    for one, section in zip(shipped(), sections, strict=True):
        assert one.count.capitalize() in " ".join(section.split())
        assert sum(line.startswith("- ") for line in section.split("<details>")[0].splitlines()) == len(one.parts)


def test_a_claim_is_called_as_in_the_terminal_and_on_its_page():
    text, called = PAGE.read_text(encoding="utf-8"), titles()
    assert [line for line in text.splitlines() if line.startswith("## ")] == [f"## {n}. {called[n]}" for n in called]
    assert (called[4], called[29]) == ("LoRA and QLoRA", "KL divergence")
    assert "| [4](#4-lora-and-qlora) |" in text and "| [12](#12-top-k-and-top-p) |" in text


def test_lines_are_short_and_none_begins_with_a_mark_of_markdown():
    words = [line.removeprefix("> ") for line in PAGE.read_text(encoding="utf-8").splitlines() if line[:2] != "- "]
    assert not [line for line in words if line.lstrip().startswith(("> ", "- ", "+ ", "* ", "1. "))]
    paragraphs = [line for line in words if not line.startswith(("|", "<!--", "!["))]
    assert max(map(len, paragraphs)) <= 120


def test_a_section_says_what_was_found_first(tmp_path):
    finding = run_experiment(TOY, "full", NORMAL).but(not_tested="Other toys.", not_true_when="there is no toy.")
    text = page.markdown([finding], {99: "Toys"}, "pictures")
    shown, unfolded = text.split("<details>")
    assert "## 99. Toys\n\n> Ours is better.\n\n**Ours it is.** Holds.\n" in shown
    assert "- yes: ours is better (+2.0" in shown and " points, 95 % +" in shown and ", 5 items, 4 seeds)" in shown
    assert "**Not true when** there is no toy." in shown
    assert "**Not tested:** Other toys." in shown and "![loss by size](pictures/q99.png)" in shown
    assert "also measured, yes: the loss is low (0.500)" in unfolded and "A toy." in unfolded
    assert "`lmworks lab 99 --scale full`" in unfolded and "| [99](#99-toys) | Ours it is. | holds |" in shown
    page.write([finding], {99: "Toys"}, tmp_path / "page.md")
    assert (tmp_path / "page/q99.png").stat().st_size > 1000


@pytest.mark.parametrize(("verdict", "shown"), [("open", ""), ("fails", "the toy is broken")])
def test_what_is_true_instead_is_said_where_a_part_does_not_hold(verdict, shown):
    finding = run_experiment(TOY, "quick", NORMAL)
    part = finding.parts[0].but(verdict=verdict, otherwise="the toy is broken")
    assert page.exceptions(finding.but(parts=(part,))) == shown


def test_bars_with_several_rows_and_columns_stand_in_a_table_too():
    names, rows = ("floor", "here", "ceiling"), ("BERT", "GPT", "CLIP")
    series = tuple(Series(name=name, x=(0.0, 2.0), y=(0.25 + at, 0.5 + at)) for at, name in enumerate(names))
    chart = Chart(kind="bars", title="Kinds", x_label="", y_label="share", series=series, categories=rows)
    finding = run_experiment(TOY, "quick", NORMAL)
    shown = page.markdown([finding.but(chart=chart)], {99: "Toys"})
    table = ["|  | floor | here | ceiling |", "| --- | --- | --- | --- |", "| BERT | 0.25 | 1.25 | 2.25 |"]
    assert "\n".join([*table, "| GPT |  |  |  |"]) in shown
    assert "| BERT" not in page.markdown([finding.but(chart=chart.but(series=series[:2]))], {99: "Toys"})
