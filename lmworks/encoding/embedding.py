"""Texts as vectors: an encoder's states, pooled to one vector a text, as sentence-transformers' folders describe it.

    vectors = lm.load("minilm").embed(["a cat", "a dog"])      # [2, 384], each of length 1

Source: Reimers and Gurevych 2019, https://arxiv.org/abs/1908.10084.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor

from lmworks.basics import progress
from lmworks.basics.config import Config
from lmworks.basics.errors import ConfigError, DataError, ModelError
from lmworks.basics.threads import one_thread
from lmworks.models.files.directory import FACTS, read_facts, read_json
from lmworks.models.linear import packed_products
from lmworks.models.network import evaluating
from lmworks.models.runner import Runner
from lmworks.tokens.tokenizer import Tokenizer

AT_ONCE, AT_ONCE_CPU = 65_536, 1024
"""Tokens that go through the network together, padding included. On a CPU the states of more fall out of its caches."""

MODES = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "first", "pooling_mode_lasttoken": "last"}
OTHERS = ("pooling_mode_max_tokens", "pooling_mode_mean_sqrt_len_tokens", "pooling_mode_weightedmean_tokens")


class Pooling(Config):
    """How the states of a text become one vector."""

    mode: Literal["mean", "first", "last"] = "mean"
    """The mean over its tokens, or the state of its first or last one."""

    normalise: bool = True
    """Bring each vector to length 1, so that dot products are cosines."""

    longest: int | None = Field(default=None, gt=0)
    """Tokens of the longest text, special tokens included; None for the network's context."""

    query: str = ""
    """What is put before a question that looks for passages, and before no passage."""

    def within(self, context: int) -> int:
        """Tokens of the longest text that a network of this context reads, special tokens included."""
        return min(self.longest or context, context)

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """What a folder of ours or of sentence-transformers says; None where it says nothing. ModelError for another
        pooling."""
        if isinstance(said := read_facts(folder).get("pooling"), dict):
            try:
                return cls(**said)
            except ConfigError as error:
                raise ModelError(f"{folder / FACTS}: pooling: {error}") from None
        modules = _modules(folder)
        if not modules:
            return None
        settings: dict[str, Any] = {"normalise": "Normalize" in modules}
        if "Pooling" in modules:
            said = read_json(folder / modules["Pooling"] / "config.json")
            chosen = [mode for key, mode in MODES.items() if said.get(key)]
            if len(chosen) != 1 or any(said.get(key) for key in OTHERS):
                raise ModelError(f"{folder / modules['Pooling']}: only one of {', '.join(MODES)} is supported")
            settings["mode"] = chosen[0]
        if "max_seq_length" in (said := _said(folder / "sentence_bert_config.json")):
            settings["longest"] = said["max_seq_length"]
        prompts = _said(folder / "config_sentence_transformers.json").get("prompts")
        if isinstance(prompts, dict) and isinstance(prompts.get("query"), str):
            settings["query"] = prompts["query"]
        try:
            return cls(**settings)
        except ConfigError as error:
            raise ModelError(f"{folder / 'sentence_bert_config.json'}: {error}") from None


def _said(path: Path) -> dict[str, Any]:
    """What a file says; nothing where there is none."""
    return read_json(path) if path.is_file() else {}


def _modules(folder: Path) -> dict[str, str]:
    """The parts of a sentence-transformers model by their kind, and the folder of each; ModelError for one that is
    not known."""
    path = folder / "modules.json"
    if not path.is_file():
        return {}
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
        modules = {str(one["type"]).rpartition(".")[2]: str(one["path"]) for one in listed}
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise ModelError(f"{path} is no list of modules ({error}); fetch or copy it again") from None
    if unknown := sorted(set(modules) - {"Transformer", "Pooling", "Normalize"}):
        raise ModelError(
            f"{path}: a module of the type {unknown[0]} is not supported, and without it vectors would differ"
        )
    if not all((folder / place).resolve().is_relative_to(folder.resolve()) for place in modules.values()):
        raise ModelError(f"{path} names a folder outside its own; fetch it again")
    return modules


@torch.inference_mode()
def embed(
    runner: Runner,
    tokenizer: Tokenizer,
    texts: Sequence[str | Sequence[int]],
    pooling: Pooling,
    *,
    cut: bool = False,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "texts dim"]:
    """A vector for each text, in float32; with `cut` longer texts lose their end, else they are a DataError. A text
    may be given as its tokens' ids, which are read as they are.

    In PyTorch, `dtype` is the format in which float32 weights are multiplied, float32 or bfloat16; other weights in
    their own.
    """
    network = runner.network
    longest = pooling.within(network.config.context)
    encoded = [
        _fitting(tokenizer, ids, text, longest, cut)
        for ids, text in zip(_encoded(tokenizer, texts, network.config.vocab_size), texts, strict=True)
    ]
    vectors = torch.zeros(len(texts), network.config.dim)
    with (
        evaluating(network),
        packed_products(dtype, network.device),
        one_thread(runner.own_threads()),
        progress.task("embedding", len(texts), "texts") as advance,
    ):
        for places, tokens, mask in batches_by_length(encoded, network.device):
            vectors[places] = pooled(runner.hidden(tokens, mask).float(), mask, pooling).cpu()
            advance(len(places))
    return vectors


def pooled(
    hidden: Float[Tensor, "batch seq dim"], mask: Bool[Tensor, "batch seq"], pooling: Pooling
) -> Float[Tensor, "batch dim"]:
    """One vector for each row; padding has no part in it."""
    if pooling.mode == "mean":
        vectors = (hidden * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
    else:
        at = torch.zeros_like(mask[:, 0], dtype=torch.long) if pooling.mode == "first" else mask.sum(dim=1) - 1
        vectors = hidden[torch.arange(len(hidden), device=hidden.device), at]
    return torch.nn.functional.normalize(vectors, dim=-1) if pooling.normalise else vectors


def _encoded(tokenizer: Tokenizer, texts: Sequence[str | Sequence[int]], vocab_size: int) -> list[list[int]]:
    if isinstance(texts, str):
        raise DataError("embed takes a list of texts; put the one text into brackets")
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
