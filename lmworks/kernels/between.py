"""What a training step computes between its products, for PyTorch's tensors: each in one pass over them. Matrices that
are made anew from 4 bits for each product (NF4) are among it.

    kernels = kernels_for(states)       # None: PyTorch has to do it
    kernels.norm(x, weight, eps)

Compiled at the first use on a machine and kept (run/library.py). They are one thread's: PyTorch shares its passes out
among its threads, and with many of these it is the faster one.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from lmworks.basics.arrays import Float, UInt8
from lmworks.basics.errors import LmworksError
from lmworks.kernels.coverage import unavailable

FORMS = ("float32", "bfloat16")
LANES = 16
"""Numbers of a vector: rows are whole vectors."""
THREADS = 4
"""The most threads of PyTorch beside which one thread of these is faster."""


def kernels_for(states: Float[Tensor, "rows width"]) -> Kernels | None:
    """The kernels for numbers like these, which lie side by side; None where there are none, or not worth a call."""
    if type(states) not in (Tensor, FakeTensor) or states.device.type != "cpu" or torch.compiler.is_compiling():
        return None
    if not covers(states.shape[-1], states.numel()):
        return None
    if type(states) is FakeTensor:  # a plan's, which has a shape and no values
        return Kernels(None) if unavailable() is None else None
    with _making:
        return _kernels(str(states.dtype).removeprefix("torch."))


def covers(width: int, numbers: int) -> bool:
    """Are so many numbers in rows of this width worth a call, where there are kernels for their form?"""
    return width % LANES == 0 and numbers >= FEWEST and torch.get_num_threads() <= THREADS


def planned(width: int, numbers: int) -> bool:
    """Will these numbers, as float32 or bfloat16, be computed by kernels on this machine?"""
    return covers(width, numbers) and unavailable() is None


FEWEST = 1 << 16
"""Numbers below which PyTorch does it: small networks are not worth the seconds that compiling takes once."""
_making = threading.Lock()
"""Two threads with rows of their own ask at the same time."""


@functools.cache
def _kernels(form: str) -> Kernels | None:
    if form not in FORMS or unavailable() is not None:
        return None
    from lmworks.kernels.run.library import functions_of

    try:
        return Kernels(functions_of(f"between_{form}"))
    except LmworksError:  # nothing can be compiled here: PyTorch runs the step, as without numba
        return None


class Kernels:
    """Of one form of numbers. All tensors lie side by side; what is made is new unless said."""

    def __init__(self, functions: dict[str, Callable[..., Any]] | None) -> None:
        self._functions = functions
        """None where nothing is computed: a plan follows what comes and goes."""

    @property
    def compute(self) -> bool:
        """Do they fill what they make? Those of a plan make it and leave it at that."""
        return self._functions is not None

    def _run(self, name: str, tensors: tuple[Tensor, ...], *numbers: float) -> None:
        if self._functions is not None:
            self._functions[name](*[one.data_ptr() for one in tensors], *numbers)

    def norm(
        self, x: Float[Tensor, "rows width"], weight: Float[Tensor, " width"], eps: float
    ) -> Float[Tensor, "rows width"]:
        """x / sqrt(mean(x^2) + eps) * weight."""
        made = torch.empty_like(x)
        self._run("norm", _whole(x, weight, made), *x.shape, eps)
        return made

    def norm_back(
        self,
        gradient: Float[Tensor, "rows width"],
        x: Float[Tensor, "rows width"],
        weight: Float[Tensor, " width"],
        stream: Float[Tensor, "rows width"],
        eps: float,
    ) -> Float[Tensor, "rows width"]:
        """The gradient of x, added to what came to it beside the norm."""
        made = torch.empty_like(x)
        self._run("norm_back", _whole(gradient, x, weight, stream, made), *x.shape, eps)
        return made

    def gate(self, inner: Float[Tensor, "rows gate_and_up"]) -> Float[Tensor, "rows width"]:
        """silu(gate) * up."""
        made = inner.new_empty(len(inner), inner.shape[1] // 2)
        self._run("gate", _whole(inner, made), *made.shape)
        return made

    def gate_back(
        self, gradient: Float[Tensor, "rows width"], inner: Float[Tensor, "rows gate_and_up"]
    ) -> Float[Tensor, "rows gate_and_up"]:
        """The gradient of gate and up."""
        made = torch.empty_like(inner)
        self._run("gate_back", _whole(gradient, inner, made), *gradient.shape)
        return made

    def turn(
        self,
        flat: Float[Tensor, "batch seq heads_dim"],
        apart: Float[Tensor, "tiles batch heads tile head_dim"],
        by: tuple[Tensor, Tensor],
        scale: float,
        back: bool = False,
    ) -> None:
        """Fills `apart` with the heads of `flat`, scaled and their halves rotated against each other by cosine and
        sine [batch, 1, seq, half_dim]; or with `back` fills `flat` with those of `apart`, rotated the other way. `flat`
        may be columns of wider rows."""
        _, batch, heads, tile, width = apart.shape
        cos, sin = by
        table = 0 if len(cos) == 1 else cos.shape[2] * cos.shape[3]
        shape = batch, flat.shape[1], heads, tile, width, flat.stride(1), table, back
        self._run("turn", (flat, *_whole(apart, cos, sin)), *shape, scale)

    def softmax(self, logits: Float[Tensor, "rows vocab"]) -> Float[Tensor, "rows one"]:
        """Puts the probabilities in the place of the logits; the log of the sum of e^logit, in float32."""
        log_sums = torch.empty(len(logits), 1)
        self._run("softmax", _whole(logits, log_sums), *logits.shape)
        return log_sums

    def nf4(
        self,
        made: Float[Tensor, "rows columns"],
        codes: UInt8[Tensor, " bytes"],
        sizes: UInt8[Tensor, " blocks"],
        scales: Float[Tensor, " groups"],
        mean: float,
        levels: Float[Tensor, " 256"],
    ) -> None:
        """Fills `made` with what the codes of NF4 stand for, two a byte, in blocks of 64. The size of a block is a code
        of `levels`, times the scale of its group of 256 blocks, plus the mean."""
        self._run("nf4", _whole(made, codes, sizes, scales, levels), len(sizes), mean)


def _whole(*tensors: Tensor) -> tuple[Tensor, ...]:
    assert all(one.is_contiguous() for one in tensors)
    return tensors
