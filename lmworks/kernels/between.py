"""What a training step computes between its matrix products, on PyTorch's tensors and each in a single pass: norms,
gates, rotary positions, the softmax, and unpacking NF4 matrices.

    kernels = kernels_for(states)       # None: leave it to PyTorch
    kernels.norm(x, weight, eps)

They are compiled on first use and kept on disk (run/library.py). Each runs in one thread, while PyTorch splits its
passes among all of its threads: with more than a few of those, PyTorch is faster.
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
"""Numbers in a vector; the width of a row is a multiple of it."""
THREADS = 4
"""Up to this many PyTorch threads, one thread of these kernels is faster."""


def kernels_for(states: Float[Tensor, "rows width"]) -> Kernels | None:
    """The kernels for contiguous states like these; None where there are none, or where a call would not pay."""
    if type(states) not in (Tensor, FakeTensor) or states.device.type != "cpu" or torch.compiler.is_compiling():
        return None
    if not covers(states.shape[-1], states.numel()):
        return None
    form = str(states.dtype).removeprefix("torch.")
    if type(states) is FakeTensor:  # a plan's: it has a shape and no values
        return Kernels(None) if form in FORMS and unavailable() is None else None
    with _making:
        return _kernels(form)


def covers(width: int, numbers: int) -> bool:
    """Would the kernels be faster than PyTorch for this many numbers in rows of this width?"""
    return width % LANES == 0 and numbers >= FEWEST and torch.get_num_threads() <= THREADS


def planned(width: int, numbers: int) -> bool:
    """Would this many numbers, in float32 or bfloat16, be computed by the kernels on this machine?"""
    return covers(width, numbers) and unavailable() is None


FEWEST = 1 << 16
"""Below this many numbers PyTorch does the work: a small network never earns back the seconds that compiling takes."""
_making = threading.Lock()
"""Held while kernels are made: two threads may ask at the same time."""


@functools.cache
def _kernels(form: str) -> Kernels | None:
    if form not in FORMS or unavailable() is not None:
        return None
    from lmworks.kernels.run.library import functions_of

    try:
        return Kernels(functions_of(f"between_{form}"))
    except LmworksError:  # compiling failed: PyTorch runs the step, as it does without numba
        return None


class Kernels:
    """The kernels for one number format. All tensors are contiguous; results are new tensors unless said otherwise."""

    def __init__(self, functions: dict[str, Callable[..., Any]] | None) -> None:
        self._functions = functions
        """None for a plan, which only follows what is allocated and freed."""

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
        """The gradient of x through the norm, plus the gradient in `stream` that reached x around the norm."""
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
        """The gradients of gate and up, side by side as in `inner`."""
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
        """Fill `apart` with the heads of `flat`, scaled, and with the two halves of each rotated against each other by
        the angles whose cosine and sine are `by`, each [batch, 1, seq, half_dim]. With `back`, fill `flat` from
        `apart`, rotated the other way. `flat` may be a slice of the columns of wider rows."""
        _, batch, heads, tile, width = apart.shape
        cos, sin = by
        table = 0 if len(cos) == 1 else cos.shape[2] * cos.shape[3]
        shape = batch, flat.shape[1], heads, tile, width, flat.stride(1), table, back
        self._run("turn", (flat, *_whole(apart, cos, sin)), *shape, scale)

    def softmax(self, logits: Float[Tensor, "rows vocab"]) -> Float[Tensor, "rows one"]:
        """Overwrite the logits with their probabilities; return the log of the sum of e^logit, in float32."""
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
        """Fill `made` with the values of NF4 codes, two to a byte, in blocks of 64. A block is scaled by the level that
        its entry in `sizes` names, times the scale of its group of 256 blocks, plus the mean."""
        self._run("nf4", _whole(made, codes, sizes, scales, levels), len(sizes), mean)


def _whole(*tensors: Tensor) -> tuple[Tensor, ...]:
    assert all(one.is_contiguous() for one in tensors)
    return tensors
