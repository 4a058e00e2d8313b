"""A plan: the ways to use a network, each with its memory, its work and its time on the devices asked for.

plan = make_plan(read_subject("quick"), find_device("8x H100"))
plan.asked.memory.peak, plan.asked.fits
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from lmworks.basics.errors import ConfigError
from lmworks.jobs.planning.devices import Devices
from lmworks.jobs.planning.memory import (
    Formats,
    added_up,
    cache_bytes,
)
from lmworks.jobs.planning.parameters import Parameters, count_parameters
from lmworks.jobs.planning.reading import PlannedRun
from lmworks.jobs.planning.running import Running, path_of, running
from lmworks.jobs.planning.timing import rates
from lmworks.jobs.planning.ways import Training, Way, served
from lmworks.jobs.planning.workload import row_of
from lmworks.models.config import ModelConfig
from lmworks.models.hearing.config import hears
from lmworks.models.precision import dtype_of, fast_dtype
from lmworks.models.vision.config import reads_images

ON_A_CPU = (
    "Memory is that of the process while it trains or reads, with the holes that glibc's heap had in measured runs: "
    "within a tenth of those. What comes before and after training is not counted: the text, a model's file while it "
    "is read, and in measuring and answering a packed copy of bfloat16 weights. "
)
ON_A_GPU = "Memory is that of tensors; the driver and what PyTorch's allocator keeps come on top. "
HOW = {
    "timed": "Times are those of a smaller network of the same shape just now, by operations and bytes; what else runs "
    "here counts.",
    "assumed": "Times are estimates, from the share of the device's speed that is expected.",
    "timed and assumed": "Times marked timed are those of a smaller network of the same shape just now, by operations "
    "and bytes; the others are estimates, from the share of the device's speed that is expected.",
}

EXPERTS = (
    "Operations are those of the experts that a token is sent to. Activations are estimated as those of a dense "
    "feed-forward that is as wide as they are together; how the experts share the tokens was not planned."
)


FULL_ROWS = (
    "Rows are planned as full, with as many tokens as training.context says on every side; shorter texts take less."
)
AS_ON_A_CPU = (
    "Activations are estimated: those that a CPU would keep, in values of this type, without what dropout keeps."
)


@dataclass(frozen=True)
class Plan:
    """What a subject needs on some devices."""

    subject: PlannedRun
    devices: Devices
    dtype: str
    rows: int
    """Rows at once on each device."""
    parameters: Parameters
    ways: list[Way]
    running: Running | None = None
    """How it will run on this machine; None for other devices, and where it could not be timed."""
    left_out: tuple[str, ...] = ()
    """Methods that do not fit the network, and why."""
    less_fits: bool = False
    """Does what the recipe does fit with a row at once and blocks computed again, where it does not as it is?"""

    @property
    def asked(self) -> Way:
        """What the recipe does: the way of its method, or training from nothing."""
        asked = self.subject.chosen
        alike = [way for way in self.ways if way.chosen is not None and asked is not None and way.chosen == asked]
        return alike[0] if alike else self.ways[0]

    @property
    def scoring_seconds(self) -> float | None:
        """What a tune takes to say what was gained and lost; None where it was not timed."""
        if self.subject.own is None or self.running is None or not self.running.evaluate:
            return None
        return self.subject.own.scored / self.running.evaluate

    @property
    def besides(self) -> list[str]:
        """What is to be known beside the figures."""
        timed = {way.timed for way in self.ways}
        how = HOW["timed and assumed" if len(timed) == 2 else "timed" if timed == {True} else "assumed"]
        notes = [EXPERTS] if self.subject.model.experts is not None else []
        if not row_of(self.subject.objective, self.subject.training.context).packed:
            notes.append(FULL_ROWS)
        if self.devices.device.name != "cpu" and not added_up(self.subject.model):
            notes.append(AS_ON_A_CPU)
        on = ON_A_CPU if self.devices.device.name == "cpu" else ON_A_GPU
        return [*self.subject.notes, *notes, *self.left_out, on + how]

    def to_json(self) -> dict[str, Any]:
        """The same facts as the tables."""
        device = self.devices.device
        return {
            "name": self.subject.name,
            "besides": " ".join(self.besides),
            "model": self.subject.model.model_dump(mode="json"),
            "dtype": self.dtype,
            "rows": self.rows,
            "context": self.subject.training.context,
            "device": {**dataclasses.asdict(device), "count": self.devices.count},
            "parameters": self.parameters.by_part(),
            "ways": [
                {
                    "name": way.name,
                    "trained": way.trained,
                    "peak_bytes": way.memory.peak,
                    "moment": way.memory.moment,
                    "fits": way.fits,
                    "bytes": way.memory.sizes,
                    "bytes_at_peak": way.memory.at_peak,
                    "flops": {**dataclasses.asdict(way.flops), "all": way.flops.all},
                    "seconds": way.seconds,
                    "tokens_per_second": way.tokens_per_second,
                    "timed": way.timed,
                    "run_tokens": way.run_tokens,
                    "run_seconds": way.run_seconds,
                    "checkpoint_bytes": way.checkpoint,
                    "result_bytes": way.result,
                }
                for way in self.ways
            ],
            "data": None if self.subject.own is None else dataclasses.asdict(self.subject.own),
            "scoring_seconds": self.scoring_seconds,
            "running": None if self.running is None else dataclasses.asdict(self.running),
            "cache_bytes_per_token": cache_bytes(self.subject.model, 4 if self.dtype == "float32" else 2),
        }


def make_plan(subject: PlannedRun, devices: Devices) -> Plan:
    """Plan training from nothing, every method there is, and serving; of a text of one's own, the methods alone.

    Several devices share each step: its micro-batches first, then the rows of one; weights, gradients and moments are
    divided among them. ConfigError for a network that is not counted, and where the recipe's own method does not fit
    it; any other method that does not is left out.
    """
    _must_be_known(subject)
    cuda, own = devices.device.name != "cpu", subject.own
    dtype = dtype_of(subject.dtype) or fast_dtype() if not cuda else dtype_of(subject.dtype or "bfloat16")
    name = str(dtype).removeprefix("torch.")
    try:
        parameters = count_parameters(subject.model, subject.lora)
    except ConfigError as error:
        raise error.inside(("lora",)) from None
    training = subject.training
    if own is not None:  # the fullest rows that there are
        training = training.but(context=own.longest, rows=min(training.rows, own.rows))
    rows = min(training.rows, math.ceil(training.rows * training.accumulate / devices.count))
    each = training.but(rows=rows, accumulate=math.ceil(training.accumulate * training.rows / (rows * devices.count)))
    ways_to_train = Training(subject, devices, dtype, training, each)
    path = None if cuda else path_of(subject, name)
    found = None if path is None else rates(subject.model, name, path.bits)
    runs = None if path is None or found is None else running(subject.model, path, found, devices.device)
    methods, left_out = ways_to_train.methods()
    ways = sorted(methods, key=lambda way: way.memory.peak, reverse=True)
    if own is None:
        ways = [ways_to_train.from_nothing(), *ways, served(subject, devices, Formats.of(name), path, runs)]
    plan = Plan(subject, devices, name, rows, parameters, ways, runs, left_out)
    asked = plan.asked
    less_fits = asked.fits is False and ways_to_train.less_fits(asked.chosen)
    return dataclasses.replace(plan, less_fits=less_fits)


def _must_be_known(subject: PlannedRun) -> None:
    """ConfigError for a network that is not counted."""
    config = subject.model
    if reads_images(config) or hears(config):
        what = "images" if reads_images(config) else "sound"
        raise ConfigError(f"{subject.name} reads {what}, and plans count networks that read text")
    if not isinstance(config, ModelConfig):
        raise ConfigError(
            f"{subject.name} is a recurrent network, and plans count transformers; train it for a few steps to see "
            "what it takes (lmworks train ... --set training.steps=5)"
        )
    if config.experts is not None and not added_up(config):
        raise ConfigError(
            f"{subject.name} has experts in {config.arrangement} blocks that plans do not count: experts are counted "
            "in decoders of pre-norm blocks, one part after the other; leave out model.experts to see the dense network"
        )
