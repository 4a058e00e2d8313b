"""What belongs into a gap: an encoder's guesses for each mask of a text, from what stands on both sides.

(guesses,) = lm.load("models/bert").fill("Paris is the [MASK] of France.")
print(guesses[0].text, guesses[0].probability)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lmworks.basics.errors import ConfigError, DataError
from lmworks.models.network import evaluating
from lmworks.models.runner import Runner
from lmworks.tokens.tokenizer import Tokenizer


@dataclass(frozen=True)
class Filled:
    """A token for a gap."""

    text: str
    """Its text; ##part where it goes on a word (WordPiece)."""
    token: int
    probability: float
    """Among all tokens of the vocabulary."""


@torch.inference_mode()
def fill(runner: Runner, tokenizer: Tokenizer, text: str, top: int = 5) -> list[list[Filled]]:
    """The `top` likeliest tokens of each mask in a text, the likeliest first.

    ConfigError for a network or tokenizer without what it takes; DataError for a text without a mask, or one that is
    too long.
    """
    network = runner.network
    if network.config.arrangement != "encoder" or network.head_transform is None:
        raise ConfigError(
            "gaps are filled by an encoder with the head of a masked language model, and this network has none; train "
            "one (lmworks train bert-mini), or load one that has it"
        )
    if not 1 <= top <= network.config.vocab_size:
        raise ConfigError(
            f"top is {top}; give a number from 1 to {network.config.vocab_size:,}, the size of the vocabulary"
        )
    ids = masked_ids(tokenizer, text)
    if len(ids) > network.config.context:
        raise DataError(f"the text has {len(ids):,} tokens and the model reads {network.config.context:,}; shorten it")
    gaps = [place for place, token in enumerate(ids) if token == tokenizer.mask]
    with evaluating(network):
        hidden = runner.hidden(torch.tensor([ids], device=network.device))[0, gaps]
        likeliest = runner.logits(hidden).softmax(-1).topk(top)
    return [
        [Filled(tokenizer.decode([token]).strip(), token, probability) for token, probability in zip(*gap, strict=True)]
        for gap in zip(likeliest.indices.tolist(), likeliest.values.tolist(), strict=True)
    ]


def masked_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """The ids of a text in which the mask token's text stands for the mask; other special tokens' texts stay text."""
    mask = tokenizer.require_mask()
    written = tokenizer.special[mask]
    first, *others = text.split(written)
    if not others:
        raise DataError(f"the text has no {written}; write it where a token is to be found")
    if tokenizer.keeps_space:  # the token that is looked for brings its space
        first, *others = [part.removesuffix(" ") for part in (first, *others[:-1])] + others[-1:]
    ids = [*tokenizer.prefix, *tokenizer.encode(first, special=False)]
    for part in others:
        ids.append(mask)
        ids += tokenizer.encode(part, special=False, continues=tokenizer.goes_on_after(ids))
    return [*ids, *tokenizer.suffix]
