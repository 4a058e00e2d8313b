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

import numpy as np

from lmworks.basics import progress
from lmworks.basics.arrays import Float, Int
from lmworks.generation.chooser import Chooser
from lmworks.generation.image_spans import ImageSpans, SpanGuide
from lmworks.generation.prefill import padded
from lmworks.generation.strategies import Strategy
from lmworks.models.runner import Runner


def draw(
    runner: Runner,
    prompts: Sequence[Sequence[int]],
    blank: Sequence[int],
    spans: ImageSpans,
    strategy: Strategy,
    seeds: Sequence[int],
    guidance: float,
) -> Int[np.ndarray, "images places"]:
    """The codes of an image for each prompt, which ends with the mark that opens one, as does the `blank` one without a
    caption. Each image has the seed of its own."""
    count, vocabulary = len(prompts), runner.config.vocab_size
    rows = [*prompts, *([blank] * count if guidance != 1 else [])]
    tokens, mask = padded([list(row) for row in rows], left=True)
    choosers = [Chooser(strategy, seed, guide=SpanGuide(spans, vocabulary, written=0)) for seed in seeds]
    written = list[np.ndarray]()
    with runner.evaluating(), progress.task("drawing", spans.places, "tokens", stays=False) as advance:
        cache = runner.new_cache(len(tokens), tokens.shape[1] + spans.places)
        for _ in range(spans.places):
            led = guided(runner.next_logits(tokens, cache, mask), count, guidance)
            written.append(np.array([one.choose(row) for one, row in zip(choosers, led, strict=True)]))
            tokens, mask = np.tile(written[-1][:, None], (len(tokens) // count, 1)), None
            advance(1)
    return np.stack(written, axis=1) - spans.first


def guided(logits: Float[np.ndarray, "rows vocab"], count: int, guidance: float) -> Float[np.ndarray, "images vocab"]:
    """The logits to choose from: the first `count` rows have captions, and those after them, if any, none."""
    with_captions, without = logits[:count], logits[count:]
    return with_captions if not len(without) else without + guidance * (with_captions - without)
