"""The n-gram model: interpolated, modified Kneser-Ney smoothing over the token ids of any tokenizer.

    model = Ngram.train((tokenizer.encode(document.text, special=False) for document in documents), vocab_size, order=5)
    model.bits_per_byte([ids], len(text.encode()))
    model.generate(prompt, 100, Chooser(Sample(seed=7)).choose)

p(w | h) = (a(hw) - D(a(hw))) / a(h.) + backoff(h) p(w | h without its first token), down to the uniform distribution.
a is the count for the longest grams and for those at the start of a document, and for all others the number of
different tokens in front of them. D has one value each for a = 1, 2 and 3 or more, estimated for each length.
Probabilities are stored interpolated, so scoring is one look-up a length, for all tokens of a text at once.

Sources: Kneser and Ney 1995; Chen and Goodman 1998, "An empirical study of smoothing techniques for language
modeling", section 3; grams at the start of a text as in Heafield et al. 2013, https://aclanthology.org/P13-2121,
section 3.2, and discounts that cannot be estimated as in its program, KenLM's lmplz.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from lmworks.basics import progress
from lmworks.basics.arrays import Bool, Float, Float32, Float64, Int64
from lmworks.basics.errors import ConfigError, DataError, ModelError
from lmworks.basics.files import written_whole
from lmworks.models.files.directory import read_safetensors, write_safetensors

Ids = Sequence[int] | Int64[np.ndarray, " tokens"]
Discounts = tuple[float, float, float]
"""What is taken off a count of 1, of 2, and of 3 or more."""

FALLBACK: Discounts = (0.5, 1.0, 1.5)
"""Where a text has no grams of some small count (single letters, say) and the formula gives nothing."""
MOST_ORDER = 32
MOST_VOCABULARY = 100_000_000


@dataclass(frozen=True)
class Level:
    """All grams of one length, in the order of their keys; a gram's id is its place.

    key = (id of the gram without its last token, in the level below) * (vocabulary + 1) + last token, so the
    grams that continue the same context lie side by side.
    """

    keys: Int64[np.ndarray, " grams"]
    probability: Float32[np.ndarray, " grams"]
    """Of the last token after the others."""
    backoff: Float32[np.ndarray, " grams"]
    """What a shorter context's probabilities are multiplied by after this gram; 1 where nothing ever followed."""

    def find(self, keys: Int64[np.ndarray, " wanted"]) -> Int64[np.ndarray, " wanted"]:
        """The id of each key, -1 where there is no such gram."""
        if not len(self.keys):
            return np.full(len(keys), -1)
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[at] == keys, at, -1)


@dataclass(frozen=True)
class _Counted:
    """The grams of one length as they were counted."""

    keys: Int64[np.ndarray, " grams"]
    suffix: Int64[np.ndarray, " grams"]
    """The gram without its first token: its id in the level below."""
    count: Int64[np.ndarray, " grams"]
    begins: Bool[np.ndarray, " grams"]
    """Whether it stands at the start of a document."""


class Ngram:
    """A trained model. Token ids run from 0 to `vocab_size` - 1; `vocab_size` itself stands before each document."""

    def __init__(self, levels: Sequence[Level], vocab_size: int, discounts: Sequence[Discounts]) -> None:
        self.levels, self.vocab_size, self.discounts = tuple(levels), vocab_size, tuple(discounts)

    @property
    def order(self) -> int:
        """The longest gram: one token and the `order` - 1 before it."""
        return len(self.levels)

    @property
    def grams(self) -> tuple[int, ...]:
        """How many different grams of each length there are."""
        return tuple(len(level.keys) for level in self.levels)

    @classmethod
    def train(
        cls, documents: Iterable[Ids], vocab_size: int, order: int = 5, discounts: Sequence[Discounts] | None = None
    ) -> Ngram:
        """Count the documents and smooth. `discounts` (one triple a length, shortest first) are estimated where None.

        Raises DataError for ids outside the vocabulary or no tokens at all, ConfigError for an impossible order.
        """
        if not 1 <= order <= MOST_ORDER:
            raise ConfigError(f"order is {order}; give 1 to {MOST_ORDER}")
        if not 1 <= vocab_size <= MOST_VOCABULARY:
            raise ConfigError(f"vocab_size is {vocab_size:,}; give 1 to {MOST_VOCABULARY:,}")
        if discounts is not None and (
            len(discounts) != order
            or any(not 0 <= value <= at for triple in discounts for at, value in zip((1, 2, 3), triple, strict=True))
        ):
            raise ConfigError(
                f"discounts must be {order} triples of at most 1, 2 and 3; leave them out to estimate them"
            )
        stream, place = _stream(documents, vocab_size)
        counted = _count(stream, place, order, vocab_size)
        adjusted = _adjusted(counted)
        used = list(discounts) if discounts is not None else [estimate_discounts(counts) for counts in adjusted]
        return cls(_smoothed(counted, adjusted, used, vocab_size), vocab_size, used)

    def score(self, ids: Ids) -> Float64[np.ndarray, " tokens"]:
        """log p of each token of a document after all that stand before it; of the first, after the start."""
        stream = np.concatenate([[self.vocab_size], _checked(ids, self.vocab_size, "the text")])
        probability = self.levels[0].probability[stream].astype(np.float64)
        gram = stream
        for shorter, level in pairwise(self.levels):
            if not len(level.keys):  # the documents learnt from were all shorter
                break
            context = np.concatenate([[-1], gram[:-1]])  # the gram before each token, -1 where it is unknown
            gram = np.where(context >= 0, level.find(context * (self.vocab_size + 1) + stream), -1)
            backed_off = probability * np.where(context >= 0, shorter.backoff[context], 1.0)
            probability = np.where(gram >= 0, level.probability[gram], backed_off)
        with np.errstate(divide="ignore"):  # log 0 where discounts of 0 were asked for
            return np.log(probability[1:])

    def bits_per_byte(self, documents: Iterable[Ids], size: int) -> float:
        """Bits per byte of documents whose text has `size` bytes of UTF-8 together."""
        if size < 1:
            raise DataError("the text has no bytes; bits per byte needs at least one")
        return -sum(float(self.score(ids).sum()) for ids in documents) / math.log(2) / size

    def logits(self, context: Ids) -> Float[np.ndarray, " vocab"]:
        """log p of every token after a document's first tokens: what a decoding strategy chooses from."""
        probability = self.levels[0].probability[: self.vocab_size].astype(np.float64)
        recent = _checked(context[max(len(context) - self.order + 1, 0) :], self.vocab_size, "the context")
        start_token = [self.vocab_size] if len(context) < self.order - 1 else []
        history, base = [*start_token, *recent.tolist()], self.vocab_size + 1
        for length in range(1, len(history) + 1):
            gram = self._find(history[-length:])
            if gram < 0:  # then no longer one is there either
                break
            level = self.levels[length]
            start, end = np.searchsorted(level.keys, [gram * base, (gram + 1) * base])
            probability *= self.levels[length - 1].backoff[gram]
            probability[level.keys[start:end] - gram * base] = level.probability[start:end]
        with np.errstate(divide="ignore"):
            return np.log(probability).astype(np.float32)

    def generate(
        self, prompt: Ids, tokens: int, choose: Callable[[Float[np.ndarray, " vocab"]], int], stop: Container[int] = ()
    ) -> list[int]:
        """Up to `tokens` ids after `prompt`, each by `choose`; a token of `stop` is the last one."""
        text = [int(token) for token in _checked(prompt, self.vocab_size, "the prompt")]
        start = len(text)
        while len(text) < start + tokens and not (len(text) > start and text[-1] in stop):
            text.append(choose(self.logits(text)))
        return text[start:]

    def save(self, path: str | Path) -> None:
        """Write one safetensors file, whole or not at all."""
        tensors = {
            "vocab_size": np.array([self.vocab_size]),
            "discounts": np.array(self.discounts, dtype=np.float64),
        }
        for length, level in enumerate(self.levels, 1):
            tensors |= {f"{length}.probability": level.probability, f"{length}.backoff": level.backoff}
            if length > 1:
                tensors[f"{length}.keys"] = level.keys
        with written_whole(Path(path)) as temporary:
            write_safetensors(temporary, {name: torch.from_numpy(array) for name, array in tensors.items()})

    @classmethod
    def load(cls, path: str | Path) -> Ngram:
        """Read what `save` wrote; ModelError where the file is missing, cut off or not such a model."""
        tensors = read_safetensors(Path(path))
        try:
            return _checked_model({name: tensor.numpy() for name, tensor in tensors.items()})
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"{path} is not an n-gram model, or damaged ({error}); train it again, or copy it again"
            ) from None

    def _find(self, tokens: Sequence[int]) -> int:
        """The id of a gram in the level of its length; -1 where there is none."""
        gram = tokens[0]
        for level, token in zip(self.levels[1:], tokens[1:], strict=False):
            gram = int(level.find(np.array([gram * (self.vocab_size + 1) + token]))[0])
            if gram < 0:
                break
        return gram


def estimate_discounts(counts: Int64[np.ndarray, " grams"]) -> Discounts:
    """D1, D2, D3+ from how many grams have the counts 1 to 4 (Chen and Goodman 1998, section 3)."""
    one, two, three, four = (int((counts == value).sum()) for value in (1, 2, 3, 4))
    if not (one and two and three):
        return FALLBACK
    share = one / (one + 2 * two)
    found = (1 - 2 * share * two / one, 2 - 3 * share * three / two, 3 - 4 * share * four / three)
    return found if all(0 <= value <= most for value, most in zip(found, (1, 2, 3), strict=True)) else FALLBACK


def _checked(ids: Ids, vocab_size: int, what: str) -> Int64[np.ndarray, " tokens"]:
    array = np.asarray(ids)
    if not array.size:
        return np.zeros(0, dtype=np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise DataError(f"{what} is not a row of whole numbers; give the ids that the tokenizer makes of a text")
    if array.min() < 0 or array.max() >= vocab_size:
        wrong = int(array[(array < 0) | (array >= vocab_size)][0])
        raise DataError(
            f"{what} holds the id {wrong}, and the vocabulary has {vocab_size:,}; give its tokenizer's own ids"
        )
    return array.astype(np.int64, copy=False)


def _stream(
    documents: Iterable[Ids], vocab_size: int
) -> tuple[Int64[np.ndarray, " stream"], Int64[np.ndarray, " stream"]]:
    """All documents in a row, each after the start token, and each token's distance from its document's start."""
    parts: list[Int64[np.ndarray, " tokens"]] = []
    for at, ids in enumerate(documents):
        parts += [np.array([vocab_size]), _checked(ids, vocab_size, f"document {at}")]
    lengths = [len(start) + len(text) for start, text in zip(parts[::2], parts[1::2], strict=True)]
    if sum(lengths) == len(lengths):
        raise DataError("there is no token to learn from; give documents that hold text")
    place = np.concatenate([np.arange(length) for length in lengths])
    return np.concatenate(parts), place


def _count(
    stream: Int64[np.ndarray, " stream"], place: Int64[np.ndarray, " stream"], order: int, vocab_size: int
) -> list[_Counted]:
    """Every gram of each length with its count. No gram reaches over the start of a document."""
    base = vocab_size + 1
    keys = np.arange(base)
    levels = [_Counted(keys, np.zeros_like(keys), np.bincount(stream, minlength=base), keys == vocab_size)]
    gram = stream  # id of the gram that ends at each place, of the length last counted
    with progress.task("counting", order - 1, "lengths") as advance:
        for length in range(2, order + 1):
            ends = np.flatnonzero(place >= length - 1)
            keys, inverse, count = np.unique(
                gram[ends - 1] * base + stream[ends], return_inverse=True, return_counts=True
            )
            suffix = np.empty_like(keys)
            suffix[inverse] = gram[ends]
            levels.append(_Counted(keys, suffix, count, levels[-1].begins[keys // base]))
            gram = np.full_like(stream, -1)
            gram[ends] = inverse
            advance(1, grams=len(keys))
    return levels


def _adjusted(levels: Sequence[_Counted]) -> list[Int64[np.ndarray, " grams"]]:
    """The counts that are smoothed: of the longest grams their own, of shorter ones the different tokens before them.

    Nothing stands before a gram at the start of a document; it keeps its count. The start itself is never predicted.
    """
    adjusted = []
    for level, longer in pairwise(levels):
        before = np.bincount(longer.suffix, minlength=len(level.keys))
        adjusted.append(np.where(level.begins, level.count, before))
    adjusted.append(levels[-1].count.copy())
    adjusted[0][-1] = 0
    return adjusted


def _smoothed(
    counted: Sequence[_Counted],
    adjusted: Sequence[Int64[np.ndarray, " grams"]],
    discounts: Sequence[Discounts],
    vocab_size: int,
) -> list[Level]:
    """Interpolated probabilities from the shortest grams up, and each context's back-off weight."""
    # The level below single tokens: one empty context, after which every token is equally probable.
    below = np.full(1, 1 / vocab_size)
    probabilities, backoffs = [], []
    for length, (level, counts, triple) in enumerate(zip(counted, adjusted, discounts, strict=True), 1):
        context = level.keys // (vocab_size + 1) if length > 1 else np.zeros_like(level.keys)
        taken = np.array([0.0, *triple])[np.minimum(counts, 3)]
        total = np.bincount(context, weights=counts, minlength=len(below))
        followed = total > 0
        weight = np.bincount(context, weights=taken, minlength=len(below))
        backoff = np.divide(weight, total, out=np.ones(len(below)), where=followed)
        probability = (counts - taken) / total[context] + backoff[context] * below[level.suffix]
        if length == 1:
            probability[-1] = 0.0
        backoffs.append(backoff.astype(np.float32))
        probabilities.append(probability.astype(np.float32))
        below = probability
    backoffs.append(np.ones(len(below), dtype=np.float32))  # nothing is looked up after the longest grams
    return [
        Level(level.keys, probability, backoff)
        for level, probability, backoff in zip(counted, probabilities, backoffs[1:], strict=True)
    ]


def _checked_model(arrays: dict[str, np.ndarray]) -> Ngram:
    """A model of these arrays; KeyError or ValueError where they are none."""
    discounts, vocab_size = arrays.pop("discounts"), int(arrays.pop("vocab_size").reshape(1)[0])
    if discounts.shape[1:] != (3,) or not 1 <= len(discounts) <= MOST_ORDER or len(arrays) != 3 * len(discounts) - 1:
        raise ValueError("wrong number of arrays")
    arrays["1.keys"] = np.arange(len(arrays["1.probability"]))
    levels: list[Level] = []
    contexts = 1
    for length in range(1, len(discounts) + 1):
        keys, probability, backoff = (arrays[f"{length}.{name}"] for name in ("keys", "probability", "backoff"))
        if not len(keys) == len(probability) == len(backoff) or {keys.ndim, probability.ndim, backoff.ndim} != {1}:
            raise ValueError(f"the arrays of length {length} differ in size")
        if keys.dtype != np.int64 or {probability.dtype, backoff.dtype} != {np.dtype(np.float32)}:
            raise ValueError(f"the arrays of length {length} have the wrong type")
        if len(keys) and not (keys[0] >= 0 and (np.diff(keys) > 0).all() and keys[-1] < contexts * (vocab_size + 1)):
            raise ValueError(f"the grams of length {length} are not in order")
        for values in (probability, backoff):
            if not ((values >= 0) & (values <= 1)).all():
                raise ValueError(f"a probability of length {length} is not between 0 and 1")
        levels.append(Level(keys, probability, backoff))
        contexts = len(keys)
    if len(levels[0].keys) != vocab_size + 1:
        raise ValueError("the vocabulary has another size")
    return Ngram(levels, vocab_size, [(float(one), float(two), float(more)) for one, two, more in discounts])
