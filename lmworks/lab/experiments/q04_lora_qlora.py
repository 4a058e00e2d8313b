"""Question 4: LoRA trains little in little memory, QLoRA in less. Do they learn as well, and what does 70B take?

Memory is the planner's, for large models, and that of real processes beside it, for one that a CPU tunes: these tell
the time of a step, too. Learning is that of a small network that reads a second text after a first: with all weights,
with LoRA, and with LoRA beside NF4.
"""

from __future__ import annotations

from collections.abc import Mapping

from lmworks.adaptation.declaration import Chosen
from lmworks.adaptation.lora_config import LoRAConfig
from lmworks.adaptation.methods import METHODS
from lmworks.adaptation.methods.qlora import QLoRAConfig
from lmworks.jobs.planning.memory import Formats, training_memory
from lmworks.jobs.planning.parameters import count_parameters
from lmworks.jobs.planning.published import LLAMA_2_70B, LLAMA_7B, LLAMA_65B, ONE_OF_512, QLORA
from lmworks.lab.bench.second_texts import FULL, NEW, TwoTexts, lora
from lmworks.lab.bench.small_network import named
from lmworks.lab.bench.tuning_steps import in_turn, planned_megabytes
from lmworks.lab.contrast import Condition
from lmworks.lab.experiment import experiment
from lmworks.lab.metric import Metric
from lmworks.lab.parts import Part, Requirement
from lmworks.lab.pictures import Bars
from lmworks.lab.run import Run
from lmworks.lab.scale import Several, scaled
from lmworks.models.config import ModelConfig

BEFORE, ALL, LORA, IN_FOUR_BITS = Condition.named("before the second text", "all weights", "LoRA", "QLoRA")
LARGE, LARGER = "Llama 65B", "Llama 2 70B"
SHARE = Metric("share of the parameters of Llama 7B that are trained")
PEAK = Metric("memory of a step, 1 x 512 tokens", "GB")
PROCESS = Metric("most memory of a process that tunes SmolLM2, 1 x 512 tokens", "MB")
TIME = Metric("processor time of its step", "s")
PLAN = "as planned"
TENTH = (0.9, 1.1)


@experiment(
    4,
    claim="LoRA adds low-rank matrices to a model's layers, for efficient adaptation with minimal memory overhead; "
    "QLoRA applies quantization (4-bit precision) to reduce memory further, and can fine-tune a 70B-parameter model "
    "on a single GPU.",
    parts=(
        Part("LoRA trains less than a hundredth of a large model's parameters", SHARE, LORA, below=0.01),
        Part("it takes less than half of the memory that all weights take", PEAK, LORA / ALL, below=0.5),
        Part("the model adapts", NEW, LORA - BEFORE, below=-0.1),
        Part("QLoRA takes less than half of LoRA's memory", PEAK, IN_FOUR_BITS / LORA, below=0.5),
        Part("a model of 70B fits into one GPU of 80 GB", PEAK, IN_FOUR_BITS[LARGER], below=80),
        Part("measured: a process takes less memory with LoRA than with all weights", PROCESS, LORA / ALL, below=1),
        Part("measured: it takes less with QLoRA than with LoRA", PROCESS, IN_FOUR_BITS / LORA, below=1),
    ),
    also=(
        Part("QLoRA learns as much as LoRA", NEW, IN_FOUR_BITS - LORA, below=0.02),
        Part("LoRA learns as much as all weights", NEW, LORA - ALL, below=0.05),
        Part("a model of 65B fits into 48 GB, as its authors say", PEAK, IN_FOUR_BITS[LARGE], below=48),
        *(
            Part(
                f"with {way} the process takes what was planned, within a tenth",
                PROCESS,
                way / way[PLAN],
                between=TENTH,
            )
            for way in (ALL, LORA, IN_FOUR_BITS)
        ),
        Part("a step of LoRA takes less time than one of all weights", TIME, LORA / ALL, below=1),
        Part("a step of QLoRA takes longer than one of LoRA", TIME, IN_FOUR_BITS / LORA, above=1),
    ),
    requires=(Requirement("the second text is learnt", NEW, ALL - BEFORE, below=-0.1),),
    headlines={
        "yyyyyyy": "LoRA of rank 8 trains a three-hundredth of a 7B's parameters; of rank 64 it takes a tenth of the "
        "memory, QLoRA a thirtieth: a 70B fits into one GPU."
    },
    picture=Bars(
        PEAK,
        of=(ALL, LORA, IN_FOUR_BITS),
        title="Memory of a step as planned, at rank 64, of Llama 7B unless another is named",
    ),
    not_true_when="the rank is large: the share grows with it, and that of rank 64 is above a hundredth; memory is "
    "that of the activations, which neither makes smaller: with long rows they are most of it",
    not_tested="a step of 70B itself: its memory is planned, by sums that stand beside real runs at 135 M",
    note="The share of parameters is that of rank 8 on every matrix of the blocks. Memory: rank 64, 1 x 512 tokens, "
    "blocks computed again, AdamW; LoRA in bfloat16; QLoRA as published, with NF4, double quantisation and moments of "
    "8 bits (Dettmers et al. 2023, https://arxiv.org/abs/2305.14314). What is learnt is judged on a byte-level network "
    "of two layers, at rank 8, whose 4-bit weights cost more than a large model's. Measured are SmolLM2 (135 M) and "
    "rank 8, in the type that is fast on the processor, by processes of their own that take turns round by round, so "
    "that what else the machine does falls on all alike: the most memory from the first step on, Python and PyTorch "
    "included, and processor time, the median of three steps. Intervals of both are over rounds of one machine.",
    first_seed=200,
    minutes=15,
)
def lora_and_qlora(
    run: Run,
    old: str = "tinyshakespeare",
    new: str = "multi30k-validation-de",
    dim: Several = scaled(64, 128),
    steps: Several = scaled(150, 800),
    later: Several = scaled(60, 200),
    windows: Several = scaled(60, 200),
    rank: int = 8,
    model: str = "smollm2",
    rounds: Several = scaled(2, 3),
) -> None:
    """Memory of large models as planned, that and the time of a real one's steps, and a second text learnt by a small
    network."""
    quantised = Chosen(METHODS["qlora"], QLoRAConfig(rank=rank, alpha=2 * rank))
    ways = {ALL: FULL, LORA: lora(rank), IN_FOUR_BITS: quantised}
    for fixed in run.once():
        _log_memory(run, fixed)
        _log_processes(run, fixed, model, ways, rounds)
    texts = TwoTexts.read(old, new, windows)
    for seed in run.seeds:
        base = texts.first_learnt(steps, dim, seed)
        second = texts.second(base, later, seed)
        for condition, network in ({BEFORE: base} | {way: second.tuned(by) for way, by in ways.items()}).items():
            bits = texts.scores(network).new
            run.log(seed, condition, {NEW: bits}, items=named(bits))


def _log_memory(run: Run, fixed: None) -> None:
    adapters = LoRAConfig(rank=64)
    counted = count_parameters(LLAMA_7B, LoRAConfig(rank=8))
    run.log(fixed, LORA, {SHARE: counted.adapters / counted.base})
    run.log(fixed, ALL, {PEAK: _gigabytes(LLAMA_7B, Formats.of("bfloat16"))})
    run.log(fixed, LORA, {PEAK: _gigabytes(LLAMA_7B, Formats.of("bfloat16", adapters=True), adapters)})
    run.log(fixed, IN_FOUR_BITS, {PEAK: _gigabytes(LLAMA_7B, QLORA, adapters)})
    for name, config in ((LARGE, LLAMA_65B), (LARGER, LLAMA_2_70B)):
        run.log(fixed, IN_FOUR_BITS[name], {PEAK: _gigabytes(config, QLORA, adapters)})


def _log_processes(run: Run, fixed: None, model: str, ways: Mapping[Condition, Chosen], rounds: int) -> None:
    """Most memory and the time of a step, round by round, and the plan beside."""
    found = in_turn(model, {way.name: chosen for way, chosen in ways.items()}, rounds)
    for way, chosen in ways.items():
        steps = found[way.name]
        run.log(fixed, way, {PROCESS: steps.peaks, TIME: steps.seconds}, items=named(steps.peaks, "round"))
        run.log(fixed, way[PLAN], {PROCESS: planned_megabytes(model, chosen)})


def _gigabytes(config: ModelConfig, formats: Formats, adapters: LoRAConfig | None = None) -> float:
    return training_memory(config, ONE_OF_512, formats, lora=adapters, cuda=True).peak / 1e9
