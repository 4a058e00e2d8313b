"""Texts as vectors: an encoder's states, pooled to one vector a text (`pooling.py`).

    vectors = lm.load("minilm").embed(["a cat", "a dog"])      # [2, 384], each of length 1
    asked = lm.load("bge-small").embed(["who wrote Faust?"], prompt="query")

Source: Reimers and Gurevych 2019, https://arxiv.org/abs/1908.10084.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np

from lmworks.basics import progress
from lmworks.basics.arguments import kind_of
from lmworks.basics.arrays import Bool, Float, Int
from lmworks.basics.errors import DataError
from lmworks.encoding.pooling import Pooling
from lmworks.models.config import ModelConfig
from lmworks.models.runner import Runner
from lmworks.tokens.tokenizer import Tokenizer

if TYPE_CHECKING:  # what runs compiled needs no PyTorch
    import torch
    from torch import Tensor

    from lmworks.encoding.dense import Dense

__all__ = ["Pooling", "at_once", "batches_by_length", "embed", "pooled", "rows_by_length"]

AT_ONCE, AT_ONCE_CPU = 65_536, 1024
"""Tokens that go through the network together, padding included. On a CPU the states of more fall out of its caches."""


def at_once(device: str) -> int:
    """How many tokens that is on a device of this type."""
    return AT_ONCE_CPU if device == "cpu" else AT_ONCE


def embed(
    runner: Runner,
    tokenizer: Tokenizer,
    texts: Sequence[str | Sequence[int]],
    pooling: Pooling,
    *,
    dense: Sequence[Dense] = (),
    prompt: str | None = None,
    cut: bool = False,
    exact: bool = True,
    adapter: str | None = None,
) -> Float[np.ndarray, "texts dim"]:
    """A vector for each text, in float32; with `cut` longer texts lose their end, else they are a DataError. A text
    may be given as its tokens' ids, which are read as they are; before others comes the `prompt` of this name. `dense`
    layers are put on what is pooled; an `adapter` of this name reads the texts.

    `exact` is the runner's: in PyTorch, float32 weights are multiplied in float32 and not in the processor's fast
    format.
    """
    config = runner.config
    longest = pooling.within(config.context)
    if isinstance(texts, str):
        raise DataError("embed takes a list of texts; put the one text into brackets")
    texts = pooling.prompted(texts, prompt)
    encoded = [
        _fitting(tokenizer, ids, text, longest, cut)
        for ids, text in zip(_encoded(tokenizer, texts, config.vocab_size), texts, strict=True)
    ]
    vectors = np.zeros((len(texts), dense[-1].width if dense else config.dim), np.float32)
    with progress.task("embedding", len(texts), "texts") as advance:
        for places, tokens, mask in rows_by_length(encoded, at_once(runner.device)):
            vectors[places] = runner.of_texts(
                lambda hidden, real: pooled(hidden, real, pooling, dense), tokens, mask, adapter=adapter, exact=exact
            )
            advance(len(places))
    return vectors


def too_long(
    tokenizer: Tokenizer, texts: Sequence[str], pooling: Pooling, config: ModelConfig, prompt: str | None = None
) -> int:
    """How many of these texts have more tokens than are read of one, so that `embed` with `cut` drops their ends."""
    longest = pooling.within(config.context)
    encoded = _encoded(tokenizer, pooling.prompted(texts, prompt), config.vocab_size)
    return sum(len(ids) > longest for ids in encoded)


def pooled(
    hidden: Float[Tensor | np.ndarray, "batch seq dim"],
    mask: Bool[Tensor | np.ndarray, "batch seq"],
    pooling: Pooling,
    dense: Sequence[Dense] = (),
) -> Any:
    """One vector for each row, [batch, dim], as tensors or NumPy arrays, whichever the states are; padding does not
    count."""
    if dense and isinstance(hidden, np.ndarray):  # the layers are PyTorch's
        import torch

        return pooled(torch.from_numpy(hidden), torch.from_numpy(mask), pooling, dense).numpy()
    library: Any = np
    if not isinstance(hidden, np.ndarray):
        import torch

        library, hidden = torch, hidden.float()
    vectors: Any
    if pooling.mode == "mean":
        sizes = library.asarray(mask.sum(1), dtype=hidden.dtype)
        vectors = (hidden * mask[..., None]).sum(1) / sizes[:, None]
    elif pooling.mode == "max":
        vectors = library.amax(library.where(mask[..., None], hidden, -np.inf), 1)
    else:
        at = 0 * mask.sum(1) if pooling.mode == "first" else mask.sum(1) - 1
        rows = library.arange(len(hidden))
        vectors = hidden[rows if library is np else rows.to(hidden.device), at]
    for layer in dense:
        vectors = layer(vectors)
    if not pooling.normalise:
        return vectors
    if library is np:
        return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
    return library.nn.functional.normalize(vectors, dim=-1)


def _encoded(tokenizer: Tokenizer, texts: Sequence[str | Sequence[int]], vocab_size: int) -> list[list[int]]:
    written = iter(tokenizer.encode_batch([text for text in texts if isinstance(text, str)]))
    encoded = [next(written) if isinstance(text, str) else _given_ids(text) for text in texts]
    for ids in encoded:
        if ids and not 0 <= min(ids) <= max(ids) < vocab_size:
            wrong = min(ids) if min(ids) < 0 else max(ids)
            raise DataError(f"there is no token {wrong:,}; the vocabulary has {vocab_size:,}")
    return encoded


def _given_ids(text: Sequence[int]) -> list[int]:
    """The ids of a text that was given as them. DataError for what is no text either."""
    if isinstance(text, Iterable) and not isinstance(text, bytes | Mapping):
        ids = list(text)
        if all(isinstance(one, Integral) for one in ids):
            return [int(one) for one in ids]
    raise DataError(f"{kind_of(text)} is no text; give a list of texts, or of their tokens' ids")


def _fitting(tokenizer: Tokenizer, ids: list[int], text: str | Sequence[int], longest: int, cut: bool) -> list[int]:
    """The ids of a text, cut before what the tokenizer puts after it."""
    if not ids:
        raise DataError("an empty text has no token and so no vector; leave it out")
    if len(ids) <= longest:
        return ids
    if not cut:
        shown = f" {text[:40]!r}..." if isinstance(text, str) else ""
        raise DataError(
            f"the text{shown} has {len(ids):,} tokens and the model reads {longest:,}; split it, or give cut=True"
        )
    suffix = len(tokenizer.suffix)
    if suffix and ids[-suffix:] != list(tokenizer.suffix):  # ids that were given without it
        suffix = 0
    return ids[: longest - suffix] + ids[len(ids) - suffix :]


def batches_by_length(
    ids: Sequence[list[int]], device: torch.device
) -> Iterator[tuple[list[int], Int[Tensor, "batch seq"], Bool[Tensor, "batch seq"]]]:
    """`rows_by_length`, as tensors."""
    import torch

    for places, tokens, mask in rows_by_length(ids, at_once(device.type)):
        yield places, torch.from_numpy(tokens).to(device), torch.from_numpy(mask).to(device)


def rows_by_length(
    ids: Sequence[list[int]], at_once: int
) -> Iterator[tuple[list[int], Int[np.ndarray, "batch seq"], Bool[np.ndarray, "batch seq"]]]:
    """Places of texts of similar length, so that little is padding, with their tokens and where these are real; each
    at most `at_once` tokens, or one text."""
    for places in _places([len(one) for one in ids], at_once):
        sizes = np.array([len(ids[place]) for place in places])
        mask = np.arange(sizes.max()) < sizes[:, None]
        tokens = np.zeros(mask.shape, np.int64)
        tokens[mask] = np.concatenate([ids[place] for place in places])
        yield places, tokens, mask


def _places(sizes: Sequence[int], at_once: int) -> Iterator[list[int]]:
    places: list[int] = []
    for place in sorted(range(len(sizes)), key=lambda place: -sizes[place]):
        if places and sizes[places[0]] * (len(places) + 1) > at_once:
            yield places
            places = []
        places.append(place)
    if places:
        yield places
