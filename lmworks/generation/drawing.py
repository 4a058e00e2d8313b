"""Images written token by token, led by classifier-free guidance: what a caption makes likelier than no caption does is
made likelier still.

    codes = draw(runner, [ids], blank, spans, Sample(), seeds=[1], guidance=3.0)     # [1, 64]

Each step reads two rows for an image, one that begins with its caption and one without; the logits to choose from are
those without + guidance x the difference (1 for the caption alone, 0 for none).

Source: Ho and Salimans 2022, https://arxiv.org/abs/2207.12598; for tokens Gafni et al. 2022 (Make-A-Scene),
https://arxiv.org/abs/2203.13131, section 3.4.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lmworks.basics import progress
from lmworks.generation.chooser import Chooser
from lmworks.generation.image_spans import ImageSpans, SpanGuide
from lmworks.generation.strategies import Strategy
from lmworks.models.network import evaluating
from lmworks.models.runner import Runner


@torch.inference_mode()
def draw(
    runner: Runner,
    prompts: Sequence[Sequence[int]],
    blank: Sequence[int],
    spans: ImageSpans,
    strategy: Strategy,
    seeds: Sequence[int],
    guidance: float,
) -> Int[Tensor, "images places"]:
    """The codes of an image for each prompt, which ends with the mark that opens one, as does the `blank` one without a
    caption. Each image has the seed of its own."""
    count, vocabulary = len(prompts), runner.network.config.vocab_size
    tokens, mask = _padded([*prompts, *([blank] * count if guidance != 1 else [])])
    cache = runner.new_cache(len(tokens), tokens.shape[1] + spans.places)
    choosers = [Chooser(strategy, seed, guide=SpanGuide(spans, vocabulary, written=0)) for seed in seeds]
    written = list[Tensor]()
    with evaluating(runner.network), progress.task("drawing", spans.places, "tokens", stays=False) as advance:
        for _ in range(spans.places):
            led = guided(runner.next_logits(tokens, cache, mask).float().cpu(), count, guidance)
            written.append(torch.tensor([one.choose(row) for one, row in zip(choosers, led, strict=True)]))
            tokens, mask = written[-1][:, None].repeat(len(tokens) // count, 1), None
            advance(1)
    return torch.stack(written, dim=1) - spans.first


def guided(logits: Float[Tensor, "rows vocab"], count: int, guidance: float) -> Float[Tensor, "images vocab"]:
    """The logits to choose from: the first `count` rows have captions, and those after them, if any, none."""
    with_captions, without = logits[:count], logits[count:]
    return with_captions if not len(without) else without + guidance * (with_captions - without)


def _padded(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor | None]:
    """Rows of one width, padded on the left; no mask where nothing is."""
    longest = max(map(len, rows))
    tokens = torch.tensor([[0] * (longest - len(row)) + list(row) for row in rows])
    if all(len(row) == longest for row in rows):
        return tokens, None
    return tokens, torch.tensor([[False] * (longest - len(row)) + [True] * len(row) for row in rows])
