"""Rows of one text each with what belongs to it: sources with their targets, texts with their classes.

    write_pairs(documents, tokenizer, "run/train.safetensors")
    rows = PairRows(KeptTexts("run/train.safetensors", tokenizer), tokenizer, context=128)
    batch = rows.batch(places)                 # batch.source, batch.tokens, batch.labels

A batch is as wide as its longest text, so texts of similar length share one: an epoch's rows are shuffled, sorted by
length within pools of many batches, and the batches shuffled again.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor

from lmworks.basics.arrays import Int
from lmworks.basics.errors import ConfigError, DataError
from lmworks.basics.files import says_why
from lmworks.text.document import Document
from lmworks.tokens.batch import IGNORE, Batch
from lmworks.tokens.rows import Rows
from lmworks.tokens.shards import tokenizer_hash
from lmworks.tokens.source import around_a_text, source_ids, target_start
from lmworks.tokens.tokenizer import Tokenizer

POOL = 50
"""Batches whose rows are sorted by length together: many, so that they are alike; not all, so that epochs differ."""

Ids = list[int]


def write_pairs(documents: Sequence[Document], tokenizer: Tokenizer, path: Path) -> KeptTexts:
    """The ids of sources as an encoder reads them, each with those of its target; DataError for a document that is no
    question with its answer."""
    pairs = [document.pair for document in documents]
    targets = tokenizer.encode_batch([target for _, target in pairs], special=False)
    texts = [
        ids
        for (source, _), target in zip(pairs, targets, strict=True)
        for ids in (source_ids(tokenizer, source), target)
    ]
    return _write(path, tokenizer, texts)


def write_labelled(documents: Sequence[Document], labels: Sequence[str], tokenizer: Tokenizer, path: Path) -> KeptTexts:
    """The ids of texts, each with the number of its label among `labels`; DataError for a label that is not among
    them."""
    pairs = [document.pair for document in documents]
    numbers = {label: number for number, label in enumerate(labels)}
    require_labels([label for _, label in pairs], labels, "training text")
    texts = tokenizer.encode_batch([text for text, _ in pairs], special=False)
    return _write(path, tokenizer, texts, [numbers[label] for _, label in pairs], labels)


def require_labels(found: Sequence[str], known: Sequence[str], whose: str) -> None:
    """DataError for a label that is not among the known ones."""
    if (foreign := next((label for label in found if label not in known), None)) is not None:
        raise DataError(
            f"the label {foreign!r} is not among those of the {whose} ({', '.join(known)}); correct it, or "
            "leave its texts out"
        )


def _write(
    path: Path, tokenizer: Tokenizer, texts: Sequence[Ids], classes: Sequence[int] = (), labels: Sequence[str] = ()
) -> KeptTexts:
    arrays: dict[str, np.ndarray] = {
        "ids": np.array([number for ids in texts for number in ids], np.int32),
        "ends": np.array(list(accumulate(map(len, texts), initial=0)), np.int64),
        "classes": np.array(classes, np.int64),
    }
    with says_why(path):
        save_file(arrays, path, metadata={"tokenizer": tokenizer_hash(tokenizer), "labels": json.dumps(list(labels))})
    return KeptTexts(path, tokenizer)


class KeptTexts:
    """Texts as ids in a file, with their classes where they have some; DataError for a file that is none, or of another
    tokenizer."""

    def __init__(self, path: str | Path, tokenizer: Tokenizer) -> None:
        self.path = Path(path)
        try:
            with safe_open(self.path, framework="np") as file:
                facts = file.metadata() or {}
                self._ids, self._ends, self.classes = (file.get_tensor(name) for name in ("ids", "ends", "classes"))
                self.labels: tuple[str, ...] = tuple(json.loads(facts.get("labels", "[]")))
        except (OSError, SafetensorError) as error:
            raise DataError(f"{self.path} holds no texts ({error}); write them again") from None
        if facts.get("tokenizer") != tokenizer_hash(tokenizer):
            raise DataError(f"{self.path} was written with another tokenizer than {tokenizer.name}; write it again")

    @property
    def tokens(self) -> int:
        """Ids of all texts."""
        return len(self._ids)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __iter__(self) -> Iterator[Ids]:
        return (self[number] for number in range(len(self)))

    def __getitem__(self, number: int) -> Ids:
        if not 0 <= number < len(self):
            raise IndexError(number)
        ids: Ids = self._ids[self._ends[number] : self._ends[number + 1]].tolist()
        return ids

    def digest(self) -> str:
        """The first digits of a SHA-256 over all of it."""
        found = hashlib.sha256(json.dumps(self.labels).encode())
        for array in (self._ids, self._ends, self.classes):
            found.update(array.tobytes())
        return found.hexdigest()[:12]


class RowsByLength(Rows):
    """Rows of one text each; those of similar length share a micro-batch."""

    lengths: Sequence[tuple[int, ...]]
    """Of each row, what it is sorted by."""
    cut = 0
    """How many texts were cut because they were too long."""
    left_out = 0
    """How many were left out."""

    def __len__(self) -> int:
        return len(self.lengths)

    def width(self, context: int) -> float:
        """See Rows; what fills a row up to its longest neighbour is not counted."""
        return sum(length[0] for length in self.lengths) / len(self)

    def order(self, size: int, epoch: int, seed: int) -> list[list[int]]:
        """See Rows."""
        draw = random.Random(f"{seed}/{epoch}")
        places = list(range(len(self)))
        draw.shuffle(places)
        pools = (places[start : start + POOL * size] for start in range(0, len(places), POOL * size))
        alike = [place for pool in pools for place in sorted(pool, key=self.lengths.__getitem__)]
        groups = [alike[start : start + size] for start in range(0, len(alike), size)]
        draw.shuffle(groups)
        return groups


class PairRows(RowsByLength):
    """An encoder reads the source, a decoder learns the target after the token that opens it, its end included.

    A source of more than `context` tokens is cut after them; a pair whose target is longer, or empty, is left out.
    """

    def __init__(self, texts: Sequence[Ids] | KeptTexts, tokenizer: Tokenizer, context: int) -> None:
        """`texts` are sources and targets by turns. DataError where nothing can be learnt."""
        self.start, end = target_start(tokenizer), tokenizer.document_end
        self.ends = [] if end is None else [end]
        pairs = list(zip(_every(texts, 0), _every(texts, 1), strict=True))
        kept = [(source, target) for source, target in pairs if source and target and len(target) < context]
        if not kept:
            raise DataError(
                f"none of {len(pairs):,} pairs can be learnt: a source or target is empty, or a target has more than "
                f"{context - 1:,} tokens; look at the text, or raise training.context"
            )
        self.pairs = [(shortened(source, context), target) for source, target in kept]
        self.lengths = [
            (len(target) + len(self.ends), len(source)) for source, target in self.pairs
        ]  # a target's tokens cost more
        self.cut = sum(len(source) > context for source, _ in kept)
        self.left_out = len(pairs) - len(kept)

    def batch(self, places: Sequence[int]) -> Batch:
        """Each target from its start on, the token after each as its label, and the sources beside them."""
        sources = [self.pairs[place][0] for place in places]
        targets = [[*self.pairs[place][1], *self.ends] for place in places]
        tokens = padded([[self.start, *ids[:-1]] for ids in targets])
        return Batch(
            tokens,
            padded(targets, IGNORE),
            torch.arange(tokens.shape[1]).expand_as(tokens),
            torch.where(real(targets), 0, -1),
            source=padded(sources),
            source_real=real(sources),
        )


class TextClasses(RowsByLength):
    """Texts as an encoder reads them, with a class each, or one for each of their tokens (IGNORE for none).

    A text of more than `context` tokens with its begin and end is cut after them; one without any token is left out.
    """

    def __init__(
        self,
        texts: Sequence[Ids] | KeptTexts,
        classes: Sequence[int] | Sequence[Ids],
        tokenizer: Tokenizer,
        context: int,
    ) -> None:
        """ConfigError where the tokens of a text and their classes are not equally many; DataError for no text."""
        opening, closing = around_a_text(tokenizer)
        room = context - len(opening) - len(closing)
        each: list[int | Ids] = list(classes)
        kept = [(ids, one) for ids, one in zip(texts, each, strict=True) if ids]
        if not kept or room < 1:
            raise DataError(f"there is no text to classify in {context} tokens; give some, or raise training.context")
        self.rows = [[*opening, *ids[:room], *closing] for ids, _ in kept]
        self.classes: list[int | Ids] = []
        for ids, one in kept:
            if isinstance(one, int | np.integer):
                self.classes.append(int(one))
            elif len(one) == len(ids):
                self.classes.append([*(IGNORE for _ in opening), *one[:room], *(IGNORE for _ in closing)])
            else:
                raise ConfigError(f"a text has {len(ids)} tokens and {len(one)} classes; give one for each token")
        self.lengths = [(len(ids),) for ids in self.rows]
        self.cut, self.left_out = sum(len(ids) > room for ids, _ in kept), len(texts) - len(kept)

    def batch(self, places: Sequence[int]) -> Batch:
        """Texts with their classes; no token is to be predicted."""
        rows, classes = [self.rows[place] for place in places], [self.classes[place] for place in places]
        tokens = padded(rows)
        of_tokens = [one for one in classes if isinstance(one, list)]
        return Batch(
            tokens,
            torch.full_like(tokens, IGNORE),
            torch.arange(tokens.shape[1]).expand_as(tokens),
            torch.where(real(rows), 0, -1),
            classes=padded(of_tokens, IGNORE) if of_tokens else torch.tensor(classes),
        )


def shortened(ids: Ids, most: int) -> Ids:
    """At most this many ids: the first ones and the last, which ends the text."""
    return ids if len(ids) <= most else [*ids[: most - 1], ids[-1]]


def padded(rows: Sequence[Ids], filler: int = 0) -> Int[Tensor, "batch seq"]:
    """Rows of ids as one tensor, filled up at the end."""
    width = max(map(len, rows))
    return torch.tensor([[*ids, *[filler] * (width - len(ids))] for ids in rows])


def real(rows: Sequence[Ids]) -> Tensor:
    """True on the ids of such rows, False on what fills them up, [batch, seq]."""
    sizes = torch.tensor([len(ids) for ids in rows])
    return torch.arange(int(sizes.max())) < sizes[:, None]


def _every(texts: Sequence[Ids] | KeptTexts, first: int) -> list[Ids]:
    """Every second text."""
    return [texts[number] for number in range(first, len(texts), 2)]
