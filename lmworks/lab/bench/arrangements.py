"""The same pairs for a decoder alone and for an encoder alone, which claim 46 compares with an encoder-decoder.

    decoder   reads the source as a prefix, from both sides, and continues with the target
              (Raffel et al. 2020, section 3.2.1)
    encoder   reads the source and a target with gaps, and fills them; starting from gaps alone it writes a target
              in a few rounds and in any order
              (mask-predict, Ghazvininejad et al. 2019, https://arxiv.org/abs/1904.09324)

Source for decoders that read what they translate: Liu et al. 2018, https://arxiv.org/abs/1801.10198.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import torch
from torch import Tensor

from lmworks.basics import progress
from lmworks.basics.arrays import Float, Int
from lmworks.generation.prefill import padded as padded_left
from lmworks.generation.states import tensors
from lmworks.jobs.training_recipe import TrainRecipe
from lmworks.lab.bench.training import fit
from lmworks.lab.bench.translators import CONTEXT, kept, prepared, text_of
from lmworks.language_model import LanguageModel
from lmworks.models.network import Network
from lmworks.models.precision import fast_dtype
from lmworks.objectives import ConditionalMaskedLM, Objective, PrefixLM
from lmworks.text.sources import read
from lmworks.tokens.batch import IGNORE, Batch
from lmworks.tokens.pairs import KeptTexts, PairRows, padded, real
from lmworks.tokens.source import source_ids, target_start
from lmworks.tokens.tokenizer import Tokenizer

AT_ONCE = 32
"""Sources that are translated together."""
LENGTHS = (-2, -1, 0, 1, 2)
"""An encoder tries targets that are this many tokens longer than the mean ratio gives, and keeps the most probable."""


def single_stack(
    arrangement: Literal["decoder", "encoder"], recipe: TrainRecipe, pairs: int, layers: int, hidden_dim: int
) -> LanguageModel:
    """The block of a recipe's encoder-decoder as one stack, trained on the same pairs as often, and kept."""
    shape: dict[str, Any] = {"arrangement": arrangement, "layers": layers, "hidden_dim": hidden_dim}
    settings = {"recipe": recipe.model_dump(mode="json"), "text": text_of(recipe, pairs), **shape}

    def make() -> LanguageModel:
        with tempfile.TemporaryDirectory() as folder:  # what is in it is read at once
            text = prepared(recipe, pairs, Path(folder))
        reads = {"context": 2 * CONTEXT, "segments": 2 if arrangement == "encoder" else 0}
        config = recipe.network(text.tokenizer.vocab_size).but(**shape, **reads)
        network = Network(config).initialise(recipe.training.seed, recipe.initialisation)
        smoothing = recipe.objective.model_dump()["label_smoothing"]
        objective: Objective
        assert isinstance(text.train, KeptTexts)
        if arrangement == "decoder":
            rows: PairRows = Continued(text.train, text.tokenizer, CONTEXT)
            objective = PrefixLM(label_smoothing=smoothing)
        else:
            rows = Gapped(text.train, text.tokenizer, CONTEXT)
            objective = ConditionalMaskedLM(label_smoothing=smoothing, mask=text.tokenizer.require_mask())
        fit(network.to(fast_dtype(network.device)), objective, rows, recipe.training)
        return LanguageModel(network, text.tokenizer)

    return kept(settings, make)


class Continued(PairRows):
    """A source, the token that opens a target, and the target, in one row; all tokens see the source, a prefix."""

    def batch(self, places: Sequence[int]) -> Batch:
        """Labels on the target and its end alone."""
        pairs = [self.pairs[place] for place in places]
        rows = [[*source, self.start, *target] for source, target in pairs]
        labels = [[*[IGNORE] * len(source), *target, *self.ends] for source, target in pairs]
        tokens = padded(rows)
        before = torch.tensor([len(source) for source, _ in pairs])
        return Batch(
            tokens,
            padded(labels, IGNORE),
            torch.arange(tokens.shape[1]).expand_as(tokens),
            torch.where(real(rows), 0, -1),
            prefix=torch.arange(tokens.shape[1]) < before[:, None],
        )


class Gapped(PairRows):
    """A source and its target in one row, two segments; the target's tokens are their own labels."""

    def batch(self, places: Sequence[int]) -> Batch:
        """The rows without gaps; `ConditionalMaskedLM` makes them."""
        pairs = [self.pairs[place] for place in places]
        rows = [[*source, *target] for source, target in pairs]
        labels = [[*[IGNORE] * len(source), *target] for source, target in pairs]
        tokens = padded(rows)
        return Batch(
            tokens,
            padded(labels, IGNORE),
            torch.arange(tokens.shape[1]).expand_as(tokens),
            torch.where(real(rows), 0, -1),
            segments=padded([[*[0] * len(source), *[1] * len(target)] for source, target in pairs]),
        )


def _by_length(sources: Sequence[list[int]]) -> Iterator[list[int]]:
    order = iter(sorted(range(len(sources)), key=lambda number: len(sources[number])))
    while places := list(islice(order, AT_ONCE)):
        yield places


@torch.inference_mode()
def continue_sources(model: LanguageModel, texts: Sequence[str]) -> list[str]:
    """What a decoder writes after each source, the likeliest token each time."""
    network, tokenizer = model.network, model.tokenizer
    sources = [source_ids(tokenizer, text)[:CONTEXT] for text in texts]
    start, end, written = target_start(tokenizer), tokenizer.document_end, [""] * len(texts)
    with progress.task("translating", len(texts), "texts") as advance:
        for places in _by_length(sources):
            rows = padded_left([[*sources[place], start] for place in places], left=True)
            tokens, mask = tensors(model.runner, *rows)
            prefix = torch.ones_like(tokens, dtype=torch.bool) if mask is None else mask.clone()
            prefix[:, -1] = False
            cache = network.new_cache(len(places), tokens.shape[1] + CONTEXT)
            logits = network.logits(network.hidden(tokens, mask, cache=cache, prefix=prefix)[:, -1])
            steps: list[Tensor] = []
            done = torch.zeros(len(places), dtype=torch.bool)
            while len(steps) < CONTEXT - 2 and not done.all():
                steps.append(logits.argmax(dim=-1))
                done |= steps[-1] == end
                logits = network(steps[-1][:, None], cache=cache)[:, -1]
            for place, ids in zip(places, torch.stack(steps, dim=1).tolist(), strict=True):
                written[place] = tokenizer.decode(ids[: ids.index(end)] if end in ids else ids)
            advance(len(places))
    return written


@torch.inference_mode()
def fill_targets(model: LanguageModel, texts: Sequence[str], ratio: float, rounds: int) -> list[str]:
    """What an encoder makes of targets that are all gaps, in `rounds` rounds: each fills every gap, and all but the
    last open the least probable ones again. `ratio` is target tokens by source tokens."""
    sources, written = [source_ids(model.tokenizer, text)[:CONTEXT] for text in texts], [""] * len(texts)
    with progress.task("filling", len(texts), "texts") as advance:
        for places in _by_length(sources):
            wanted = [(place, round(ratio * len(sources[place])) + more) for place in places for more in LENGTHS]
            sizes = [min(max(size, 1), CONTEXT) for _, size in wanted]
            filled, sure = _filled(model, [sources[place] for place, _ in wanted], sizes, rounds)
            for number, place in enumerate(places):
                here = range(number * len(LENGTHS), (number + 1) * len(LENGTHS))
                written[place] = model.tokenizer.decode(filled[max(here, key=sure.__getitem__)])
            advance(len(places))
    return written


def mean_ratio(tokenizer: Tokenizer, pairs: int) -> float:
    """Tokens of targets by tokens of sources, their end included, in the first pairs of the training text."""
    texts = [document.pair for document in read("multi30k-en-de").documents[: min(pairs, 2000)]]
    sizes = [sum(map(len, tokenizer.encode_batch(side, special=False))) for side in zip(*texts, strict=True)]
    return sizes[1] / (sizes[0] + len(texts))


def _filled(
    model: LanguageModel, sources: Sequence[list[int]], sizes: Sequence[int], rounds: int
) -> tuple[list[list[int]], list[float]]:
    """The tokens of each target, and the mean of their log-probabilities."""
    mask = model.tokenizer.require_mask()
    rows = [[*source, *[mask] * size] for source, size in zip(sources, sizes, strict=True)]
    segments = padded([[0] * len(source) + [1] * size for source, size in zip(sources, sizes, strict=True)])
    tokens, documents = padded(rows), torch.where(real(rows), 0, -1)
    target = segments == 1
    sure = torch.zeros(tokens.shape)
    for left in range(rounds, 0, -1):
        logits = model.network.logits(model.network.hidden(tokens, documents=documents, segments=segments))
        logits[..., mask] = -torch.inf
        best = logits.log_softmax(-1).max(-1)
        gaps = target & (tokens == mask)
        tokens, sure = torch.where(gaps, best.indices, tokens), torch.where(gaps, best.values, sure)
        if left > 1:
            tokens = _reopened(tokens, sure, target, (left - 1) / rounds, mask)
    found = [row[here].tolist() for row, here in zip(tokens, target, strict=True)]
    return found, [fmean(row[here].tolist()) for row, here in zip(sure, target, strict=True)]


def _reopened(
    tokens: Int[Tensor, "rows seq"], sure: Float[Tensor, "rows seq"], target: Tensor, share: float, mask: int
) -> Int[Tensor, "rows seq"]:
    """The tokens with that share of each target, the least probable, as gaps again."""
    counts = (share * target.sum(dim=1)).long()
    ranks = sure.masked_fill(~target, torch.inf).argsort(dim=1).argsort(dim=1)
    return tokens.masked_fill(target & (ranks < counts[:, None]), mask)
