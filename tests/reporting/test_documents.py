"""A report's section of the documents that travel with a model: the figures that their index keeps."""

from __future__ import annotations

from pathlib import Path

import tiny

import lmworks as lm
from lmworks.grounding.index import IndexSettings
from lmworks.grounding.self_test.run import self_test
from lmworks.reporting import run as reporting
from lmworks.reporting.subject import Subject

ROOMS = ("kitchen", "cellar", "attic", "garage", "garden", "hall", "bath", "study")


def test_the_figures_of_an_index_are_those_that_it_keeps(minilm: str, tmp_path: Path):
    (tmp_path / "notes").mkdir()
    for number, room in enumerate(ROOMS):
        (tmp_path / "notes" / f"{room}.md").write_text(
            f"# The {room}\n\nThe lamp of the {room} was bought by the old caretaker in 19{60 + number}. "
            f"Everybody who enters the {room} hangs the small key on hook {number + 2} afterwards.\n"
        )
    tiny.language_model(seed=4, context=2048).save(tmp_path / "mine")
    section = reporting.sections()["documents"]

    def subject() -> Subject:
        return Subject.of(tmp_path / "mine", "quick", tmp_path / "items")

    assert section.needs(subject()) == "No documents travel with this model."
    index = lm.index(tmp_path / "notes", out=tmp_path / "mine" / "index", settings=IndexSettings(embedder=minilm))
    assert "were not tested; lmworks index --out" in (section.needs(subject()) or "")
    outcome = self_test(index, questions=12)
    asked = subject()
    assert section.needs(asked) is None
    found = section.measure(asked)
    assert list(found.measurements) == outcome.figures and not found.left_out[len(outcome.notes) :]
    assert found.headlines[0].name == "nDCG@10, hybrid"
    assert {"recall@5, hybrid", "answered, its place cited"} <= {one.name for one in found.measurements}
    before = section.settings(asked)
    self_test(index, questions=6)
    assert section.settings(subject()) != before, "another test has other figures"
    (tmp_path / "notes" / "hall.md").write_text("The hall was painted green by the twins over a long weekend.")
    index.update()
    assert section.measure(subject()).left_out[-1] == "The index has changed since it was tested."
