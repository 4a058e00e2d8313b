"""Words that nobody has seen: made by a rule, or compounds of two known words; and what they cost.

new = compounds(word_counts, taken, count=200, seed=100)
at_seam, just_two, by_chance = seams(tokenizer, new)
added(writer, slots(texts, nonce_words(40, 100, taken), seed=100))      # bits a made-up word
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lmworks.basics.errors import DataError
from lmworks.lab.bench.writers import Writer
from lmworks.tokens.tokenizer import Tokenizer

SIGNS = (
    "b bl br c ch d dr f fl g gl gr h j k l m n p pl pr qu r s sh sk sl sm sn sp st t th tr v w z",
    "a e i o u ai ea ee oa oo ou",
    " b d ft g k l lt m mp n nd ng nt p r rd rk s sh st t x",  # the first is no letter at all
)
SYLLABLE = tuple(signs.split(" ") for signs in SIGNS)
"""How a syllable of a made-up word begins, sounds and ends."""
SYLLABLES = (2, 3)
BY_RULE = math.log2(len(SYLLABLES)) + sum(SYLLABLES) / len(SYLLABLES) * sum(math.log2(len(signs)) for signs in SYLLABLE)
"""Bits of a made-up word for somebody who knows the rule (a few words can be made in two ways, and cost less)."""


def nonce_words(count: int, seed: int, taken: set[str]) -> list[str]:
    """Words of two or three syllables that are not among those taken."""
    generator = random.Random(f"nonce/{seed}")
    made: list[str] = []
    while len(made) < count:
        syllables = generator.choice(SYLLABLES)
        word = "".join(generator.choice(signs) for _ in range(syllables) for signs in SYLLABLE)
        if word not in taken and word not in made:
            made.append(word)
    return made


def compounds(seen: Mapping[str, int], taken: set[str], count: int, seed: int) -> list[tuple[str, str]]:
    """Pairs of words that were each seen five times or more, and never as one word."""
    parts_ = sorted(word for word, times in seen.items() if times >= 5 and 4 <= len(word) <= 8 and word.islower())
    if len(parts_) < 10:
        raise DataError(f"{len(parts_)} words of 4 to 8 letters occur 5 times, too few for compounds; give more text")
    generator = random.Random(f"compound/{seed}")
    made: set[tuple[str, str]] = set()
    for _ in range(100 * count):
        first, second = generator.sample(parts_, 2)
        if first + second not in taken:
            made.add((first, second))
        if len(made) == count:
            break
    return sorted(made)


def cuts(tokenizer: Tokenizer, word: str) -> set[int]:
    """The bytes of a word, which follows a space, after which a token ends within it."""
    ends, at = set(), -1  # the space comes first
    for piece in tokenizer.bytes_of(tokenizer.encode(f" {word}", special=False)):
        at += len(piece)
        ends.add(at)
    return {end for end in ends if 0 < end < len(word.encode())}


@dataclass(frozen=True)
class Slot:
    """A text with a place for a word."""

    before: str
    word: str
    nonce: str
    after: str

    def text(self, word: str) -> str:
        """With a word in the place, and its space; with none."""
        return self.before + (f" {word}" if word else "") + self.after


def slots(texts: Sequence[str], nonce: Sequence[str], seed: int) -> list[Slot]:
    """Texts by seed, in each of which one word of four letters or more, after a space, gives way to a new one."""
    generator, found, left = random.Random(f"slot/{seed}"), [], list(nonce)
    for text in generator.sample(list(texts), len(texts)):
        places = list(re.finditer(r" ([a-z]{4,})\b", text))
        if places and left:
            chosen = generator.choice(places)
            found.append(Slot(text[: chosen.start()], chosen[1], left.pop(), text[chosen.end() :]))
    if left:
        raise DataError(f"the held-out text has no place for {len(left)} of the {len(nonce)} words; give more text")
    return found


def seams(tokenizer: Tokenizer, pairs: Sequence[tuple[str, str]]) -> tuple[list[bool], list[bool], list[float]]:
    """For each compound: whether it is cut where its words meet, whether there alone, and how likely as many cuts at
    random places would hit the seam."""
    found = [
        (cuts(tokenizer, first + second), len(first.encode()), len((first + second).encode()))
        for first, second in pairs
    ]
    return (
        [seam in at for at, seam, _ in found],
        [at == {seam} for at, seam, _ in found],
        [len(at) / (length - 1) for at, _, length in found],
    )


def added(writer: Writer, places: Sequence[Slot]) -> float:
    """Bits that a made-up word adds to its text, the mean of several."""
    without, nonce = (
        sum(cost.bits for cost in writer.costs([slot.text(word) for slot, word in zip(places, words, strict=True)]))
        for words in ([""] * len(places), [slot.nonce for slot in places])
    )
    return (nonce - without) / len(places)
