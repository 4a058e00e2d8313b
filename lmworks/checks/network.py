"""Checks of the network with its own weights: pitfalls 5, 12, 13, 14, 17 and 18."""

from __future__ import annotations

import torch
from torch import Tensor

from lmworks.basics.arrays import Float
from lmworks.checks.probes import OTHER_TEXTS, TEXT, as_row, own_source, probe_ids, read
from lmworks.checks.result import Difference, NotApplicableError, Outcome, check, logits_apart, type_name
from lmworks.language_model import LanguageModel
from lmworks.models.network import Network, evaluating
from lmworks.models.relatives.recurrent import RecurrentNetwork
from lmworks.tokens.batch import Example, stack

CHUNK = 5
"""Tokens read at once in the chunked pass; no divisor of most lengths."""
STEPS = 8
"""Tokens read one by one, as in decoding, after the others."""
PADDING = 3


@check("a cache changes nothing", 12, of="model", numbers="both", writes=True)
def cache(model: LanguageModel) -> Outcome:
    """Logits with and without a KV cache."""
    network = model.network
    tokens = as_row(probe_ids(model), network)
    plain = read(model, tokens)
    size = tokens.shape[1]
    steps = [size - min(STEPS, size - 1), *[1] * min(STEPS, size - 1)]
    chunks = [CHUNK] * (size // CHUNK) + ([size % CHUNK] if size % CHUNK else [])
    differences = [
        logits_apart(
            "cached token by token and uncached", _through_cache(network, tokens, steps), plain, network.dtype
        ),
        logits_apart(
            f"cached in chunks of {CHUNK} and uncached", _through_cache(network, tokens, chunks), plain, network.dtype
        ),
    ]
    reused = network.new_cache(1, 4, own_source(network, tokens))
    network(tokens, cache=reused)
    reused.truncate(kept := min(CHUNK, size - 1))
    again = network(tokens[:, kept:], cache=reused)
    differences.append(logits_apart("a truncated cache and none", again, plain[:, kept:], network.dtype))
    window = model.config.window
    return Outcome(
        f"{size} tokens: cached, in chunks, after truncation" + (f", window {window}" if window else ""), differences
    )


@check("padding changes nothing", 13, of="model", numbers="both")
def padding(model: LanguageModel) -> Outcome:
    """A text alone, and padded left and right."""
    network = model.network
    ids = probe_ids(model)[: model.longest - PADDING]
    alone = read(model, as_row(ids, network))
    pad = [0] * PADDING
    right, left = as_row([*ids, *pad], network), as_row([*pad, *ids], network)
    at = torch.arange(len(ids) + PADDING, device=network.device)[None]
    return Outcome(
        f"{len(ids)} tokens alone, and with {PADDING} of padding",
        [
            logits_apart(
                "padded right and alone", read(model, right, at < len(ids))[:, : len(ids)], alone, network.dtype
            ),
            logits_apart("padded left and alone", read(model, left, at >= PADDING)[:, PADDING:], alone, network.dtype),
        ],
    )


@check("padding rows are finite", 14, of="model", numbers="both")
def padding_rows(model: LanguageModel) -> Outcome:
    """A row of padding alone beside a text, and other ids in the padding."""
    network = model.network
    ids = probe_ids(model)[: model.longest - PADDING]
    size = len(ids) + PADDING
    real = torch.tensor([[False] * PADDING + [True] * len(ids), [False] * size], device=network.device)
    one = read(model, torch.tensor([[0] * PADDING + ids, [0] * size], device=network.device), real)
    other = read(model, torch.tensor([[ids[-1]] * PADDING + ids, [ids[0]] * size], device=network.device), real)
    broken = int((~torch.isfinite(one)).any(-1).sum() + (~torch.isfinite(other)).any(-1).sum())
    return Outcome(
        f"a row of {size} padding tokens, and other ids in the padding",
        [
            Difference("padding and finite numbers", broken, 0, "rows of logits"),
            logits_apart("one filling of the padding and another", other[0, PADDING:], one[0, PADDING:], network.dtype),
        ],
    )


@check("packed documents don't meet", 5, of="model", numbers="both")
def packing(model: LanguageModel) -> Outcome:
    """Documents packed in one row, and each alone."""
    network = model.network
    if network.encoder is not None:
        raise NotApplicableError("an encoder-decoder has one source and one target a row, and nothing packed")
    longest = model.longest // 4
    texts = [probe_ids(model, text)[:longest] for text in (OTHER_TEXTS[0], TEXT, OTHER_TEXTS[1])]
    row = tuple(Example(ids, [True] * len(ids), "probe") for ids in texts)
    batch = stack([row]).to(network.device)
    packed = network(batch.tokens, documents=batch.documents)
    differences, start = [], 0
    for number, ids in enumerate(texts, 1):
        alone = network(as_row(ids, network))
        differences.append(
            logits_apart(
                f"document {number} packed and alone", packed[:, start : start + len(ids)], alone, network.dtype
            )
        )
        at = batch.positions[0, start : start + len(ids)].tolist()
        differences.append(
            Difference(f"positions of document {number} and 0, 1, 2 ...", at != list(range(len(ids))), 0, "documents")
        )
        start += len(ids)
    return Outcome(f"{len(texts)} documents, {start} tokens", differences)


@check("attention is the formula", 17, of="model", numbers="both")
def attention(model: LanguageModel) -> Outcome:
    """The kernel that runs, and the explicit formula."""
    network = model.network
    if isinstance(network, RecurrentNetwork):
        raise NotApplicableError("a recurrent network has one way to attend to a source, and none to its own text")
    tokens = as_row(probe_ids(model), network)
    size = tokens.shape[1]
    half = torch.arange(size, device=network.device)[None] >= size // 2
    runs = network.attention_kernel
    got = read(model, tokens), read(model, tokens, half)[:, size // 2 :]
    try:
        network.attention_kernel = "explicit"
        formula = read(model, tokens), read(model, tokens, half)[:, size // 2 :]
    finally:
        network.attention_kernel = runs
    return Outcome(
        f"kernel '{runs}' and softmax(QK'/sqrt(d))V step by step",
        [
            logits_apart(f"{runs} attention and the formula", got[0], formula[0], network.dtype),
            logits_apart(f"{runs} attention under a mask and the formula", got[1], formula[1], network.dtype),
        ],
        f"'{runs}' runs",
    )


@check("dropout is off when it answers", 18, of="model")
def dropout(model: LanguageModel) -> Outcome:
    """Two passes over the same text."""
    network = model.network
    tokens = as_row(probe_ids(model), network)
    was_training = network.training
    with evaluating(network):
        first, second = read(model, tokens), read(model, tokens)
    differences = [
        Difference(
            "two evaluation passes", float((first - second).abs().max()), 0, f"logits, {type_name(network.dtype)}"
        ),
        Difference("the loaded model and evaluation mode", was_training, 0, "modes"),
    ]
    if model.config.dropout:
        differences.append(
            Difference("two training passes and different ones", _equal_in_training(model, tokens), 0, "passes")
        )
    return Outcome(
        f"two passes over {tokens.shape[1]} tokens", differences, f"dropout {model.config.dropout:g} in training"
    )


def _through_cache(network: Network, tokens: Tensor, sizes: list[int]) -> Float[Tensor, "one seq vocab"]:
    held = network.new_cache(1, 4, own_source(network, tokens))
    return torch.cat([network(part, cache=held) for part in tokens.split(sizes, dim=1)], dim=1)


def _equal_in_training(model: LanguageModel, tokens: Tensor) -> bool:
    """Are two passes in training mode equal? The mode and the random state are put back."""
    network = model.network
    mode, state = network.training, torch.get_rng_state()
    try:
        network.train()
        return bool(torch.equal(read(model, tokens), read(model, tokens)))
    finally:
        network.train(mode)
        torch.set_rng_state(state)
