"""What the model gives away of the text that it was trained on."""

from __future__ import annotations

from typing import Any

from lmworks.basics.errors import DataError, LmworksError
from lmworks.evaluation import statistics
from lmworks.evaluation.leaks import shared_words
from lmworks.evaluation.likelihood import measure
from lmworks.evaluation.measurement import Measurement
from lmworks.evaluation.privacy.membership import MembershipTexts, area, attacks, blind, caught, scored
from lmworks.evaluation.tasks.contamination import overlaps
from lmworks.evaluation.tasks.find import find
from lmworks.evaluation.training_text import is_here, named_text
from lmworks.jobs.privacy import GIVE, differs, privacy, recipe_of, split_of
from lmworks.lab.chart import Chart
from lmworks.reporting.section import Found, Section, bars
from lmworks.reporting.sections.tasks import QUESTIONS
from lmworks.reporting.subject import Subject
from lmworks.text.corpus.folder import read_split
from lmworks.text.splits import Split, split

TEXTS, TOKENS = (40, 2_000), (64, 512)
"""Of members and of others each, and of a text, at most, on the quick and the full scale."""
OF_TEXT = ("runs of 13 words", "documents of fewer than 13 words", "membership by the words alone")
"""Figures that are those of the text, whatever learnt it."""
GIVE_HERE = "name it with --trained-on FOLDER"


def _measure(subject: Subject) -> Found:
    figures, left_out = _learnt(subject)
    charts: tuple[Chart, ...] = ()
    if (other := subject.beside) is not None:
        theirs, missing = _learnt(other)
        charts = _charts({subject.name: figures, other.name: theirs})
        of_model = [one for one in theirs if not one.name.startswith(OF_TEXT)]
        figures += [one.model_copy(update={"name": f"{one.name}, {other.name}"}) for one in of_model]
        left_out += [f"{other.name}: {one}" for one in missing]
    held, unread = _contamination(subject)
    figures, left_out = [*figures, *held], [*left_out, *unread]
    if not figures:
        raise DataError(left_out[0].rstrip("."))
    named = ", which its lmworks.json names" if subject.named else ""
    text = f"{subject.trained_on}{named} ({len(subject.training_text):,} documents)"
    how = "as its recipe says" if subject.named else "by the hash of each document as lmworks build splits it"
    promise = _promise(subject, "It") + ("" if other is None else " " + _promise(other, other.name))
    return Found(
        measurements=tuple(figures),
        key=next((one.name for one in figures if one.unit == "AUC"), ""),
        note=f"The text is {text}, split {how}. {promise} Where the "
        "words alone tell members from others better than chance, the attacks' figures say little. A question counts "
        "as held where 13 of its words in a row are, or all of a shorter one.",
        charts=charts,
        left_out=tuple(left_out),
    )


def _promise(subject: Subject, called: str) -> str:
    """How private the training was, in a sentence."""
    private = subject.facts.get("private")
    if private:
        return (
            f"{called} was trained with differential privacy: epsilon {private['epsilon']:.2g} at delta "
            f"{private['delta']:.1e}."
        )
    return f"{called} was not trained with differential privacy (lmworks tune --private), as far as its folder says."


def _charts(figures: dict[str, list[Measurement]]) -> tuple[Chart, ...]:
    """Each model's attacks, side by side."""
    shown = {
        f"{attack}, {name}": one
        for attack in sorted({one.name for found in figures.values() for one in found if one.unit == "AUC"})
        for name, found in figures.items()
        for one in found
        if one.name == attack and not attack.startswith(OF_TEXT)
    }
    return (bars("Members told from others; a half is chance", "AUC", shown),) if shown else ()


def _learnt(subject: Subject) -> tuple[list[Measurement], list[str]]:
    """What tells what was learnt from what was held out. Of a text that lmworks.json names, by the split that was
    trained on, or not at all; what `lmworks build` or `tune` made is asked as `lmworks privacy` does it."""
    facts = subject.facts
    recipe = recipe_of(facts) if subject.named else None
    try:
        if recipe is not None:
            parts = Split(*split_of(recipe, facts, subject.name), duplicates=0)
        else:
            parts = _named_split(subject, facts) if subject.named else split(subject.training_text)
    except LmworksError as error:
        if not subject.named:
            raise
        return [], [f"What was learnt and what was held out: {str(error).replace(GIVE, GIVE_HERE)}."]
    members, left_out = _members(subject, parts) if recipe is None else _as_privacy(subject)
    return [*_seen_and_held_out(subject, parts), *members], left_out


def _as_privacy(subject: Subject) -> tuple[list[Measurement], list[str]]:
    """Canaries, and whether members can be told from others, by all that the recipe says."""
    limit, tokens = subject.scaled(*TEXTS), subject.scaled(*TOKENS)
    try:
        found = privacy(str(subject.model.source), limit=limit, tokens=tokens)
    except LmworksError as error:
        return [], [f"Membership: {str(error).replace(GIVE, GIVE_HERE)}."]
    return found.measurements, [f"Membership: {found.not_told}."] if found.not_told else []


def _named_split(subject: Subject, facts: dict[str, Any]) -> Split:
    """The text of a recipe in its two parts. DataError where they are not those that lmworks.json tells of."""
    data, said = facts["recipe"]["data"], facts.get("data") or {}
    how = {name: data[name] for name in ("held_out", "hold_out", "validation") if name in data}
    _, parts = read_split(data["text"], **how)
    if "held_out" not in said or differs(said, parts.train, parts.held_out):
        raise DataError(
            f"{data['text']} does not split as it did when {subject.name} was trained; put that text back, or "
            f"{GIVE_HERE}"
        )
    return parts


def _members(subject: Subject, parts: Split) -> tuple[list[Measurement], list[str]]:
    """Whether members can be told from others: by the model, and by the words of the texts alone."""
    most, tokens = subject.scaled(*TEXTS), subject.scaled(*TOKENS)
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


def _seen_and_held_out(subject: Subject, parts: Split) -> list[Measurement]:
    """Bits per byte of what was trained on and of what was held out, and by how much the first are fewer."""
    tokens = subject.scaled(2_048, 16_384)
    trained = measure(subject.model, parts.train, "the trained part", tokens=tokens)
    held_out = measure(subject.model, parts.held_out, "the held-out part", tokens=tokens)
    shared = shared_words(parts.train, parts.held_out)
    shares = [
        Measurement(name=f"{what} of the held-out part that stand in the trained part", value=share, n=n, ideal=0.0)
        for what, share, n in (
            ("runs of 13 words", shared.share, len(parts.held_out) - shared.short),
            ("documents of fewer than 13 words", shared.short_share, shared.short),
        )
        if share is not None
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
    unknown = "so that nothing can be said of what leaks from it"
    if subject.trained_on is None:
        missing = named_text(subject.model.source) if subject.model.source is not None else None
        why = "No training text is known"
        if missing is not None and not is_here(missing):
            why = f"The text that lmworks.json names ({missing}) is not here"
        return f"{why}, {unknown}; {GIVE_HERE}."
    try:
        _ = subject.training_text
    except LmworksError as error:  # of a text that nobody gave; one that is given was read before
        return f"The text that lmworks.json names cannot be read ({error}), {unknown}; {GIVE_HERE}."
    return None


LEAKAGE = Section(
    name="leakage",
    place=60,
    title="What leaks of the training text",
    says="A model that predicts what it was trained on better than other text of the same kind remembers some of it, "
    "and tells who was in it: of a member and another text, the attacks pick the member in a share AUC of the cases; a "
    "half is chance, and the ideal. What differential privacy changes is seen beside another model of the same "
    "text that was trained without it, or with it (--beside MODEL).",
    measure=_measure,
    needs=_needs,
    seconds=(30.0, 120.0),
    reads_training_text=True,
)
