"""Which solved examples stand before a text, and in which order.

shots = balanced(pool, 4, seed=1)               # as many of each class as can be
for examples in orders(shots, 3, seed=1): ...   # the same four in three orders
nearest(pool, texts, embedder, 4)               # for each text the four most like it, the nearest last
"""

from __future__ import annotations

import itertools
import random
from collections import defaultdict
from collections.abc import Sequence

import torch

from lmworks.basics.errors import ConfigError
from lmworks.language_model import LanguageModel

Example = tuple[str, str]
"""A text and its class."""


def mixed(texts: Sequence[Example], seed: int) -> list[Example]:
    """All in an order drawn by the seed, of which every part has the classes in about the proportions of all."""
    by: dict[str, list[Example]] = defaultdict(list)
    for one in random.Random(seed).sample(list(texts), len(texts)):
        by[one[1]].append(one)
    placed = [((at + 0.5) / len(group), one) for group in by.values() for at, one in enumerate(group)]
    return [one for _, one in sorted(placed, key=lambda each: each[0])]


def balanced(pool: Sequence[Example], shots: int, seed: int = 0) -> list[Example]:
    """Examples whose classes are as equally frequent as can be, drawn by the seed. ConfigError for more than there
    are."""
    if not 0 <= shots <= len(pool):
        raise ConfigError(f"{shots} examples are asked for and there are {len(pool)}; ask for fewer")
    by: dict[str, list[Example]] = defaultdict(list)
    for one in random.Random(seed).sample(list(pool), len(pool)):
        by[one[1]].append(one)
    classes = random.Random(seed).sample(sorted(by), len(by))
    rounds = itertools.zip_longest(*(by[label] for label in classes))
    return [one for each in rounds for one in each if one is not None][:shots]


def orders(examples: Sequence[Example], count: int, seed: int = 0) -> list[tuple[Example, ...]]:
    """Up to `count` orders of the same examples, no two alike; of up to four examples, all orders can be had (Lu et al.
    2021, https://arxiv.org/abs/2104.08786). ConfigError for none."""
    if count < 1:
        raise ConfigError(f"orders is {count}; give at least 1")
    drawn, first = random.Random(seed), tuple(examples)
    if len(examples) <= 4:
        every = [one for one in dict.fromkeys(itertools.permutations(first)) if one != first]
        return [first, *drawn.sample(every, min(count - 1, len(every)))]
    found = {first: None}
    for _ in range(20 * count):
        if len(found) >= count:
            break
        found[tuple(drawn.sample(first, len(first)))] = None
    return list(found)


def nearest(pool: Sequence[Example], texts: Sequence[str], embedder: LanguageModel, shots: int) -> list[list[Example]]:
    """For each text the examples whose vectors are nearest to its own, the nearest last, where it counts most."""
    if not 0 < shots <= len(pool):
        raise ConfigError(f"{shots} examples are asked for and there are {len(pool)}; ask for fewer")
    known, asked = (
        torch.nn.functional.normalize(embedder.embed(part, cut=True), dim=-1)
        for part in ([text for text, _ in pool], list(texts))
    )
    best = (asked @ known.T).topk(shots, dim=-1).indices.flip(-1)
    return [[pool[at] for at in row] for row in best.tolist()]
