"""What the model gives away of the text that it was trained on."""

from __future__ import annotations

from typing import Any

from lmworks.basics.errors import LmworksError
from lmworks.evaluation import statistics
from lmworks.evaluation.likelihood import measure
from lmworks.evaluation.measurement import Measurement
from lmworks.evaluation.privacy.membership import MembershipTexts, area, attacks, blind, caught, scored
from lmworks.evaluation.tasks.contamination import overlaps
from lmworks.evaluation.tasks.find import find
from lmworks.jobs.privacy import privacy
from lmworks.models.files.model_folder import read_facts
from lmworks.reporting.section import Found, Section
from lmworks.reporting.sections.tasks import QUESTIONS
from lmworks.reporting.subject import Subject
from lmworks.text.splits import ngram_overlap, split

TEXTS, TOKENS = (40, 2_000), (64, 512)
"""Of members and of others each, and of a text, at most, on the quick and the full scale."""


def _measure(subject: Subject) -> Found:
    facts, left_out = _facts(subject), list[str]()
    if subject.trained_on is None:
        found = privacy(str(subject.model.source), limit=subject.scaled(*TEXTS), tokens=subject.scaled(*TOKENS))
        figures, text = found.measurements, "the one that its lmworks.json names"
        left_out = [f"Membership: {found.not_told}."] if found.not_told else []
    else:
        figures, left_out = _members(subject)
        held, unread = _contamination(subject)
        figures, left_out = [*_seen_and_held_out(subject), *figures, *held], [*left_out, *unread]
        text = f"{subject.trained_on} ({len(subject.training_text):,} documents)"
    private = facts.get("private")
    promise = (
        f"It was trained with differential privacy: epsilon {private['epsilon']:.2g} at delta {private['delta']:.1e}."
        if private
        else "It was not trained with differential privacy (lmworks tune --private), as far as its folder says."
    )
    return Found(
        measurements=tuple(figures),
        key=next((one.name for one in figures if one.unit == "AUC"), ""),
        note=f"The text is {text}, split by the hash of each document as lmworks build splits it. {promise} Where the "
        "words alone tell members from others better than chance, the attacks' figures say little. A question counts "
        "as held where 13 of its words in a row are, or all of a shorter one.",
        left_out=tuple(left_out),
    )


def _facts(subject: Subject) -> dict[str, Any]:
    source = subject.model.source
    return read_facts(source) if source is not None and source.is_dir() else {}


def _members(subject: Subject) -> tuple[list[Measurement], list[str]]:
    """Whether members can be told from others: by the model, and by the words of the texts alone."""
    parts, most, tokens = split(subject.training_text), subject.scaled(*TEXTS), subject.scaled(*TOKENS)
    members, others = (sorted(side, key=lambda one: one.hash)[:most] for side in (parts.train, parts.held_out))
    texts = MembershipTexts(members, others, min(tokens, subject.model.longest))
    try:
        by_words = area("membership by the words alone", *blind(texts))
        sides = attacks(scored(subject.model, texts))
    except LmworksError as error:
        return [], [f"Membership: {error}."]
    found = [area(f"membership by {name}", *one) for name, one in sides.items()]
    found += [one for name, by in sides.items() if (one := caught(f"members told by {name}", *by)) is not None]
    return [*found, by_words], []


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
    known = (_facts(subject).get("recipe") or {}).get("data")
    if subject.trained_on is None and not known:
        return (
            "No training text is known, so that nothing can be said of what leaks from it; name it with --trained-on "
            "FOLDER."
        )
    return None


LEAKAGE = Section(
    name="leakage",
    place=60,
    title="What leaks of the training text",
    says="A model that predicts what it was trained on better than other text of the same kind remembers some of it, "
    "and tells who was in it: of a member and another text, the attacks pick the member in a share AUC of the cases; a "
    "half is chance, and the ideal. What differential privacy changes is seen in the reports of a model trained with "
    "it and of one without.",
    measure=_measure,
    needs=_needs,
    seconds=(30.0, 120.0),
    reads_training_text=True,
)
