"""The documents that travel with a model: what their index found when it tested itself."""

from __future__ import annotations

from lmworks.evaluation.measurement import Measurement
from lmworks.grounding.self_test.figures import RIGHT
from lmworks.reporting.section import Found, Section
from lmworks.reporting.subject import Subject


def _measure(subject: Subject) -> Found:
    """The figures that the index keeps, as in lmworks.json; nothing is measured again."""
    assert subject.index is not None
    kept = subject.index.tested
    figures = tuple(Measurement.from_json(one) for one in kept["figures"])
    way = "reranked" if kept["rerank"] else "hybrid"
    changed = () if kept["index"] == subject.index.digest else ("The index has changed since it was tested.",)
    return Found(
        measurements=figures,
        note=f"{kept['questions']:,} questions that the index made from its own text at its last test (seed "
        f"{kept['seed']}); intervals are over documents, and chance is what guessing reaches. It searches {way}.",
        key=(f"nDCG@10, {way}", RIGHT),
        left_out=(*(f"{one}." for one in kept["notes"]), *changed),
    )


def _needs(subject: Subject) -> str | None:
    if subject.index is None:
        return "No documents travel with this model."
    if not subject.index.tested.get("figures"):
        return f"Its documents were not tested; lmworks index --out {subject.index.place} --test does."
    return None


DOCUMENTS = Section(
    name="documents",
    place=6,
    title="Your documents",
    says="How well passages are found, and what becomes of questions whose answer is there or was taken away. Such "
    "questions keep words of the text: they compare settings and folders, and promise nothing of people's questions.",
    measure=_measure,
    needs=_needs,
    seconds=(0.1, 0.1),
    reads_own_files=True,
)
