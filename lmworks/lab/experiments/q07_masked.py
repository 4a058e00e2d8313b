"""Question 7: masked language modelling, which reads a gap from both sides, and what it teaches for other tasks.

One network is trained three times on the same questions, steps and batches: to restore masked tokens from both sides, to restore
the same tokens from the left alone, and to predict each next token. Each is asked for tokens of held-out questions. Then a
classifier of what is asked for learns from a few labels: on frozen features of each, and on the whole network, tuned.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from lmworks.evaluation.measurement import Measurement
from lmworks.lab.bench.byte_rows import fit
from lmworks.lab.bench.encoders import CONTEXT, Prose, labelled, pretraining, probed, prose, small_network, tuned
from lmworks.lab.chart import Chart, Series
from lmworks.lab.finding import Check, Observation, Rule
from lmworks.lab.registry import Count, experiment, scaled
from lmworks.lab.seeds import difference, measured
from lmworks.models.network import Network
from lmworks.objectives import CausalLM, MaskedLM, Objective
from lmworks.tokens.batch import IGNORE, Batch
from lmworks.tokens.sentence_pairs import Passages
from lmworks.training.settings import TrainingConfig

NONE, MASKED, LEFT, NEXT = "no pretraining", "masked, both sides", "masked, left side", "next token"
GAP = "nats at a gap"
CUT = "both sides, the right one cut off"
RATE, TUNING_RATES = 0.02, (1e-3, 3e-3)
FROZEN, TUNED = "accuracy, frozen", "accuracy, tuned"


@experiment(
    question=7,
    claim="Masked language modeling hides random tokens and trains the model to predict them from surrounding context; it "
    "fosters bidirectional understanding, allowing the model to grasp complex semantic relationships.",
    rule=Rule(
        holds_if=(
            Check(f"{GAP}, {MASKED} minus {LEFT}", "<", 0),
            Check(f"{FROZEN}, {MASKED} minus {NONE}", ">", 0),
        ),
        only_if=(
            (
                Check(f"{GAP}, {MASKED} minus {NEXT}", "<", 0),
                "both networks have made as many predictions: at equal steps one that predicts every next token fills a gap as well",
            ),
            (
                Check(f"{TUNED}, {MASKED} minus {NONE}", ">", 0),
                "features stay frozen: tuned on the labels, a fresh network does as well",
            ),
            (
                Check(f"{FROZEN}, {MASKED} minus {NEXT}", ">", 0),
                "understanding is not credited to both sides: features of a network that reads to the left do as well",
            ),
        ),
    ),
)
def masked(
    text: str = "trec-train",
    held_out: str | None = "trec-test",
    steps: Count = scaled(250, 1000),
    rows: Count = scaled(32, 64),
    share: float = 0.3,
    labels: Count = 200,
    tuning_steps: Count = scaled(30, 60),
    gaps: Count = scaled(300, 500),
    seeds: Count = scaled(3, 5),
    first_seed: int = 10,
) -> Observation:
    """Loss at gaps by what is seen of the text; accuracy of classifiers by what the network learnt before."""
    questions = prose(text, held_out)
    asked = gaps_of(questions, gaps)
    nats: dict[str, dict[int, float]] = {name: {} for name in (MASKED, LEFT, NEXT, CUT)}
    right: dict[str, dict[int, float]] = {name: {} for name in (MASKED, LEFT, NEXT)}
    accuracy: dict[str, dict[str, dict[int, float]]] = {
        FROZEN: {name: {} for name in (NONE, MASKED, LEFT, NEXT)},
        TUNED: {name: {} for name in (NONE, MASKED)},
    }
    for seed in range(first_seed, first_seed + seeds):
        data = labelled(questions, labels, seed)
        for name in (NONE, MASKED, LEFT, NEXT):
            config = pretraining(steps, rows, RATE, seed)
            network = pretrained(questions, name, share, config)
            accuracy[FROZEN][name][seed] = probed(network, questions.tokenizer, data)
            if name in accuracy[TUNED]:
                accuracy[TUNED][name][seed] = tuned(
                    network, questions.tokenizer, data, seed, tuning_steps, TUNING_RATES
                )
            if name != NONE:
                nats[name][seed], right[name][seed] = at_gaps(network, asked, name == NEXT)
            if name == MASKED:
                nats[CUT][seed], _ = at_gaps(network, [one.cut() for one in asked], False)
    chance = data.chance
    measurements = [
        *(
            measured(f"{GAP}, {name}", by_seed, "nats", chance=math.log(questions.tokenizer.vocab_size), ideal=0.0)
            for name, by_seed in nats.items()
        ),
        *(difference(f"{GAP}, {MASKED} minus {name}", nats[MASKED], nats[name], "nats") for name in (LEFT, NEXT, CUT)),
        *(measured(f"right at a gap, {name}", by_seed, chance=0.0, ideal=1.0) for name, by_seed in right.items()),
        *(
            measured(f"{way}, {name}", by_seed, chance=chance, ideal=1.0)
            for way, by_name in accuracy.items()
            for name, by_seed in by_name.items()
        ),
        *(
            difference(f"{way}, {MASKED} minus {name}", by_name[MASKED], by_seed)
            for way, by_name in accuracy.items()
            for name, by_seed in by_name.items()
            if name != MASKED
        ),
    ]
    return Observation(measurements=tuple(measurements), chart=_chart(measurements), note=NOTE)


NOTE = (
    "A gap is one token of a held-out passage with at least three tokens on each side. All networks have the same blocks, "
    "steps and batches; one that predicts the next token learns from every token, a masked one from the share that is "
    "masked. The share here is twice BERT's, which learns faster in a short run (Wettig et al. 2022, "
    "https://arxiv.org/abs/2202.08005). Masked, left side: the same loss and masks, in a network whose tokens see only those "
    "before them. Pretraining reads the questions of TREC without their classes (what is asked for: a place, a number, ...); "
    "those judged are its test set. The mean over the last states is what a frozen network gives to logistic regression. "
    "These networks are a thousand times smaller than BERT and have read a million tokens or less."
)


@dataclass(frozen=True)
class Gap:
    """A passage with one token hidden."""

    tokens: list[int]
    """With the mask in its place."""
    at: int
    token: int
    end: int
    """The token that ends a text."""

    def cut(self) -> Gap:
        """The same without what follows the gap."""
        return replace(self, tokens=[*self.tokens[: self.at + 1], self.end])


def gaps_of(text: Prose, count: int) -> list[Gap]:
    """One token of each of the first held-out passages, drawn by the passage's number."""
    rows, tokenizer = Passages(text.held_out, text.tokenizer, CONTEXT), text.tokenizer
    found: list[Gap] = []
    for place in range(len(rows)):
        batch = rows.batch([place])
        ids = batch.tokens[0][batch.documents[0] >= 0].tolist()
        inner = [at for at in range(3, len(ids) - 3) if ids[at] not in tokenizer.special]
        if inner and len(found) < count:
            at = inner[(7919 * place) % len(inner)]
            found.append(Gap([*ids[:at], tokenizer.require_mask(), *ids[at + 1 :]], at, ids[at], ids[-1]))
    return found


@torch.inference_mode()
def at_gaps(network: Network, gaps: Sequence[Gap], next_token: bool) -> tuple[float, float]:
    """The mean of -log p of the hidden tokens, and the share that is the likeliest one. A network that predicts the next
    token is asked in front of the gap."""
    nats, right = 0.0, 0
    for gap in gaps:
        states = network.hidden(torch.tensor([gap.tokens]))[:, gap.at - next_token]
        logits = network.logits(states)[0].log_softmax(-1)
        nats -= float(logits[gap.token])
        right += int(logits.argmax()) == gap.token
    return nats / len(gaps), right / len(gaps)


class FromTheLeft(CausalLM):
    """Masked tokens restored by a network that sees the left side alone: the labels are the tokens in their place."""

    def __init__(self, masked: MaskedLM) -> None:
        super().__init__()
        self.masked = masked

    def prepare(self, batch: Batch, seeds: Sequence[int]) -> Batch:
        """As the masked objective does."""
        return self.masked.prepare(batch, seeds)


class EachNext(CausalLM):
    """The next token of passages that come without labels."""

    def prepare(self, batch: Batch, seeds: Sequence[int]) -> Batch:
        """Each token's label is the one behind it."""
        labels = torch.full_like(batch.tokens, IGNORE)
        goes_on = batch.documents[:, 1:] >= 0
        labels[:, :-1] = torch.where(goes_on, batch.tokens[:, 1:], IGNORE)
        return replace(batch, labels=labels)


def pretrained(text: Prose, name: str, share: float, config: TrainingConfig) -> Network:
    """A network that was trained in one of the ways, or in none."""
    network = small_network(text.tokenizer, config.seed, "encoder" if name in (NONE, MASKED) else "decoder")
    if name == NONE:
        return network.eval()
    masked = MaskedLM.of(text.tokenizer, share=share)
    objectives: dict[str, Objective] = {MASKED: masked, LEFT: FromTheLeft(masked), NEXT: EachNext()}
    fit(network, objectives[name], Passages(text.train, text.tokenizer, CONTEXT), config)
    return network


def _chart(measurements: Sequence[Measurement]) -> Chart:
    """Accuracy on frozen features and tuned, by what the network learnt before."""
    names = (NONE, MASKED, LEFT, NEXT)
    found = {one.name: one for one in measurements}
    series = []
    for way in (FROZEN, TUNED):
        bars = [(float(at), found[f"{way}, {name}"]) for at, name in enumerate(names) if f"{way}, {name}" in found]
        ends = [one.interval or (one.value, one.value) for _, one in bars]
        series.append(
            Series(
                name=way,
                x=tuple(at for at, _ in bars),
                y=tuple(one.value for _, one in bars),
                low=tuple(low for low, _ in ends),
                high=tuple(high for _, high in ends),
            )
        )
    return Chart(
        kind="bars",
        title="What a question asks for, told from few labels, by what the network learnt before",
        x_label="learnt before",
        y_label="accuracy",
        categories=names,
        series=tuple(series),
    )
