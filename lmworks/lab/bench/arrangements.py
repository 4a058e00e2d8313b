"""The same pairs for a decoder alone and for an encoder alone: what claim 46 compares with an encoder-decoder.

decoder: it reads the source as a prefix, from both sides, and goes on with the target (Raffel et al. 2020, section 3.2.1)
encoder: it reads the source and a target with gaps, and fills them; from gaps alone, in a few rounds, it writes a target
    without an order (mask-predict, Ghazvininejad et al. 2019, https://arxiv.org/abs/1904.09324)

Sources: Liu et al. 2018 (https://arxiv.org/abs/1801.10198) for decoders that read what they translate.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lmworks.basics import progress
from lmworks.generation.prefill import padded as padded_left
from lmworks.jobs.training_recipe import TrainRecipe
from lmworks.lab.bench.byte_rows import fit
from lmworks.lab.bench.translators import CONTEXT, kept, prepared, text_of
from lmworks.language_model import LanguageModel
from lmworks.models.network import Network
from lmworks.models.precision import fast_dtype
from lmworks.objectives import Objective, PrefixLM
from lmworks.objectives.loss import Loss
from lmworks.objectives.token_objective import TokenObjective, require_arrangement
from lmworks.tokens.batch import IGNORE, Batch
from lmworks.tokens.pairs import KeptTexts, PairRows, padded, real
from lmworks.tokens.source import source_ids, target_start

AT_ONCE = 32
"""Sources that are translated together."""
LENGTHS = (-2, -1, 0, 1, 2)
"""An encoder tries targets of so many tokens more than the mean ratio gives, and keeps the one that it is surest of."""


def alone(
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
        smoothing = recipe.objective.label_smoothing
        objective: Objective
        assert isinstance(text.train, KeptTexts)
        if arrangement == "decoder":
            rows: PairRows = Continued(text.train, text.tokenizer, CONTEXT)
            objective = GivenPrefixLM(label_smoothing=smoothing)
        else:
            rows = Gapped(text.train, text.tokenizer, CONTEXT)
            objective = FilledTarget(label_smoothing=smoothing, mask=text.tokenizer.require_mask())
        fit(network.to(fast_dtype(network.device)), objective, rows, recipe.training)
        return LanguageModel(network, text.tokenizer)

    return kept(settings, make)


class Continued(PairRows):
    """A source, the token that opens a target, and the target, in one row; the source is a prefix that all of it sees."""

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
        """As it is, without gaps, which `FilledTarget` makes."""
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


class GivenPrefixLM(PrefixLM):
    """The loss behind prefixes that the rows themselves say."""

    def prepare(self, batch: Batch, seeds: Sequence[int]) -> Batch:
        """As it is."""
        return batch


@dataclass(eq=False, kw_only=True)
class FilledTarget(TokenObjective):
    """Cross-entropy of the tokens of a target that were taken out: of each target one to all, evenly drawn."""

    mask: int
    """The id of the mask token."""

    def __call__(self, network: Network, batch: Batch) -> Loss:
        """The loss of a batch that `prepare` made gaps in."""
        require_arrangement(network, self, "encoder", "fills gaps from both sides")
        hidden = network.hidden(batch.tokens, documents=batch.documents, segments=batch.segments)
        return Loss(self.token_loss(network, hidden, batch.labels), batch.supervised)

    def prepare(self, batch: Batch, seeds: Sequence[int]) -> Batch:
        """The batch with gaps, which alone keep their labels."""
        gaps = torch.zeros_like(batch.labels, dtype=torch.bool)
        for row, seed in enumerate(seeds):
            generator = np.random.default_rng(seed)
            places = np.flatnonzero(batch.labels[row].numpy() != IGNORE)
            gaps[row, generator.choice(places, 1 + int(generator.integers(len(places))), replace=False)] = True
        return replace(
            batch,
            tokens=batch.tokens.masked_fill(gaps, self.mask),
            labels=batch.labels.masked_fill(~gaps, IGNORE),
        )


def _by_length(sources: Sequence[list[int]]) -> Iterator[list[int]]:
    order = iter(sorted(range(len(sources)), key=lambda number: len(sources[number])))
    while places := list(islice(order, AT_ONCE)):
        yield places


@torch.inference_mode()
def continue_sources(model: LanguageModel, texts: Sequence[str]) -> list[str]:
    """What a decoder writes behind each source, token by token, the likeliest each time."""
    network, tokenizer = model.network, model.tokenizer
    sources = [source_ids(tokenizer, text)[:CONTEXT] for text in texts]
    start, end, written = target_start(tokenizer), tokenizer.document_end, [""] * len(texts)
    with progress.task("translating", len(texts), "texts") as advance:
        for places in _by_length(sources):
            tokens, mask = padded_left([[*sources[place], start] for place in places], network.device, left=True)
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
    """What an encoder makes of targets that are gaps alone, in so many rounds: each fills every gap, and all but the last
    open those again that it was least sure of. `ratio` is target tokens by source tokens."""
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
    """The tokens with that share of each target, the least sure, as gaps again."""
    counts = (share * target.sum(dim=1)).long()
    ranks = sure.masked_fill(~target, torch.inf).argsort(dim=1).argsort(dim=1)
    return tokens.masked_fill(target & (ranks < counts[:, None]), mask)
