"""Texts in sentences, as rows to learn from: whole passages, or two stretches that follow one another or do not (BERT).

    write_sentences(documents, tokenizer, "run/train.safetensors")
    sentences = Sentences("run/train.safetensors", tokenizer)
    rows = Passages(sentences, tokenizer, context=128)                        # [CLS] sentences [SEP]
    rows = SentencePairs(sentences, tokenizer, context=128, wrong="random")   # [CLS] a [SEP] b [SEP]

Source: Devlin et al. 2018, https://arxiv.org/abs/1810.04805, section 3.1 (next sentence); Lan et al. 2019,
https://arxiv.org/abs/1909.11942, section 3.1 (sentence order).
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from lmworks.basics import progress
from lmworks.basics.arrays import Int
from lmworks.basics.errors import ConfigError, DataError
from lmworks.basics.files import says_why
from lmworks.text.document import Document
from lmworks.text.sentences import sentences
from lmworks.tokens.batch import IGNORE, Batch
from lmworks.tokens.rows import Rows
from lmworks.tokens.shards import tokenizer_hash
from lmworks.tokens.tokenizer import Tokenizer

Ids = Int[np.ndarray, " tokens"]


def write_sentences(documents: Iterable[Document], tokenizer: Tokenizer, path: Path) -> Sentences:
    """The ids of each document's sentences in one file; sentences without a token are dropped. DataError where
    nothing is left."""
    ids: list[np.ndarray] = []
    ends, last = [0], [0]
    with progress.task("cutting into sentences", unit="characters") as advance:
        for document in documents:
            if document.messages is not None:
                raise DataError(f"{document.source} is a conversation, and sentences are cut from plain text")
            for sentence in tokenizer.encode_batch(sentences(document.text), special=False):
                if sentence:
                    ids.append(np.array(sentence, np.int32))
                    ends.append(ends[-1] + len(sentence))
            last.append(len(ends) - 1)
            advance(len(document.text))
    if not ids:
        raise DataError(f"there is nothing to write into {path}: no document holds text; give some that do")
    arrays = {"ids": np.concatenate(ids), "ends": np.array(ends, np.int64), "last": np.array(last, np.int64)}
    with says_why(path):
        save_file(arrays, path, metadata={"tokenizer": tokenizer_hash(tokenizer)})
    return Sentences(path, tokenizer)


class Sentences:
    """The sentences of a corpus as ids; DataError for a file that holds no sentences, or another tokenizer's."""

    def __init__(self, path: str | Path, tokenizer: Tokenizer, name: str | None = None) -> None:
        self.path = Path(path)
        self.name = name or str(path)
        """Its name in error messages; the path unless given."""
        try:
            with safe_open(self.path, framework="np") as file:
                made_with = (file.metadata() or {}).get("tokenizer")
                self._ids, self._ends, self._last = (file.get_tensor(name) for name in ("ids", "ends", "last"))
        except (OSError, SafetensorError) as error:
            raise DataError(f"{self.path} holds no sentences ({error}); write them again") from None
        if made_with != tokenizer_hash(tokenizer):
            raise DataError(f"{self.path} was written with another tokenizer than {tokenizer.name}; write it again")

    @property
    def tokens(self) -> int:
        """Ids of all sentences."""
        return len(self._ids)

    def __len__(self) -> int:
        return len(self._last) - 1

    def document(self, number: int) -> list[Ids]:
        """The sentences of a document; none where it had no token."""
        return [
            self._ids[self._ends[one] : self._ends[one + 1]]
            for one in range(int(self._last[number]), int(self._last[number + 1]))
        ]

    def digest(self) -> str:
        """The first digits of a SHA-256 over all of it."""
        found = hashlib.sha256()
        for array in (self._ids, self._ends, self._last):
            found.update(array.tobytes())
        return found.hexdigest()[:12]


class _Runs(Rows):
    """Runs of sentences of one document, each as long as a row holds, and what both kinds of row have in common.

    A sentence that is longer than half a row is cut into pieces of that length.
    """

    around: int
    """Special tokens of a row."""
    shortest: int
    """Pieces that a run must have."""

    def __init__(self, sentences: Sentences, tokenizer: Tokenizer, context: int) -> None:
        start, end = tokenizer.document_start, tokenizer.document_end
        if start is None or end is None:
            raise ConfigError(
                f"the tokenizer of {tokenizer.name} has no tokens that begin and end a text, as [CLS] and [SEP] do; "
                "train "
                "one with special_tokens that do"
            )
        self.start, self.end, self.room = start, end, context - self.around
        if self.room < 8:
            raise ConfigError(f"context is {context}; a row of sentences needs at least {8 + self.around} tokens")
        longest = self.room // 2
        self.documents = [
            [one[at : at + longest] for one in sentences.document(number) for at in range(0, len(one), longest)]
            for number in range(len(sentences))
        ]
        self.runs = [
            (number, first, last)
            for number, pieces in enumerate(self.documents)
            for first, last in self._fill(pieces)
            if last - first >= self.shortest
        ]
        if not self.runs:
            raise DataError(f"{sentences.name} has no document of {self.shortest} sentences; give longer texts")

    def _fill(self, pieces: Sequence[Ids]) -> list[tuple[int, int]]:
        """First and last piece (excluded) of each run of a document."""
        found, first = [], 0
        while first < len(pieces):
            last = self._fitting(pieces, first, self.room)
            found.append((first, last))
            first = last
        return found

    @staticmethod
    def _fitting(pieces: Sequence[Ids], first: int, room: int) -> int:
        """The index after the last sentence, from `first` on, that fits into this many tokens."""
        last, used = first, 0
        while last < len(pieces) and used + len(pieces[last]) <= room:
            used += len(pieces[last])
            last += 1
        return last

    def __len__(self) -> int:
        return len(self.runs)

    def _stack(self, rows: Sequence[tuple[list[int], int]], classes: Sequence[int] | None = None) -> Batch:
        """Rows of ids as tensors; of each the number of tokens in its first segment is given."""
        tokens = torch.zeros(len(rows), max(len(ids) for ids, _ in rows), dtype=torch.long)
        documents, segments, positions = torch.full_like(tokens, -1), torch.zeros_like(tokens), torch.zeros_like(tokens)
        for number, (ids, first) in enumerate(rows):
            tokens[number, : len(ids)] = torch.tensor(ids)
            documents[number, : len(ids)] = 0
            segments[number, first : len(ids)] = 1
            positions[number, : len(ids)] = torch.arange(len(ids))
        return Batch(
            tokens,
            torch.full_like(tokens, IGNORE),
            positions,
            documents,
            segments=None if classes is None else segments,
            classes=None if classes is None else torch.tensor(classes),
        )


class Passages(_Runs):
    """Each row one passage of whole sentences: [CLS] sentences [SEP]."""

    around, shortest = 2, 1

    def batch(self, places: Sequence[int]) -> Batch:
        """Some passages as tensors; nothing is to be predicted yet."""
        rows = []
        for place in places:
            document, first, last = self.runs[place]
            pieces = self.documents[document][first:last]
            ids = [self.start, *(int(token) for piece in pieces for token in piece), self.end]
            rows.append((ids, len(ids)))
        return self._stack(rows)


class SentencePairs(_Runs):
    """Each row a passage cut in two, [CLS] a [SEP] b [SEP]; in half of them b is wrong, drawn anew in each epoch.

    `wrong` says how: "random" takes the second text of another document's passage, of the true one's length where
    possible, so that the length does not reveal the answer; "swapped" puts b before a. Where the passage is cut is
    drawn anew too.
    """

    around, shortest = 3, 2

    def __init__(
        self,
        sentences: Sentences,
        tokenizer: Tokenizer,
        context: int,
        *,
        wrong: Literal["random", "swapped"] = "random",
    ) -> None:
        super().__init__(sentences, tokenizer, context)
        self.wrong, self._draw = wrong, "0/0"
        if wrong == "random" and len({document for document, _, _ in self.runs}) < 2:
            raise DataError(
                f"{sentences.name} has one document of two sentences or more, and a random second text comes from "
                "another "
                "one; give more documents, or swap the two (sentence order)"
            )
        if wrong == "random":
            self._index_seconds()

    def at_epoch(self, epoch: int, seed: int) -> SentencePairs:
        """The same passages, cut and paired otherwise."""
        other = object.__new__(type(self))
        vars(other).update(vars(self))
        other._draw = f"{seed}/{epoch}"
        return other

    def batch(self, places: Sequence[int]) -> Batch:
        """Some pairs as tensors, each with its class: 0 where the second text goes on from the first."""
        rows, classes = [], []
        for place in places:
            first, second, wrong = self._pair(place)
            ids = [self.start, *first, self.end]
            rows.append(([*ids, *second, self.end], len(ids)))
            classes.append(int(wrong))
        return self._stack(rows, classes)

    def _pair(self, place: int) -> tuple[list[int], list[int], bool]:
        generator = random.Random(f"{self._draw}/{place}")
        document, first, last = self.runs[place]
        pieces, cut = self.documents[document], generator.randrange(first + 1, last)
        a, b = _joined(pieces[first:cut]), _joined(pieces[cut:last])
        wrong = generator.random() < 0.5
        if not wrong:
            return a, b, wrong
        return (b, a, wrong) if self.wrong == "swapped" else (a, self._elsewhere(generator, document, a, b), wrong)

    def _index_seconds(self) -> None:
        """Every second text that a passage may have, sorted by its length: passage and cut, and how likely they are
        drawn."""
        found = [
            (size, number, last - after, 2**32 // (last - first - 1))
            for number, (document, first, last) in enumerate(self.runs)
            for after, size in enumerate(accumulate(map(len, self.documents[document][last - 1 : first : -1])), 1)
        ]
        sizes, self._numbers, self._cuts, weights = np.array(sorted(found), np.int64).T
        self._weights = np.concatenate([[0], np.cumsum(weights)])  # of all before it
        self._of_size = np.searchsorted(sizes, np.arange(self.room + 1))
        self._homes = np.array([document for document, _, _ in self.runs])

    def _elsewhere(self, generator: random.Random, document: int, a: list[int], b: list[int]) -> list[int]:
        """The second text of another document's passage, of the length of `b` or the nearest that there is; each is
        drawn with the probability that it has as a true one."""
        weights, own = self._weights, np.searchsorted(self._homes, (document, document + 1))
        for size in sorted(range(1, self.room), key=lambda size: (abs(size - len(b)), generator.random())):
            first, last = self._of_size[size], self._of_size[size + 1]
            out, back = first + np.searchsorted(self._numbers[first:last], own)  # this document's
            before, after = weights[out] - weights[first], weights[last] - weights[back]
            if before + after:
                drawn = generator.randrange(int(before + after))
                place = weights[first] + drawn if drawn < before else weights[back] + drawn - before
                at = np.searchsorted(weights, place, side="right") - 1
                home, _, end = self.runs[self._numbers[at]]
                # What is longer than the room that is left is cut.
                return _joined(self.documents[home][self._cuts[at] : end])[: self.room - len(a)]
        raise AssertionError("two documents have passages, says the constructor")


def _joined(pieces: Sequence[Ids]) -> list[int]:
    return [int(token) for piece in pieces for token in piece]
