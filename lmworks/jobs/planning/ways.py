"""The ways to use a network that a plan sets side by side: from nothing, by each method there is, and serving.

A method is in it as soon as it declares itself (`lmworks.adaptation.methods`).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lmworks.adaptation.declaration import Chosen
from lmworks.adaptation.methods import METHODS
from lmworks.basics import progress
from lmworks.basics.errors import ConfigError
from lmworks.jobs.planning.adapting import method_flops, method_memory, what_is_trained
from lmworks.jobs.planning.devices import Devices
from lmworks.jobs.planning.flops import Flops, decoding_flops, forward_flops
from lmworks.jobs.planning.heap import in_a_process
from lmworks.jobs.planning.memory import (
    DeviceMemory,
    Formats,
    cache_bytes,
    serving_memory,
    training_memory,
    weight_bytes,
)
from lmworks.jobs.planning.parameters import count_parameters
from lmworks.jobs.planning.reading import PlannedRun
from lmworks.jobs.planning.running import ComputePath, Running
from lmworks.jobs.planning.timing import step_seconds
from lmworks.jobs.planning.workload import DOCUMENTS, row_of
from lmworks.jobs.training_recipe import TOKENS_A_PARAMETER
from lmworks.models.config import ModelConfig
from lmworks.objectives.declaration import FullRow
from lmworks.tokens.batch import TILE
from lmworks.training.by_hand.eight_bits import choose_products
from lmworks.training.settings import TrainingConfig

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Way:
    """One way to use the network."""

    name: str
    trained: int
    """Parameters that change."""
    memory: DeviceMemory
    """Of each device."""
    fits: bool | None
    """None where the device's memory is not known."""
    flops: Flops
    """Of a step; in serving, of reading a prompt of the full length."""
    seconds: float
    """The same in time."""
    tokens_per_second: float
    """Trained on by all devices; in serving, written in one answer at most, or read by an encoder."""
    timed: bool
    """Were a few blocks timed on this machine, or is a share of the device's speed assumed?"""
    run_tokens: int | None = None
    """Of the whole run; None where the recipe leaves it to the text."""
    run_seconds: float | None = None
    """Of the whole run."""
    checkpoint: float = 0.0
    """Bytes on disk of what is needed to go on with the run; while one is written, of two."""
    result: float = 0.0
    """Bytes of the weights that it writes at the end."""
    chosen: Chosen | None = None
    """The method; None where no model is adapted."""


def every_method(chosen: Chosen) -> list[Chosen]:
    """Each method there is, of each of its kinds, with the settings and the retention that were chosen."""
    found = []
    for method in (METHODS | {chosen.method.name: chosen.method}).values():
        settings = chosen.settings if method is chosen.method else method.settings()
        kinds = [replace(chosen, method=method, settings=settings.but(**kind)) for kind in method.kinds.values()]
        found += [*kinds, *([chosen] if method is chosen.method and chosen not in kinds else [])]
    return found


def name_of(chosen: Chosen) -> str:
    """A method, the kind of it, and what keeps old skills: `qlora, nf4`, `lora, kl`."""
    own = chosen.settings.model_dump()
    kinds = [word for word, kind in chosen.method.kinds.items() if word and all(own[key] == kind[key] for key in kind)]
    kept = chosen.retention.name if chosen.retention is not None and _keeps(chosen) else ""
    return ", ".join(part for part in (chosen.method.name, *kinds, kept) if part)


@dataclass(frozen=True)
class Training:
    """What all ways to train share."""

    subject: PlannedRun
    devices: Devices
    dtype: torch.dtype | None
    whole: TrainingConfig
    """Settings of the run."""
    each: TrainingConfig
    """Of one device's share of it."""

    @property
    def cuda(self) -> bool:
        """Is it another device than this machine?"""
        return self.devices.device.name != "cpu"

    @property
    def name(self) -> str:
        """Of the weights' type."""
        return str(self.dtype).removeprefix("torch.")

    @property
    def documents(self) -> int:
        """Of a row."""
        return DOCUMENTS if self.subject.own is None else self.subject.own.documents

    def methods(self) -> tuple[list[Way], tuple[str, ...]]:
        """Every method that fits, and a sentence about each that does not."""
        asked = self.subject.chosen
        if asked is None:
            return [], ()
        ways, left_out, every = [], [], every_method(asked)
        with progress.task("planning", len(every), "methods", stays=False) as advance:
            for chosen in every:
                advance(0, of=name_of(chosen))
                try:
                    ways.append(self.adapted(chosen))
                except ConfigError as error:
                    if chosen == asked:
                        raise
                    left_out.append(f"Left out is {name_of(chosen)}: {error}.")
                advance(1)
        return ways, tuple(left_out)

    def from_nothing(self) -> Way:
        """All weights, by the sum."""
        count = count_parameters(self.subject.model).base
        written = count * Formats.of(self.name).weights
        return self._way("from nothing", None, count, written, written)

    def adapted(self, chosen: Chosen) -> Way:
        """A method; ConfigError where it does not fit the network."""
        subject = self.subject
        trained = what_is_trained(subject.model, chosen, self.name, subject.training.context)
        return self._way(name_of(chosen), chosen, trained.count, trained.nbytes, trained.result)

    def less_fits(self, chosen: Chosen | None) -> bool:
        """Would a method, or None for training from nothing, fit with a row at once and blocks computed again?"""
        less = replace(self, each=self.each.but(rows=1, recompute=True))
        memory = less._memory(chosen)
        return bool(_fits(memory if self.cuda else in_a_process(memory), self.devices))

    def _memory(self, chosen: Chosen | None) -> DeviceMemory:
        """Of each device, by the sum."""
        subject = self.subject
        if chosen is None:
            return training_memory(
                subject.model,
                self.each,
                Formats.of(self.name),
                cuda=self.cuda,
                devices=self.devices.count,
                objective=subject.objective,
            )
        each = _with_products(self.each, subject.model, None if self.cuda else self.dtype, chosen)
        return method_memory(
            subject.model,
            each,
            self.name,
            chosen,
            cuda=self.cuda,
            devices=self.devices.count,
            objective=subject.objective,
            documents=self.documents,
        )

    def _way(self, name: str, chosen: Chosen | None, count: int, kept: float, result: float) -> Way:
        """Memory, work and time of a way to train; `kept` are the bytes of what is trained."""
        subject, training, devices, own = self.subject, self.whole, self.devices, self.subject.own
        settings = training.but(
            frozen_products=_with_products(
                training, subject.model, None if self.cuda else self.dtype, chosen
            ).frozen_products
        )
        timed = None
        if not self.cuda:
            timed = step_seconds(subject.model, settings, self.name, chosen, subject.objective, self.documents)
        memory = self._memory(chosen)
        checkpoint = kept + devices.count * sum(memory.sizes.get(part, 0.0) for part in ("optimiser", "master weights"))
        memory = memory if self.cuda else in_a_process(memory)
        sequences = training.rows * training.accumulate
        one = method_flops(subject.model, training, subject.objective, chosen)
        step = Flops(*(sequences * value for value in dataclasses.astuple(one)))
        # Fewer sequences than devices leave some of them idle.
        busy = min(devices.count, sequences)
        seconds = (step.all / (devices.device.flops * devices.device.utilisation) if timed is None else timed) / busy
        tokens = sequences * training.context
        if own is not None:  # rows that are not all as full as the fullest
            seconds *= own.width / (-(-own.longest // TILE) * TILE)
            tokens = round(own.tokens_a_step)
        run = own.steps * tokens if own is not None and own.steps is not None else None
        if run is None and training.steps is not None:
            run = training.steps * tokens
        if run is None and training.max_seconds is not None:
            run = round(training.max_seconds * tokens / seconds)
        if run is None and chosen is None and row_of(subject.objective, training.context).packed:
            run = TOKENS_A_PARAMETER * count_parameters(subject.model).base
        return Way(
            name,
            count,
            memory,
            _fits(memory, devices),
            step,
            seconds,
            tokens / seconds,
            timed is not None,
            run,
            None if run is None else run / tokens * seconds,
            checkpoint,
            result,
            chosen,
        )


def _with_products(
    training: TrainingConfig, config: ModelConfig, dtype: torch.dtype | None, chosen: Chosen | None
) -> TrainingConfig:
    """The settings of one way to train, with what is left to the processor decided; `dtype` None for a GPU."""
    if dtype is None or chosen is None or chosen.method.adapter is None:
        return training.but(frozen_products="exact")
    compares, few_bits = _keeps(chosen), chosen.method.few_bits
    return choose_products(training, config, dtype, adapter=True, compares=compares, few_bits=few_bits)


def _keeps(chosen: Chosen) -> bool:
    """Is there a retention, which may take memory of its own?"""
    return chosen.retention is not None and chosen.retention.name != "nothing"


def served(
    subject: PlannedRun, devices: Devices, formats: Formats, path: ComputePath | None, runs: Running | None
) -> Way:
    """One request over the model's whole context, on the path that will run it on this machine.

    What is not timed is as fast as the devices multiply, and never faster than they read weights and cache.
    """
    config, device = subject.model, devices.device
    parameters = count_parameters(config)
    cuda = device.name != "cpu"
    packed = path.weights if path is not None and path.bits is not None else None
    memory = serving_memory(config, formats, 1, config.context, cuda=cuda, devices=devices.count, packed=packed)
    memory = memory if cuda else in_a_process(memory)
    context, writes = config.context, config.arrangement != "encoder"
    if config.arrangement == "encoder-decoder":
        prompt = forward_flops(config, parameters, context, FullRow(1, context, 1))
    else:
        prompt = forward_flops(
            config, parameters, context, FullRow(context, 0, int(writes))
        )  # its last token alone is judged
    read = (
        weight_bytes(parameters, formats)
        - parameters.idle * formats.weights
        - (0 if config.tied else parameters.embedding * formats.weights)
    )
    read += config.context / 2 * cache_bytes(config, formats.weights)
    written = decoding_flops(config, parameters, config.context // 2 or 1).all
    token = max(read / device.bandwidth, written / device.flops) / devices.count
    seconds = prompt.all / (devices.count * device.flops * device.utilisation)
    if runs is not None:
        seconds, token = runs.prompt / devices.count, 1 / (runs.generate or 1) / devices.count
    if not writes:
        token = seconds / context
    return Way("serving", 0, memory, _fits(memory, devices), prompt, seconds, 1 / token, runs is not None)


def _fits(memory: DeviceMemory, devices: Devices) -> bool | None:
    return None if devices.device.memory is None else memory.peak <= devices.device.memory
