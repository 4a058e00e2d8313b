"""Texts as vectors: an encoder's states, pooled to one vector a text (`pooling.py`).

    vectors = lm.load("minilm").embed(["a cat", "a dog"])      # [2, 384], each of length 1
    asked = lm.load("bge-small").embed(["who wrote Faust?"], prompt="query")

Source: Reimers and Gurevych 2019, https://arxiv.org/abs/1908.10084.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from lmworks.basics import progress
from lmworks.basics.arrays import Bool, Float, Int
from lmworks.basics.errors import DataError
from lmworks.basics.threads import one_thread
from lmworks.encoding.pooling import Dense, Pooling
from lmworks.models.linear import packed_products
from lmworks.models.network import evaluating
from lmworks.models.runner import Runner
from lmworks.tokens.tokenizer import Tokenizer

__all__ = ["Pooling", "batches_by_length", "embed", "pooled"]

AT_ONCE, AT_ONCE_CPU = 65_536, 1024
"""Tokens that go through the network together, padding included. On a CPU the states of more fall out of its caches."""


@torch.inference_mode()
def embed(
    runner: Runner,
    tokenizer: Tokenizer,
    texts: Sequence[str | Sequence[int]],
    pooling: Pooling,
    *,
    dense: Sequence[Dense] = (),
    prompt: str | None = None,
    cut: bool = False,
    dtype: torch.dtype = torch.float32,
    adapter: str | None = None,
) -> Float[Tensor, "texts dim"]:
    """A vector for each text, in float32; with `cut` longer texts lose their end, else they are a DataError. A text
    may be given as its tokens' ids, which are read as they are; before others comes the `prompt` of this name. `dense`
    layers are put on what is pooled; an `adapter` of this name reads the texts.

    In PyTorch, `dtype` is the format in which float32 weights are multiplied, float32 or bfloat16; other weights in
    their own.
    """
    network = runner.network
    longest = pooling.within(network.config.context)
    if isinstance(texts, str):
        raise DataError("embed takes a list of texts; put the one text into brackets")
    texts = pooling.prompted(texts, prompt)
    encoded = [
        _fitting(tokenizer, ids, text, longest, cut)
        for ids, text in zip(_encoded(tokenizer, texts, network.config.vocab_size), texts, strict=True)
    ]
    vectors = torch.zeros(len(texts), dense[-1].width if dense else network.config.dim)
    with (
        evaluating(network),
        packed_products(dtype, network.device),
        one_thread(runner.own_threads()),
        progress.task("embedding", len(texts), "texts") as advance,
    ):
        for places, tokens, mask in batches_by_length(encoded, network.device):
            vectors[places] = pooled(runner.hidden(tokens, mask, adapter=adapter).float(), mask, pooling, dense).cpu()
            advance(len(places))
    return vectors


def pooled(
    hidden: Float[Tensor, "batch seq dim"],
    mask: Bool[Tensor, "batch seq"],
    pooling: Pooling,
    dense: Sequence[Dense] = (),
) -> Float[Tensor, "batch dim"]:
    """One vector for each row; padding has no part in it."""
    if pooling.mode == "mean":
        vectors = (hidden * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
    elif pooling.mode == "max":
        vectors = hidden.masked_fill(~mask[..., None], -torch.inf).amax(dim=1)
    else:
        at = torch.zeros_like(mask[:, 0], dtype=torch.long) if pooling.mode == "first" else mask.sum(dim=1) - 1
        vectors = hidden[torch.arange(len(hidden), device=hidden.device), at]
    for layer in dense:
        vectors = layer(vectors)
    return torch.nn.functional.normalize(vectors, dim=-1) if pooling.normalise else vectors


def _encoded(tokenizer: Tokenizer, texts: Sequence[str | Sequence[int]], vocab_size: int) -> list[list[int]]:
    written = iter(tokenizer.encode_batch([text for text in texts if isinstance(text, str)]))
    encoded = [next(written) if isinstance(text, str) else list(text) for text in texts]
    for ids in encoded:
        if ids and not 0 <= min(ids) <= max(ids) < vocab_size:
            wrong = min(ids) if min(ids) < 0 else max(ids)
            raise DataError(f"there is no token {wrong:,}; the vocabulary has {vocab_size:,}")
    return encoded


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
    """Places of texts of similar length, so that little is padding, with their tokens and where these are real; each
    at most AT_ONCE tokens, or one text."""
    at_once = AT_ONCE_CPU if device.type == "cpu" else AT_ONCE
    for places in _places([len(one) for one in ids], at_once):
        rows = [torch.tensor(ids[place]) for place in places]
        tokens = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(device)
        sizes = torch.tensor([len(row) for row in rows], device=device)
        yield places, tokens, torch.arange(tokens.shape[1], device=device) < sizes[:, None]


def _places(sizes: Sequence[int], at_once: int) -> Iterator[list[int]]:
    places: list[int] = []
    for place in sorted(range(len(sizes)), key=lambda place: -sizes[place]):
        if places and sizes[places[0]] * (len(places) + 1) > at_once:
            yield places
            places = []
        places.append(place)
    if places:
        yield places
