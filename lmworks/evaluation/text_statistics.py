"""What sampled texts look like from outside: diversity within and between them, and repetition.

All work on token ids (or any other hashable units), so that no word splitter has a say.
Sources: distinct-n: Li et al. 2016, https://arxiv.org/abs/1510.03055; self-BLEU: Zhu et al. 2018,
https://arxiv.org/abs/1802.01886, with BLEU of Papineni et al. 2002 and add-one smoothing of Lin and Och 2004.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence

from lmworks.basics.errors import ConfigError

Text = Sequence[Hashable]


def ngrams(text: Text, n: int) -> Counter[tuple[Hashable, ...]]:
    """Each run of `n` units and how often it occurs."""
    return Counter(tuple(text[at : at + n]) for at in range(len(text) - n + 1))


def distinct_n(texts: Sequence[Text], n: int) -> float:
    """Different runs of `n` units among all runs, over all texts: 1 if none comes twice."""
    counts = sum((ngrams(text, n) for text in texts), Counter[tuple[Hashable, ...]]())
    if not counts:
        raise ConfigError(f"no text has {n} units; distinct-{n} needs one that has")
    return len(counts) / counts.total()


def repeated(text: Text, n: int) -> float:
    """Share of a text's runs of `n` units that occurred in it before; 0 for a text shorter than that."""
    counts = ngrams(text, n)
    return 1 - len(counts) / counts.total() if counts else 0.0


def self_bleu(texts: Sequence[Text], n: int = 4) -> float:
    """Mean BLEU-n of each text against the others: 1 if all say the same, near 0 if they share nothing."""
    if len(texts) < 2:
        raise ConfigError(f"self-BLEU compares texts with each other, and there are {len(texts)}; give two or more")
    tables = [_table(text, n) for text in texts]
    return sum(_bleu(table, [*tables[:at], *tables[at + 1 :]]) for at, table in enumerate(tables)) / len(texts)


def bleu(text: Text, references: Sequence[Text], n: int = 4) -> float:
    """BLEU of one text: clipped precision of runs of 1 to `n` units, with a penalty for brevity.

    Runs longer than one are counted plus one (above and below), or a text without a common run of four would
    be 0. 0 for an empty text.
    """
    if not references:
        raise ConfigError("BLEU needs at least one reference to compare with")
    return _bleu(_table(text, n), [_table(reference, n) for reference in references])


def _table(text: Text, n: int) -> list[Counter[tuple[Hashable, ...]]]:
    return [ngrams(text, length) for length in range(1, n + 1)]


def _bleu(table: list[Counter[tuple[Hashable, ...]]], references: list[list[Counter[tuple[Hashable, ...]]]]) -> float:
    logs = 0.0
    for at, counts in enumerate(table):
        most = Counter[tuple[Hashable, ...]]()
        for reference in references:
            most |= reference[at]
        smooth = 1 if at else 0
        matches = (counts & most).total() + smooth
        if not matches:
            return 0.0
        logs += math.log(matches / (counts.total() + smooth)) / len(table)
    size = table[0].total()
    closest = min((abs(other - size), other) for other in (reference[0].total() for reference in references))[1]
    return math.exp(logs + min(0.0, 1 - closest / size))
