"""Question 12: top-k keeps a fixed number of candidates, top-p a number that adapts.

First how many tokens each filter keeps, by how uncertain the model is at that step of a real text. Then
both at the threshold where they leave the same entropy on average: is what they write different?
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lmworks.basics import progress
from lmworks.basics.errors import DataError
from lmworks.evaluation.statistics import spearman
from lmworks.evaluation.text_statistics import distinct_n, self_bleu
from lmworks.generation.distribution import renormalise
from lmworks.generation.filters.min_p import MIN_P
from lmworks.generation.filters.top_k import TOP_K
from lmworks.generation.filters.top_p import TOP_P
from lmworks.generation.strategies import Sample
from lmworks.lab.bench.continuations import Continuation, excerpts, gap, mean_repeated, sampled, spread
from lmworks.lab.chart import Chart, Series
from lmworks.lab.registry import experiment
from lmworks.lab.rule import Check, Observation, Rule
from lmworks.lab.scale import Count, Several, scaled
from lmworks.lab.seeds import difference, measured
from lmworks.language_model import LanguageModel
from lmworks.text.document import Document
from lmworks.text.sources import read

Filter = Callable[[Float[Tensor, " vocab"]], Float[Tensor, " vocab"]]

RANK = "rank correlation of the tokens that top-p keeps with the step's entropy"
RATIO = {
    kind: f"tokens kept in the least certain tenth of steps by the most certain, {kind}"
    for kind in ("top-k", "top-p", "min-p")
}
LOOKS = {
    "surprise under the model itself": "bits/token",
    "distinct pairs of tokens": "",
    "self-BLEU": "",
    "repeated runs of four": "",
    "distance to human text": "deviations",
}
MINUS = "top-p minus top-k at equal entropy"


@experiment(
    question=12,
    claim="Top-k selects from the k most probable tokens, for controlled diversity; top-p chooses tokens "
    "whose cumulative probability exceeds p (0.95) and adapts to the distribution.",
    rule=Rule(
        holds_if=(
            Check(RANK, ">", 0.5),
            Check(RATIO["top-p"], ">", 2),
            Check(RATIO["top-k"], "<", 1.1),
            Check(RATIO["top-k"], ">", 0.9),
        ),
    ),
)
def candidates(
    model: str = "smollm2",
    text: str = "wikitext2",
    steps: Several = scaled(400, 20_000),
    top_k: Count = 40,
    top_p: float = 0.95,
    min_p: float = 0.05,
    prompts: Several = scaled(16, 40),
    prompt_tokens: Several = 32,
    length: Several = scaled(48, 64),
    seeds: Count = scaled(3, 5),
) -> Observation:
    """Tokens that each filter keeps by the step's entropy; what both write at equal entropy."""
    filters: dict[str, Filter] = {
        "top-k": lambda p: TOP_K.applied(p, top_k=top_k),
        "top-p": lambda p: TOP_P.applied(p, top_p=top_p),
        "min-p": lambda p: MIN_P.applied(p, min_p=min_p),
    }
    writer, documents = LanguageModel.load(model), read(text).documents
    ranks: dict[int, float] = {}
    ratios: dict[str, dict[int, float]] = {kind: {} for kind in filters}
    for seed in range(seeds):
        seen = _kept(writer, documents, filters, max(steps // seeds, 10), seed)
        ranks[seed] = spearman(seen.entropy, seen.kept["top-p"]).value
        for kind in filters:
            ratios[kind][seed] = seen.ratio(kind)
    measurements = [measured(RANK, ranks, chance=0.0, ideal=1.0)]
    measurements += [measured(RATIO[kind], by_seed) for kind, by_seed in ratios.items()]
    matched = _matching_p(writer, documents, top_k, min(steps, 200))
    looks: dict[str, dict[str, dict[int, float]]] = {kind: {name: {} for name in LOOKS} for kind in ("top-k", "top-p")}
    ways = {"top-k": Sample(top_k=top_k), "top-p": Sample(top_p=matched)}
    drawn = [excerpts(writer, documents, prompts, seed, prompt_tokens, length) for seed in range(seeds)]
    rod = spread([excerpt.human for texts in drawn for excerpt in texts])
    for seed, texts in enumerate(drawn):
        for kind, strategy in ways.items():
            with progress.task(f"sampling, {kind}, seed {seed}", 1, "batches") as advance:
                ours = sampled(writer, texts, strategy, seed, length)
                advance(1)
            for name, value in _look(ours, [excerpt.human for excerpt in texts], rod).items():
                looks[kind][name][seed] = value
    for name, unit in LOOKS.items():
        measurements += [measured(f"{name}, {kind}", looks[kind][name], unit) for kind in ways]
        measurements.append(difference(f"{name}, {MINUS}", looks["top-p"][name], looks["top-k"][name], unit))
    return Observation(
        measurements=tuple(measurements),
        chart=_chart(seen),
        note=f"{NOTE} Top-k {top_k} leaves the same mean entropy as top-p {matched:.3f}.",
    )


NOTE = (
    "That top-p adapts is a matter of its definition; that it writes better is another claim, which the "
    "lines at equal entropy test. A tie there means that this run saw no difference. Top-p keeps the "
    "fewest tokens that reach p, the one that crosses it included (Holtzman et al. 2019, "
    "https://arxiv.org/abs/1904.09751, section 3.1)."
)


@dataclass(frozen=True)
class Kept:
    """Steps of a text: how uncertain the model was, and how many tokens each filter left."""

    entropy: list[float]
    """Bits."""
    kept: dict[str, list[float]]

    def ratio(self, kind: str) -> float:
        """Mean tokens kept in the least certain tenth of the steps, by those in the most certain tenth."""
        tenth = max(len(self.entropy) // 10, 1)
        order = np.argsort(self.entropy)
        kept = np.asarray(self.kept[kind])[order]
        return float(kept[-tenth:].mean() / kept[:tenth].mean())


def _chart(seen: Kept, most: int = 400) -> Chart:
    entropy = tuple(seen.entropy[:most])
    return Chart(
        kind="scatter",
        title="Tokens kept by the entropy of the step",
        x_label="entropy of the step, bits",
        y_label="tokens kept",
        log_y=True,
        series=tuple(Series(name=kind, x=entropy, y=tuple(kept[:most])) for kind, kept in seen.kept.items()),
    )


def _kept(
    model: LanguageModel,
    documents: Sequence[Document],
    filters: dict[str, Filter],
    steps: int,
    seed: int,
) -> Kept:
    seen = Kept([], {kind: [] for kind in filters})
    with progress.task(f"filtering, seed {seed}", steps, "steps") as advance:
        for p in _distributions(model, documents, steps, seed):
            seen.entropy.append(_entropy(p))
            for kind, keep in filters.items():
                seen.kept[kind].append(float(keep(p).count_nonzero()))
            advance(1)
    return seen


@torch.inference_mode()
def _distributions(model: LanguageModel, documents: Sequence[Document], steps: int, seed: int) -> list[Tensor]:
    """The next-token distributions at random steps of the documents, their first 512 tokens each."""
    generator = torch.Generator().manual_seed(seed)
    rows: list[Tensor] = []
    for at in torch.randperm(len(documents), generator=generator).tolist():
        ids = model.tokenizer.encode(documents[at].text[:5000], special=False)[:512]
        if len(ids) < 2:
            continue
        hidden = model.runner.hidden(torch.tensor([ids]))[0]
        # Some steps of many documents say more than all steps of a few, but each document takes time to read.
        share = max(steps // 10, 40)
        places = torch.randperm(len(ids), generator=generator)[: min(share, steps - len(rows))]
        rows += model.runner.logits(hidden[places]).softmax(dim=-1).unbind()
        if len(rows) == steps:
            return rows
    raise DataError(
        f"the text has {len(rows):,} steps, and {steps:,} are asked for; give a longer text, or fewer steps"
    )


def _entropy(p: Float[Tensor, " vocab"]) -> float:
    return float(torch.special.entr(p).sum()) / 0.6931471805599453


def _matching_p(model: LanguageModel, documents: Sequence[Document], top_k: int, steps: int = 200) -> float:
    """The p that leaves the mean entropy that top-k leaves, by halving, on steps of a seed of its own."""
    rows = list(_distributions(model, documents, steps, seed=10_000))
    wanted = np.mean([_entropy(renormalise(TOP_K.applied(p, top_k=top_k))) for p in rows])
    low, high = 0.0, 1.0
    for _ in range(12):
        middle = (low + high) / 2
        left = np.mean([_entropy(renormalise(TOP_P.applied(p, top_p=middle))) for p in rows])
        low, high = (middle, high) if left < wanted else (low, middle)
    return (low + high) / 2


def _look(texts: Sequence[Continuation], human: Sequence[Continuation], rod: Mapping[str, float]) -> dict[str, float]:
    tokens = [one.tokens for one in texts]
    values = (
        float(np.mean([one.surprise for one in texts])),
        distinct_n(tokens, 2),
        self_bleu(tokens),
        mean_repeated(texts),
        gap(texts, human, rod),
    )
    return dict(zip(LOOKS, values, strict=True))
