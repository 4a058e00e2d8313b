"""What the model gives away of the text that it was trained on."""

from __future__ import annotations

from lmworks.basics.errors import LmworksError
from lmworks.evaluation import statistics
from lmworks.evaluation.likelihood import measure
from lmworks.evaluation.measurement import Measurement
from lmworks.evaluation.tasks.contamination import overlaps
from lmworks.evaluation.tasks.find import find
from lmworks.reporting.section import Found, Section
from lmworks.reporting.sections.tasks import QUESTIONS
from lmworks.reporting.subject import Subject
from lmworks.text.splits import ngram_overlap, split


def _measure(subject: Subject) -> Found:
    held, left_out = _contamination(subject)
    seen = _seen_and_held_out(subject)
    return Found(
        measurements=(*seen, *held),
        note=f"The text is {subject.trained_on} ({len(subject.training_text):,} documents), split by the hash of each "
        "document as lmworks build splits it. A question counts as held where 13 of its words in a row are, or all "
        "of a shorter one.",
        left_out=tuple(left_out),
    )


def _seen_and_held_out(subject: Subject) -> list[Measurement]:
    """Bits per byte of what was trained on and of what was held out, and by how much the first are fewer."""
    parts, tokens = split(subject.training_text), subject.scaled(2_048, 16_384)
    trained = measure(subject.model, parts.train, "the trained part", tokens=tokens)
    held_out = measure(subject.model, parts.held_out, "the held-out part", tokens=tokens)
    shares = [
        Measurement(
            name="runs of 13 words of the held-out part that stand in the trained part",
            value=ngram_overlap(parts.train, parts.held_out),
            n=len(parts.held_out),
            ideal=0.0,
        )
    ]
    figures = [
        trained.bits_per_byte("bits/byte of the trained part"),
        held_out.bits_per_byte("bits/byte of the held-out part"),
    ]
    before, after = (statistics.Estimate(one.value, one.interval) for one in figures)
    gap = statistics.independent_difference(before, after)
    difference = Measurement(
        name="held-out part minus trained part",
        value=gap.value,
        unit="bits/byte",
        interval=gap.interval,
        n=sum(one.n for one in figures),
        seeds=(0,),
        difference=True,
    )
    return [difference, *figures, *shares]


def _contamination(subject: Subject) -> tuple[list[Measurement], list[str]]:
    """Of each task the share of items that the training text holds."""
    found, left_out = [], []
    for name in QUESTIONS:
        try:
            items = find(name).items()
        except LmworksError as error:
            left_out.append(f"{name}: {error}.")
            continue
        held = sum(one.held for one in overlaps(items, subject.training_text))
        value, interval = statistics.proportion(held, len(items))
        found.append(
            Measurement(
                name=f"items of {name} that the training text holds",
                value=value,
                interval=interval,
                n=len(items),
                ideal=0.0,
            )
        )
    return found, left_out


def _needs(subject: Subject) -> str | None:
    if subject.trained_on is None:
        return (
            "No training text is known, so that nothing can be said of what leaks from it; name it with --trained-on "
            "FOLDER."
        )
    return None


LEAKAGE = Section(
    name="leakage",
    place=60,
    title="What leaks of the training text",
    says="A model that predicts what it was trained on better than other text of the same kind remembers some of it. "
    "The parts differ by chance too: compare the interval.",
    measure=_measure,
    needs=_needs,
    seconds=(30.0, 120.0),
    reads_training_text=True,
)
