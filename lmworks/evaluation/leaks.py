"""Leaks: held-out text that the training text holds too, so that its figures show memory and not only learning.

print(shared_words(parts.train, parts.held_out))   # 0.4 % of the held-out runs of 13 words occur in ... (41 of 9,280)
for one in leaks(parts.train, parts.held_out):
    print(one.held_out, one.share, one.train)

A held-out document of fewer than 13 words is judged whole: its words in a row stand in a training document, or, where
they are fewer than 5, are all of one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lmworks.text.document import Document
from lmworks.text.splits import ngrams, ngrams_found, words_of

WORDS = 13
"""Words of a run: Brown et al. 2020, appendix C."""
FEWEST = 5
"""A shorter document of at least as many words is looked for inside training documents, as short items of tasks are;
fewer words in a row say nothing, and must be a whole document."""
TOLERATED = 0.05
"""Share of the held-out runs of 13 words that may stand in the training text: above it, the held-out loss is to a good
part memory. Of the registry's texts and python-reference the highest is 0.05 % (`lmworks check TEXT`)."""


@dataclass(frozen=True)
class SharedWords:
    """How much of the held-out text the training text holds, letter case and punctuation aside."""

    runs: int
    """Runs of 13 words that the held-out documents have."""
    found: int
    """Those that the training text has, too."""
    short: int
    """Held-out documents of fewer words."""
    short_found: int
    """Those that the training text holds whole."""

    @property
    def share(self) -> float | None:
        """Of the runs, 0 to 1; None where no held-out document has 13 words."""
        return self.found / self.runs if self.runs else None

    @property
    def short_share(self) -> float | None:
        """Of the shorter documents, 0 to 1; None where there are none."""
        return self.short_found / self.short if self.short else None

    @property
    def shares(self) -> list[tuple[str, float, str]]:
        """What is compared, the share of it that is shared, and its unit, of each kind that there is."""
        kinds = (
            (f"the held-out runs of {WORDS} words and those of the training text", self.share, "shared"),
            ("the shorter held-out documents and the training text", self.short_share, "of the short documents shared"),
        )
        return [(what, share, unit) for what, share, unit in kinds if share is not None]

    @property
    def tolerated(self) -> bool:
        """Is it too little to make the held-out figures memory?"""
        return all(share <= TOLERATED for _, share, _ in self.shares)

    def __str__(self) -> str:
        return self.said("held-out", "the training text")

    def said(self, held_out: str, train: str) -> str:
        """The figures in words, with the texts called so."""
        if self.share is None:
            whole = f"shorter ones that occur whole in {train}"
            told = f"no {held_out} document has {WORDS} words"
        else:
            whole = f"shorter {held_out} documents that occur there whole"
            told = (
                f"{100 * self.share:.1f} % of the {held_out} runs of {WORDS} words occur in {train} "
                f"({self.found:,} of {self.runs:,})"
            )
        return told + (f"; {whole}: {self.short_found:,} of {self.short:,}" if self.short else "")


@dataclass(frozen=True)
class Leak:
    """A held-out document that a training document repeats."""

    held_out: str
    """Its source."""
    share: float
    """Share of its runs of words that stand in any training document."""
    train: str
    """The source of the training document that repeats most of them."""


def shared_words(train: Iterable[Document], held_out: Sequence[Document]) -> SharedWords:
    """How much of the held-out text the training text holds. The training text is gone through twice at most."""
    train = list(train)
    found = [run for document in ngrams_found(train, held_out, WORDS) for run in document]
    short = _short(held_out)
    return SharedWords(len(found), sum(found), len(short), len(_repeated(train, short)))


def leaks(train: Sequence[Document], held_out: Sequence[Document], tolerated: float = TOLERATED) -> list[Leak]:
    """The held-out documents of which more than a share `tolerated` stands in the training text, the worst first."""
    found = zip(held_out, ngrams_found(train, held_out, WORDS), strict=True)
    shares = [(sum(runs) / len(runs), document) for document, runs in found if runs]
    leaking = sorted((one for one in shares if one[0] > tolerated), key=lambda one: -one[0])
    wanted: dict[int, list[int]] = {}
    for number, (_, document) in enumerate(leaking):
        for gram in set(ngrams(document.text, WORDS)):
            wanted.setdefault(gram, []).append(number)
    repeats = [Counter[str]() for _ in leaking]
    for document in train if leaking else ():
        for gram in ngrams(document.text, WORDS):
            for number in wanted.get(gram, ()):
                repeats[number][document.source] += 1
    repeated = _repeated(train, _short(held_out))
    return [Leak(held_out[number].source, 1.0, source) for number, source in sorted(repeated.items())] + [
        Leak(document.source, share, places.most_common(1)[0][0])
        for (share, document), places in zip(leaking, repeats, strict=True)
    ]


def _short(documents: Sequence[Document]) -> dict[int, list[str]]:
    """The words of the documents that have some, but no run of them, by the documents' numbers."""
    words = ((number, words_of(one.text)) for number, one in enumerate(documents))
    return {number: own for number, own in words if 0 < len(own) < WORDS}


def _repeated(train: Iterable[Document], short: Mapping[int, list[str]]) -> dict[int, str]:
    """Of these short documents those that a training document holds whole, and that one's source."""
    by_start: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for number, own in short.items():
        by_start[tuple(own[:FEWEST])].append(number)
    found: dict[int, str] = {}
    for document in train if short else ():
        text = words_of(document.text)
        # A start of fewer than FEWEST words is met only where it is the whole of the training document.
        for at in range(max(len(text) - FEWEST, 0) + 1):
            for number in by_start.get(tuple(text[at : at + FEWEST]), ()):
                if text[at : at + len(short[number])] == short[number]:
                    found.setdefault(number, document.source)
    return found
