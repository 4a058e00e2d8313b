"""Log-probabilities of given tokens, for texts of any length and in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from lmworks.basics.arrays import Float, Int
from lmworks.basics.errors import ConfigError
from lmworks.models.network import Network, evaluating
from lmworks.models.runner import Runner

ROWS = 128
"""Logits of this many tokens are held at once: 128 x 49,152 float32 are 25 MB. More than 32 MB are memory that the C
library gives back to the system each time, which clears every page of it anew."""
READ = 1024
"""Tokens read by the network at once."""


def must_score(window: int) -> None:
    """ConfigError for a window that holds no token with one before it."""
    if window < 2:
        raise ConfigError(f"the window is {window} tokens; give at least 2, one to read and one to score")


def windows(tokens: int, window: int) -> Iterator[tuple[int, int, int]]:
    """(start, first scored, end) of each window over `tokens` ids; windows overlap by a quarter.

    Position 0 has nothing before it and is never scored; every other position is scored exactly once.
    """
    must_score(window)
    start, scored = 0, 1
    while True:
        end = min(start + window, tokens)
        yield start, scored, end
        if end == tokens:
            return
        scored = end
        start = end - max(window // 4, 1)


def refuse_unless_causal(network: Network) -> None:
    """ConfigError for an encoder or an encoder-decoder: the one sees what it should predict, the other wants a
    source."""
    if network.config.arrangement != "decoder":
        raise ConfigError(
            f"the network is an {network.config.arrangement}, and a text is scored by a decoder, token by token"
        )


@torch.inference_mode()
def token_logprobs(
    runner: Runner, ids: list[int], window: int, adapter: str | None = None, lead: Sequence[int] = ()
) -> list[float]:
    """log p(ids[t] | what its window holds before it) for t = 1 ... n - 1, as an adapter tells it; `lead` is read
    before each window. ConfigError if a window is below 2."""
    refuse_unless_causal(runner.network)
    logprobs: list[float] = []
    with evaluating(runner.network):
        for start, scored, end in windows(len(ids), window):
            tokens = torch.tensor([[*lead, *ids[start:end]]], device=runner.network.device)
            # The last token only closes the window; nothing is predicted from it.
            hidden = _hidden(runner, tokens[:, :-1], adapter)
            offset = len(lead) + scored - start - 1
            logprobs += logprobs_of(runner, hidden[0, offset:], tokens[0, offset + 1 :]).tolist()
    return logprobs


def grouped(lengths: Sequence[int], most: int) -> Iterator[range]:
    """Neighbours that together have at most this length, longer ones by themselves."""
    start, held = 0, 0
    for at, length in enumerate(lengths):
        if at > start and held + length > most:
            yield range(start, at)
            start, held = at, 0
        held += length
    if lengths:
        yield range(start, len(lengths))


@torch.inference_mode()
def texts_logprobs(runner: Runner, texts: Sequence[list[int]], window: int) -> Iterator[list[float]]:
    """`token_logprobs` of each text. PyTorch reads short ones together, in one row in which none sees another: the
    weights are read once for all of them."""
    refuse_unless_causal(runner.network)
    together = min(window, READ) if runner.name == "PyTorch" else 0
    for group in grouped([len(ids) - 1 for ids in texts], together):
        if len(group) == 1:
            yield token_logprobs(runner, texts[group[0]], window)
            continue
        tokens = torch.tensor([token for at in group for token in texts[at][:-1]], device=runner.network.device)
        wanted = torch.tensor([token for at in group for token in texts[at][1:]], device=runner.network.device)
        sizes = [len(texts[at]) - 1 for at in group]
        documents = torch.arange(len(group), device=tokens.device).repeat_interleave(
            torch.tensor(sizes, device=tokens.device)
        )
        with evaluating(runner.network):
            hidden = runner.network.hidden(tokens[None], documents=documents[None])[0]
            found = logprobs_of(runner, hidden, wanted)
        yield from (one.tolist() for one in found.split(sizes))


@torch.inference_mode()
def target_logprobs(runner: Runner, source: list[int], ids: list[int]) -> list[float]:
    """log p(ids[t] | ids before it, source) for t = 1 ... n - 1, by an encoder-decoder; ids[0] opens the target."""
    logprobs: list[float] = []
    with evaluating(runner.network):
        cache = runner.new_cache(1, len(ids), runner.encode(np.array([source])))
        tokens = torch.tensor([ids], device=runner.network.device)
        for read, wanted in zip(tokens[:, :-1].split(ROWS, dim=1), tokens[0, 1:].split(ROWS), strict=True):
            logits = runner.logits(runner.hidden(read, cache=cache))[0]
            logprobs += (logits.gather(1, wanted[:, None])[:, 0] - logits.logsumexp(dim=1)).tolist()
    return logprobs


def _hidden(runner: Runner, tokens: Int[Tensor, "one seq"], adapter: str | None) -> Float[Tensor, "one seq dim"]:
    """Hidden states of a text, read in parts through a KV cache so that attention masks stay small."""
    if tokens.shape[1] <= READ:
        return runner.hidden(tokens, adapter=adapter)
    cache = runner.new_cache(1, tokens.shape[1], adapters=[adapter])
    return torch.cat([runner.hidden(part, cache=cache) for part in tokens.split(READ, dim=1)], dim=1)


def logprobs_of(
    runner: Runner, hidden: Float[Tensor, "seq dim"], targets: Int[Tensor, " seq"]
) -> Float[Tensor, " seq"]:
    """log p(targets[t] | hidden[t]), with the logits of a few tokens at a time."""
    parts = []
    for states, wanted in zip(hidden.split(ROWS), targets.split(ROWS), strict=True):
        logits = runner.logits(states)
        parts.append(logits.gather(1, wanted[:, None])[:, 0] - logits.logsumexp(dim=1))
    return torch.cat(parts) if parts else hidden.new_zeros(0, dtype=torch.float32)
