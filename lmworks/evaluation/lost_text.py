"""What it costs, in bits, to write down what a tokenizer loses: so that bits per byte are of the whole text.

    lost = LostText(tokenizer, training_texts)
    ids, words, space = lost.of(text)        # the ids, what has to be spelt, and the bits of the white space
    sum(lost.spelling(words)) + space        # bits

The ids under a model and this make one code from which every text comes back, for any tokenizer: then, and only then,
bits per byte of two tokenizers can be compared. Unknown words are spelt by an n-gram model over bytes with an end
(as in Mielke and Eisner 2019, https://arxiv.org/abs/1804.08205, whose speller is a network), learnt from the words
that are unknown, or seen once, in the training text. White space is predicted from the tokens on both sides. Not
counted: where WordPiece drops a character inside a word. Such words are spelt, and nothing says which they are.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property

from lmworks.models.relatives.ngram import Ngram
from lmworks.tokens.lost import Loss, losses
from lmworks.tokens.tokenizer import Tokenizer

ORDER = 6
END = 256
"""The end of a spelling; it comes after the 256 bytes."""
KINDS = ("", " ")
"""White space that is encoded by its kind; any other is spelt."""

Context = tuple[int, int]
"""The tokens after and before a white space; -1 for none."""


class LostText:
    """The cost of what one tokenizer loses, learnt from the losses of a training text."""

    def __init__(self, tokenizer: Tokenizer, texts: Iterable[str]) -> None:
        self.tokenizer = tokenizer
        self.words: list[str] = []
        """What had to be spelt of the training text, in its order."""
        size = 0
        seen: Counter[str] = Counter()
        self._spaces: Counter[tuple[int, ...]] = Counter()
        for text in texts:
            size += len(text.encode())
            seen.update(text.split())
            ids, found = losses(tokenizer, text)
            self.words += [word for loss in found for word in _spelt(loss)]
            for context, space in _gaps(ids, found):
                for length in range(len(context) + 1):
                    self._spaces[_key(context[:length], space)] += 1
                    self._spaces[context[:length]] += 1
        # A text without a new word says nothing of new words: its words are all there is to learn from.
        self._new = [word for word, count in seen.items() if count == 1] or list(seen)
        self.share = sum(len(word.encode()) for word in self.words) / max(size, 1)
        """The share of the training text's bytes that has to be spelt."""

    def of(self, text: str) -> tuple[list[int], list[str], float]:
        """The ids of a text, what has to be spelt of it, and the bits of its white space where no id says it."""
        ids, found = losses(self.tokenizer, text)
        space = sum(self._space(context, space) for context, space in _gaps(ids, found))
        return ids, [word for loss in found for word in _spelt(loss)], space

    def spelling(self, words: Sequence[str]) -> list[float]:
        """The bits of each spelling, its end included, under the n-gram model."""
        known = {word: self._speller.score([*word.encode(), END]).sum() for word in set(words)}
        return [-float(known[word]) / math.log(2) for word in words]

    @cached_property
    def _speller(self) -> Ngram:
        return Ngram.train([[*word.encode(), END] for word in (*self.words, *self._new)], END + 1, ORDER)

    def _space(self, context: Context, space: str) -> float:
        """Given no context, then the token after it, then both tokens: each level falls back on the one before it.

        Dirichlet priors of strength 1 (MacKay and Peto 1995).
        """
        p = 1 / (len(KINDS) + 1)
        for length in range(len(context) + 1):
            p = (self._spaces[_key(context[:length], space)] + p) / (self._spaces[context[:length]] + 1)
        return -math.log2(p)


def _gaps(ids: Sequence[int], found: Sequence[Loss]) -> list[tuple[Context, str]]:
    """White space that no id says, each with the tokens around it."""
    around = [-1, *ids, -1]
    return [((around[at + 1], around[at]), loss.space) for at, loss in enumerate(found) if loss.space is not None]


def _spelt(loss: Loss) -> list[str]:
    space = [loss.space] if loss.space is not None and loss.space not in KINDS else []
    return space if loss.text is None else [*space, loss.text]


def _key(context: tuple[int, ...], space: str) -> tuple[int, ...]:
    """A context with the kind of white space in it, told from a context by a number that no token has."""
    kind = KINDS.index(space) if space in KINDS else len(KINDS)
    return (*context, -2, kind)
