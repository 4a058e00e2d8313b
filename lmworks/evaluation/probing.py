"""What can be read off a model's states: after each layer the classes that a sparse probe tells, beside control labels.

for one in probe(model, labelled(read("sst2-dev").documents)): print(one.stage, one.right, one.selectivity)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from lmworks.basics.arguments import checked, two_texts
from lmworks.basics.errors import ConfigError
from lmworks.evaluation import statistics
from lmworks.evaluation.measurement import Measurement
from lmworks.evaluation.prompts.examples import Example, mixed
from lmworks.inside.probes import control_labels, sparse_probe, states
from lmworks.language_model import LanguageModel

LEARNT = 2 / 3
"""The share of the texts that a probe learns from; the others are told."""
DRAWS = 3
"""Control labels that are dealt."""
LEAST = 30
"""Texts, at least."""


@dataclass(frozen=True)
class Probed:
    """What a probe reads after a layer; layer 0 is the embedding."""

    layer: int
    units: tuple[int, ...]
    """The numbers of the state by which the probe tells, the most telling first."""
    right: Measurement
    """The share of unseen texts that are classified correctly."""
    control: Measurement
    """The same of control labels, the mean of several deals."""
    selectivity: Measurement
    """How much better the classes are told than control labels, text by text."""

    @property
    def measurements(self) -> list[Measurement]:
        """All three."""
        return [self.right, self.control, self.selectivity]


@checked
def probe(model: LanguageModel, pairs: Sequence[Example], *, units: int = 8, seed: int = 0) -> list[Probed]:
    """A probe of `units` numbers after each layer, learnt from two thirds of the texts and tried on the others; texts
    that are longer than the model reads are cut. ConfigError for fewer than 30 texts, and for units below 1."""
    must_be_probed(units, len(pairs))
    if not all(two_texts(one) for one in pairs):
        raise ConfigError("a probe learns from pairs of a text and the name of its class: [(text, class), ...]")
    drawn = mixed(pairs, seed)
    texts, names = [text for text, _ in drawn], sorted({label for _, label in drawn})
    ids = [model.tokenizer.encode(text, special=False)[: model.longest] for text in texts]
    stages = states(model.network, ids)
    labels = [names.index(label) for _, label in drawn]
    words = [(text.split() or [""])[0].lower() for text in texts]
    if 2 * Counter(words).most_common(1)[0][1] > len(words):
        words = texts  # where most begin alike, each has a label of its own
    deals = [control_labels(words, labels, at) for at in range(DRAWS)]
    return [_probed(layer, x, labels, deals, units, seed) for layer, x in enumerate(stages)]


def must_be_probed(units: int, texts: int) -> None:
    """ConfigError for a probe of no numbers, or one that learns from fewer than 30 texts."""
    if units < 1 or texts < LEAST:
        raise ConfigError(
            f"a probe of {units} numbers of a state and {texts} texts; give 1 or more, and {LEAST} texts or more"
        )


def _probed(layer: int, x: torch.Tensor, labels: list[int], deals: list[list[int]], units: int, seed: int) -> Probed:
    learnt, every = round(LEARNT * len(labels)), [torch.tensor(one) for one in (labels, *deals)]
    probes = [sparse_probe(x[:learnt], one[:learnt], units) for one in every]
    told = [fitted.tells(x[learnt:]) == one[learnt:] for fitted, one in zip(probes, every, strict=True)]
    right, control = told[0].double().tolist(), torch.stack(told[1:]).double().mean(dim=0).tolist()
    chances = [Counter(one[learnt:].tolist()).most_common(1)[0][1] / len(right) for one in every]
    stage = f"after layer {layer}" if layer else "of the embedding"

    def figure(name: str, estimate: statistics.Estimate, **more: Any) -> Measurement:
        value, interval = estimate
        named = f"{name} {stage}"
        return Measurement(name=named, value=value, interval=interval, n=len(right), seeds=(seed,), **more)

    of_control = statistics.mean(control, bounds=(0, 1))
    return Probed(
        layer,
        probes[0].units,
        figure("classes", statistics.proportion(sum(right), len(right)), unit="right", chance=chances[0], ideal=1.0),
        figure("control labels", of_control, unit="right", chance=sum(chances[1:]) / len(deals)),
        figure("selectivity", statistics.paired_difference(control, right), difference=True),
    )
