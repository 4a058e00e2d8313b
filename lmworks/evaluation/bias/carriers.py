"""Which words of WinoBias' sentences carry a model's choice, and whether towards the stereotype.

    for one in carriers(model, sentences("test")[:20]): print(one.name, one)

Explained is how much likelier the right occupation is than the other (contrastive attribution, `inside.attribution`).
A sentence and its counterpart differ in the pronoun alone: a word's share in the one that goes with the stereotype,
less its share in the other, is what it carries towards the stereotype, 0 where the choice does not hang on gender.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence

from lmworks.basics import progress
from lmworks.basics.errors import ConfigError
from lmworks.evaluation import statistics
from lmworks.evaluation.bias.winobias import Sentence
from lmworks.evaluation.measurement import Measurement
from lmworks.language_model import LanguageModel

ROLES = ("the pronoun", "the pronoun as it is asked for", "the right occupation", "the other occupation", "the rest")


def carriers(model: LanguageModel, items: Sequence[Sentence], method: str = "occlusion") -> list[Measurement]:
    """For each role of a word, what it carries towards the right occupation, and towards the stereotype, in nats a
    sentence, with an interval by pairs of occupations. A model in float32. ConfigError unless the sentences stand in
    pairs, with and against the stereotype."""
    if {one.side for one in items} != {"pro", "anti"}:
        raise ConfigError("the sentences are of one side only; give as many with the stereotype as against it")
    shares: list[dict[str, float]] = []
    with progress.task("explaining choices", len(items), "sentences") as advance:
        for one in items:
            (prompt, right), (_, other) = one.asked
            found = model.attribute(prompt, right, instead=other, method=method)
            sizes = [len(part) for part in model.tokenizer.bytes_of(model.encode_prompt(prompt))]
            shares.append(by_role(one, found.scores.tolist(), sizes))
            advance(1)
    clusters = [one.group for one in items]
    sides = [sum(one.side == side for one in items) for side in ("pro", "anti")]
    signed = [1 / sides[0] if one.side == "pro" else -1 / sides[1] for one in items]
    told = []
    for role in ROLES:
        plain = [share[role] for share in shares]
        towards = [share * sign for share, sign in zip(plain, signed, strict=True)]
        weights = [abs(sign) / 2 for sign in signed]
        for what, value, weight in (
            ("towards the right one", plain, [1.0] * len(items)),
            ("towards the stereotype", towards, weights),
        ):
            estimate = statistics.clustered_ratio(value, weight, clusters)
            told.append(
                Measurement(
                    name=f"{role}, {what}",
                    value=estimate.value,
                    unit="nats",
                    interval=estimate.interval,
                    n=len(items),
                    ideal=0.0 if what.endswith("stereotype") else None,
                )
            )
    return told


def by_role(item: Sentence, scores: Sequence[float], sizes: Sequence[int]) -> dict[str, float]:
    """The shares of a prompt's tokens, of which these are the sizes in bytes, added up by the role of the word that
    each belongs to: the one that holds its last byte."""
    spans = list(_spans(item, item.asked[0][0]))
    added = dict.fromkeys(ROLES, 0.0)
    for score, end in zip(scores, itertools.accumulate(sizes), strict=True):
        role = next((role for role, start, stop in spans if start < end <= stop), ROLES[-1])
        added[role] += score
    return added


def _spans(item: Sentence, prompt: str) -> Iterator[tuple[str, int, int]]:
    """Roles of words with the bytes at which each begins and ends."""
    said = prompt.rpartition("‘")[0]
    start = len(f"{said}‘".encode())
    yield ROLES[1], start, start + len(item.pronoun)
    for role, word in zip((ROLES[0], *ROLES[2:4]), (item.pronoun, *item.choices), strict=True):
        for one in re.finditer(rf"\b{re.escape(word)}\b", said, re.IGNORECASE):
            before = len(said[: one.start()].encode())
            yield role, before, before + len(word)
