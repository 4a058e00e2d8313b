"""Pseudo-likelihood: how likely tokens of a text are to a masked model, each masked by itself, all others in sight.

Source: Salazar et al. 2020, https://arxiv.org/abs/1910.14659, section 2.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lmworks.basics.errors import ConfigError, DataError
from lmworks.models.network import evaluating
from lmworks.models.runner import Runner
from lmworks.tokens.tokenizer import Tokenizer

ROWS = 32
"""Copies of a text, each with another mask, that are read side by side."""


@torch.inference_mode()
def pseudo_logprobs(runner: Runner, tokenizer: Tokenizer, tokens: Sequence[int], places: Sequence[int]) -> list[float]:
    """log p(token | all others) at each of these places of a text, in nats. What the tokenizer puts around a text
    stands around it.

    ConfigError for a network or tokenizer without what it takes; DataError for a text that is too long.
    """
    network = runner.network
    if network.config.arrangement != "encoder" or network.head_transform is None:
        raise ConfigError(
            "tokens are guessed by an encoder with the head of a masked language model, and this network has none; "
            "train one (lmworks train bert-mini), or load one that has it"
        )
    ids = torch.tensor([*tokenizer.prefix, *tokens, *tokenizer.suffix], device=network.device)
    if len(ids) > network.config.context:
        raise DataError(f"the text has {len(ids):,} tokens and the model reads {network.config.context:,}; shorten it")
    mask, found = tokenizer.require_mask(), []
    with evaluating(network):
        for start in range(0, len(places), ROWS):
            own = torch.tensor(places[start : start + ROWS], device=network.device) + len(tokenizer.prefix)
            rows = torch.arange(len(own), device=network.device)
            masked = ids.repeat(len(own), 1)
            masked[rows, own] = mask
            logits = runner.logits(runner.hidden(masked)[rows, own])
            found += (logits[rows, ids[own]] - logits.logsumexp(dim=1)).tolist()
    return found
