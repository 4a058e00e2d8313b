"""Question 35: adapters train few parameters. Does the model adapt, and does it forget less than when all are trained?

A small network learns a second text after a first, with all weights or with LoRA, for as many steps, each at the rate
that it is known to want. Both texts are judged before and after; at equal gain, too, as who learns less forgets less.
"""

from __future__ import annotations

import torch

from lmworks.adaptation.declaration import Setup
from lmworks.jobs.planning.published import LLAMA_7B
from lmworks.lab.bench.second_texts import FULL, NEW, OLD, TwoTexts, beside_the_way_back, log, lora
from lmworks.lab.contrast import Condition
from lmworks.lab.experiment import experiment
from lmworks.lab.metric import Metric
from lmworks.lab.parts import Part, Requirement
from lmworks.lab.pictures import Bars
from lmworks.lab.run import Run
from lmworks.lab.scale import Several, scaled
from lmworks.models.network import Network
from lmworks.objectives import CausalLM
from lmworks.training.optimiser import trainable

BEFORE, ALL, ADAPTERS, BACK = Condition.named(
    "before the second text", "all weights trained", "LoRA", "all weights, half of the way back"
)
BESIDE = Metric("forgotten less than by all weights, part of the way back, at equal gain", "bits/byte", margin=0.02)
SHARE = Metric("share of parameters that are trained")
FORGETS = (Requirement("with all weights something is forgotten", OLD, ALL - BEFORE, above=0.02),)


@experiment(
    35,
    claim="Parameter-efficient fine-tuning updates only a small subset of parameters (as LoRA does) while freezing the "
    "rest; the model adapts to new tasks without losing core pretrained knowledge.",
    parts=(
        Part("LoRA trains a small share of a large model's parameters", SHARE, ADAPTERS, below=0.05),
        Part("the model adapts", NEW, ADAPTERS - BEFORE, below=-0.1),
        Part("without losing what it knew", OLD, ADAPTERS - BEFORE, below=0.02),
        Part("it forgets less than with all weights trained", OLD, ADAPTERS - ALL, below=0, needs=FORGETS),
    ),
    also=(
        Part("it adapts as well as with all weights", NEW, ADAPTERS - ALL, below=0.05),
        Part(
            "it forgets less than all weights at equal gain",
            *(BESIDE, ADAPTERS),
            above=0,
            needs=FORGETS,
            otherwise="it forgets less because it learns less: going part of the way back does the same",
        ),
    ),
    headlines={
        "yyny": "LoRA trains a small share and learns the new text; the first text it forgets nearly as much "
        "as full training does."
    },
    picture=Bars((OLD, NEW), of=(BEFORE, ALL, ADAPTERS, BACK), title="Both texts after the second was learnt"),
    not_true_when="freezing is taken for keeping: frozen weights stay, but what the network says is the sum of them "
    "and the adapters",
    not_tested="large models on tasks (`lmworks forget` and every `lmworks tune` measure both texts of yours)",
    note="A byte-level network of two layers; LoRA of one rank on every matrix. The rate of LoRA is ten times that of "
    "all weights (Schulman et al. 2025, LoRA Without Regret, https://thinkingmachines.ai/blog/lora). The share of "
    "parameters is that of rank 8 on Llama 7B: a small network's is larger. LoRA learns less and forgets less: "
    "Biderman et al. 2024, https://arxiv.org/abs/2405.09673.",
    minutes=15,
)
def few_parameters(
    run: Run,
    old: str = "tinyshakespeare",
    new: str = "multi30k-validation-de",
    dim: Several = scaled(48, 96),
    steps: Several = scaled(150, 800),
    later: Several = scaled(60, 200),
    windows: Several = scaled(60, 200),
    rank: int = 8,
) -> None:
    """Both texts before and after, with all weights and with adapters."""
    texts = TwoTexts.read(old, new, windows)
    for fixed in run.once():
        run.log(fixed, ADAPTERS, {SHARE: trained_share()})
    for seed in run.seeds:
        base = texts.first_learnt(steps, dim, seed)
        second = texts.second(base, later, seed)
        back = texts.back(base, second.tuned(FULL))
        found = {
            BEFORE: texts.scores(base),
            ALL: back[-1],
            ADAPTERS: texts.scores(second.tuned(lora(rank))),
            BACK: back[len(back) // 2],
        }
        log(run, seed, found)
        run.log(seed, ADAPTERS, {BESIDE: beside_the_way_back(found[BEFORE], found[ADAPTERS], back)})


def trained_share() -> float:
    """Of the parameters of Llama 7B, those that LoRA of rank 8 trains; nothing is loaded."""
    with torch.device("meta"):
        network = Network(LLAMA_7B)
    every = sum(one.numel() for one in network.parameters())
    setup = lora(8).prepare(Setup(network, CausalLM(), []))
    return sum(one.numel() for one in trainable(setup.network).values()) / every
