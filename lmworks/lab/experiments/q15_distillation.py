"""Question 15: a student learns from its teacher's probabilities. Does that beat the text alone, and how near is it?

A small network and a smaller one over bytes of the same text. The student takes as many steps over the same windows
with and without its teacher, which is asked while it trains.
"""

from __future__ import annotations

import torch

from lmworks.lab.bench.costs import operations
from lmworks.lab.bench.small_network import (
    byte_text,
    frequency_bits,
    named,
    random_windows,
    small_network,
    train,
    window_bits,
)
from lmworks.lab.bench.training import fit
from lmworks.lab.contrast import Condition
from lmworks.lab.experiment import experiment
from lmworks.lab.metric import Metric
from lmworks.lab.parts import Part, Requirement
from lmworks.lab.pictures import Bars
from lmworks.lab.run import Run
from lmworks.lab.scale import Several, scaled
from lmworks.models.network import Network
from lmworks.objectives.distillation import Distillation
from lmworks.objectives.predicting import predictions_by
from lmworks.training.settings import TrainingConfig

TEACHER, TEXT, SOFT, SOFTER = Condition.named(
    "teacher",
    "student, the text alone",
    "student, half by its teacher",
    "student, half by its teacher at temperature 2",
)
FREQUENCIES = Condition("byte frequencies")
STUDENT = Condition("student")
BITS = Metric("held-out text", "bits/byte", margin=0.02, chance=8, ideal=0)
KEPT = Metric("share of the teacher's gain over byte frequencies", ideal=1)
SIZE = Metric("parameters beside the teacher's")
COMPUTE = Metric("operations a byte beside the teacher's")
CONTEXT = 64


@experiment(
    15,
    claim="Model distillation trains a smaller student model to mimic a larger teacher's outputs using soft "
    "probabilities; this reduces memory and compute requirements while retaining near-teacher performance.",
    parts=(
        Part("the student is less than half as large", SIZE, STUDENT, below=0.5),
        Part("it computes less than half as much", COMPUTE, STUDENT, below=0.5),
        Part("soft probabilities teach it more than the text alone, in as many steps", BITS, SOFT - TEXT, below=0),
        Part("it keeps nine tenths of what its teacher gains over byte frequencies", KEPT, SOFT, above=0.9),
    ),
    also=(
        Part("so does a student that has the text alone", KEPT, TEXT, above=0.9),
        Part("a temperature of 2 teaches more than one of 1", BITS, SOFTER - SOFT, below=0),
    ),
    requires=(
        Requirement("the teacher is better than the student without it", BITS, TEACHER - TEXT, below=-0.05),
        Requirement("the teacher beats byte frequencies", BITS, TEACHER - FREQUENCIES, below=-0.5),
    ),
    headlines={
        "yyyy": "A student a sixth as large keeps 98 % of what its teacher gains; alone with the text it keeps 95 %."
    },
    picture=Bars(BITS, of=(TEACHER, TEXT, SOFT, SOFTER), title="Held-out text, by who taught"),
    not_true_when="the text is endless and steps are cheap: then the text alone teaches it as much as it can hold",
    not_tested="students cut out of their teachers, and large models (`lmworks distill` and docs/distilling.md)",
    note="Half the loss is the text's and half KL to the teacher, at temperature 1 unless said otherwise (Hinton et "
    "al. 2015, https://arxiv.org/abs/1503.02531). Steps are counted and not seconds: asking the teacher costs a "
    "forward pass of it in each. Memory is counted as parameters, time as multiplications of one forward.",
    minutes=20,
)
def distillation(
    run: Run,
    text: str = "tinyshakespeare",
    dim: Several = scaled(64, 160),
    narrow: Several = scaled(32, 64),
    steps: Several = scaled(250, 1_500),
    taught: Several = scaled(250, 1_500),
    windows: Several = scaled(100, 300),
) -> None:
    """A teacher and its students of a seed, judged by the same windows."""
    data = byte_text(text)
    for fixed in run.once():
        large, small = (small_network(0, dim=width, context=CONTEXT) for width in (dim, narrow))
        counts = [sum(weight.numel() for weight in one.parameters()) for one in (large, small)]
        spent = [_operations(one) for one in (large, small)]
        run.log(fixed, STUDENT, {SIZE: counts[1] / counts[0], COMPUTE: spent[1] / spent[0]})
        run.log(fixed, FREQUENCIES, {BITS: frequency_bits(data)})
    floor = frequency_bits(data)
    for seed in run.seeds:
        first = TrainingConfig(context=CONTEXT, steps=steps, rows=16, learning_rate=3e-3, seed=seed)
        teacher = train(small_network(seed, dim=dim, context=CONTEXT), data.train, first)
        teacher.requires_grad_(False)
        judged = {TEACHER: window_bits(teacher, data.held_out, windows)}
        for condition, share, temperature in ((TEXT, 0.0, 1.0), (SOFT, 0.5, 1.0), (SOFTER, 0.5, 2.0)):
            student = small_network(seed + 1, dim=narrow, context=CONTEXT)
            config = first.but(steps=taught)
            objective = Distillation(predictions_by(teacher), share=share, temperature=temperature)
            fit(student, objective, random_windows(data.train, CONTEXT, config), config)
            judged[condition] = window_bits(student, data.held_out, windows)
        gain = floor - _mean(judged[TEACHER])
        for condition, bits in judged.items():
            run.log(seed, condition, {BITS: bits}, items=named(bits))
            run.log(seed, condition, {KEPT: (floor - _mean(bits)) / gain})


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _operations(network: Network) -> int:
    tokens = torch.zeros(1, CONTEXT, dtype=torch.long)
    with torch.no_grad():
        return operations(lambda: network(tokens))
