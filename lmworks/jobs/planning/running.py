"""What runs a network on this machine, and how fast: to read a prompt, to write one text, to write several, to score.

A written token needs every weight once: it takes the time of reading them from memory, or that of the operations with
them, whichever is longer. Both are measured (`devices.py`, `timing.py`), all else is counted.
"""

from __future__ import annotations

from dataclasses import dataclass

from lmworks.jobs.planning.devices import Device
from lmworks.jobs.planning.flops import decoding_flops, forward_flops
from lmworks.jobs.planning.memory import Formats, cache_bytes, weight_bytes
from lmworks.jobs.planning.parameters import Parameters, count_parameters
from lmworks.jobs.planning.reading import PlannedRun
from lmworks.jobs.planning.timing import AT_ONCE, Rates
from lmworks.kernels.choice import foreseen
from lmworks.kernels.footprint import VOCABULARY_BITS, bytes_a_weight
from lmworks.kernels.quantisation import quantisation_of, quantisations
from lmworks.models.config import ModelConfig
from lmworks.objectives.declaration import FullRow

OVERLAP = 4
"""Windows of a text that is longer than the context overlap by one part of this many (generation/scoring.py)."""


PYTHON = 4e-4
"""Seconds of Python for each token that a server writes: chosen, decoded, handed over (SmolLM2 on one core, by its CPU
time: steps of eight texts took 13.9 ms, and 9.2 without)."""


@dataclass(frozen=True)
class ComputePath:
    """What will run a network, and what of memory it reads."""

    how: str
    bits: int | None
    """Of the compiled path's weights; None where PyTorch runs the network."""
    weights: float
    """Bytes of all weights."""
    read: float
    """Bytes of the weights that a written token needs."""
    cache: int
    """Bytes of the keys and values of a token."""


def path_of(subject: PlannedRun, dtype: str) -> ComputePath:
    """How a subject will run when it is loaded without more words: a model in few bits on the compiled path, what is
    trained anew in its own type in PyTorch."""
    config, parameters, held = subject.model, count_parameters(subject.model), subject.footprint
    formats = Formats.of(dtype)
    few = None if held is None else held.few_bits
    way = foreseen(config, few, parameters.base, held is not None and held.rounded)
    untied = 0 if config.tied else parameters.embedding
    if few is None or held is None or not way.compiled:
        weights = weight_bytes(parameters, formats)
        idle = (parameters.idle + untied) * formats.weights
        return ComputePath(way.how, None, weights, weights - idle, cache_bytes(config, formats.weights))
    bits = min(quantisations(), key=lambda one: abs(held.bytes(quantisation_of(one).name) - few))
    read = few - untied * bytes_a_weight(max(bits, VOCABULARY_BITS)) - parameters.idle * bytes_a_weight(bits)
    return ComputePath(way.how, bits, few, read, cache_bytes(config, None))


@dataclass(frozen=True)
class Running:
    """What a network does on this machine."""

    how: str
    """What runs it."""
    prompt: float
    """Seconds to read a prompt as long as the model reads."""
    generate: float
    """Tokens a second of one text; 0 for an encoder."""
    serve: float
    """Tokens a second of AT_ONCE texts that are written side by side, together."""
    evaluate: float
    """Tokens a second of a long text that is scored; 0 for what scores none."""


def running(config: ModelConfig, path: ComputePath, found: Rates, device: Device) -> Running:
    """Counted, with measured rates."""
    parameters, context = count_parameters(config), config.context
    if config.arrangement == "encoder":
        seconds = found.prompt(forward_flops(config, parameters, context, FullRow(context, 0, 0)))
        return Running(path.how, seconds, 0.0, 0.0, 0.0)
    if config.arrangement == "encoder-decoder":
        prompt = forward_flops(config, parameters, context, FullRow(1, context, 1))
    else:
        prompt = forward_flops(config, parameters, context, FullRow(context, 0, 1))
    one = token_seconds(config, path, parameters, found.token, device, 1)
    several = token_seconds(config, path, parameters, found.tokens, device, AT_ONCE) + AT_ONCE * PYTHON
    evaluate = 0.0
    if config.arrangement == "decoder":
        scored = forward_flops(config, parameters, context, FullRow(context, 0, context))
        evaluate = (context - context // OVERLAP) / found.scored(scored)
    return Running(path.how, found.prompt(prompt), 1 / one, AT_ONCE / several, evaluate)


def token_seconds(
    config: ModelConfig, path: ComputePath, parameters: Parameters, weight: float, device: Device, texts: int
) -> float:
    """Seconds of a step that writes a token of each of some texts, halfway through PREFILL tokens of theirs."""
    keys = min(config.context, 512) // 2 or 1
    operations = decoding_flops(config, parameters, keys).all / 2
    return max(operations * weight, (path.read + texts * keys * path.cache) / device.bandwidth)
