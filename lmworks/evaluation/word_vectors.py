"""What word vectors know: similarity as people see it, analogies, and whether neighbours are of one kind.

    similarity(vectors, read_pairs("wordsim353"))        # rank correlation with people's scores
    analogies(vectors, read_analogies("google-analogies"))

A word without a vector cannot be asked for: its pair or question is left out, and n says how many are left.
Sources: similarity: Finkelstein et al. 2002, Bruni et al. 2014 (MEN); analogies, b - a + c with the three words
themselves excluded: Mikolov et al. 2013, https://arxiv.org/abs/1301.3781, section 4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lmworks.basics.arrays import Float32
from lmworks.basics.errors import DataError
from lmworks.evaluation import statistics
from lmworks.evaluation.measurement import Measurement
from lmworks.models.relatives.vectors import Vectors
from lmworks.text.sources import read

Pair = tuple[str, str, float]
"""Two words, and how alike or related people find them, in any unit."""
Analogy = tuple[str, str, str, str]
"""a is to b as c is to d."""

BLOCK = 1024
"""Questions that are answered at once."""


def read_pairs(reference: str | Path) -> list[Pair]:
    """Pairs in lower case, from lines of two words and a number; DataError for any other line."""
    pairs = []
    for line, fields in _lines(reference):
        try:
            one, other, score = fields
            pairs.append((one.lower(), other.lower(), float(score)))
        except ValueError:
            raise DataError(f"{reference}: line {line} is not two words and a number") from None
    return pairs


def read_analogies(reference: str | Path, section: str = "") -> list[Analogy]:
    """Questions in lower case, from lines of four words; lines that begin with a colon are headings.

    With `section` those alone whose heading begins with it: "gram" for grammar in Google's set.
    """
    questions, heading = [], ""
    for line, fields in _lines(reference):
        if fields[0].startswith(":"):
            heading = "".join(fields).removeprefix(":")
            continue
        if len(fields) != 4:
            raise DataError(f"{reference}: line {line} has {len(fields)} words; an analogy has four")
        if heading.startswith(section):
            a, b, c, d = (word.lower() for word in fields)
            questions.append((a, b, c, d))
    return questions


def _lines(reference: str | Path) -> list[tuple[int, list[str]]]:
    texts = [document.text for document in read(reference).documents]
    return [(at, line.split()) for text in texts for at, line in enumerate(text.splitlines(), 1) if line.strip()]


def similarity(vectors: Vectors, pairs: Sequence[Pair]) -> Measurement:
    """Spearman's correlation of the vectors' cosines with people's scores; DataError below two known pairs."""
    known = [pair for pair in pairs if pair[0] in vectors and pair[1] in vectors]
    if len(known) < 2:
        raise DataError(f"{len(known)} of {len(pairs):,} pairs have vectors for both words; take vectors of more words")
    unit = _unit(vectors)
    one, other = (
        unit[[vectors.rows[word] for word in side]] for side in zip(*((a, b) for a, b, _ in known), strict=True)
    )
    estimate = statistics.spearman((one * other).sum(axis=1), [score for *_, score in known])
    return Measurement(
        name="word similarity", value=estimate.value, interval=estimate.interval, n=len(known), chance=0.0, ideal=1.0
    )


def analogies(vectors: Vectors, questions: Sequence[Analogy]) -> Measurement:
    """The share of questions whose d is the word closest to b - a + c, of all words but a, b and c.

    DataError where no question has vectors for all its words.
    """
    known = [question for question in questions if all(word in vectors for word in question)]
    if not known:
        raise DataError(f"none of {len(questions):,} analogies has vectors for its four words; take vectors of more")
    unit, right = _unit(vectors), 0
    for start in range(0, len(known), BLOCK):
        a, b, c, d = np.array([[vectors.rows[word] for word in one] for one in known[start : start + BLOCK]]).T
        cosines = (unit[b] - unit[a] + unit[c]) @ unit.T
        for asked in (a, b, c):
            cosines[np.arange(len(a)), asked] = -np.inf
        right += int((cosines.argmax(axis=1) == d).sum())
    estimate = statistics.proportion(right, len(known))
    return Measurement(
        name="analogies",
        value=estimate.value,
        interval=estimate.interval,
        n=len(known),
        chance=1 / len(vectors.words),
        ideal=1.0,
    )


def neighbours_of_one_kind(vectors: Vectors, kinds: Mapping[str, int], count: int = 10) -> Measurement:
    """The mean share of a word's `count` nearest neighbours that are of its own kind, among the words that have one.

    Chance is that of neighbours drawn at random. No interval: words share their neighbours. DataError for too few.
    """
    words = [word for word in kinds if word in vectors]
    if len(words) <= count:
        raise DataError(f"{len(words)} of {len(kinds):,} words have a vector; {count} neighbours each need more")
    unit = _unit(vectors)[[vectors.rows[word] for word in words]]
    kind = np.array([kinds[word] for word in words])
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -np.inf)
    nearest = np.argpartition(-cosines, count, axis=1)[:, :count]
    same = kind[:, None] == kind[None]
    return Measurement(
        name="neighbours of one kind",
        value=float(np.take_along_axis(same, nearest, axis=1).mean()),
        n=len(words),
        chance=float((same.sum(axis=1) - 1).mean() / (len(words) - 1)),
        ideal=1.0,
    )


def _unit(vectors: Vectors) -> Float32[np.ndarray, "words dim"]:
    """The vectors at length 1; a vector of zeros stays, and is like nothing."""
    return vectors.matrix / np.maximum(np.linalg.norm(vectors.matrix, axis=1, keepdims=True), 1e-12)
