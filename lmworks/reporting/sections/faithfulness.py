"""Whether what is said to carry an answer does: attribution beside a random ranking of the same tokens."""

from __future__ import annotations

from lmworks.basics.errors import DataError
from lmworks.evaluation.faithfulness import Item, measure
from lmworks.reporting.section import Found, Section, bars
from lmworks.reporting.subject import GENERAL, Subject

METHOD = "occlusion"
TOKENS = 16
"""Of each prompt."""


def _measure(subject: Subject) -> Found:
    items = _items(subject, subject.scaled(12, 200))
    network, away = subject.exact, subject.model.tokenizer.document_end
    assert away is not None
    figures = measure(network, items, METHOD, away=away)
    shown = {one.name.replace(f" beside a random ranking, {METHOD}", ""): one for one in figures}
    return Found(
        measurements=tuple(figures),
        charts=(bars("Occlusion minus a random ranking", "probability of the answer", shown),),
        note=f"The first {TOKENS} tokens of {len(items)} documents of {GENERAL}, each with the token that the model "
        "finds likeliest next, in float32. Differences are paired by prompt.",
    )


def _items(subject: Subject, count: int) -> list[Item]:
    """Prompts from held-out text, each with the model's own next token."""
    model = subject.model
    items: list[Item] = []
    for document in sorted(subject.general, key=lambda one: one.hash):
        ids = model.encode_prompt(" ".join(document.text.split()))[:TOKENS]
        if len(ids) == TOKENS:
            items.append((ids, [int(model.logits([ids])[0, -1].argmax())]))
        if len(items) == count:
            return items
    if len(items) < 2:
        raise DataError(f"{GENERAL} gives less than two prompts of {TOKENS} tokens")
    return items


def _needs(subject: Subject) -> str | None:
    if subject.model.tokenizer.document_end is None:
        return "The tokenizer has no token that ends a document, which would stand in place of a token that is away."
    return None


FAITHFULNESS = Section(
    name="faithfulness",
    place=50,
    title="Whether the words that are said to carry an answer do",
    says="Comprehensiveness: how much less probable the answer gets without the highest-ranked tokens; above 0, "
    "the ranking beats a random one. Sufficiency: how much less probable it is with these alone; below 0, the ranking "
    "beats a random one. Tokens are deleted in two ways, as no model knows texts with holes.",
    measure=_measure,
    needs=_needs,
    seconds=(110.0, 1900.0),
)
