"""One step of a tape by itself: the frame around it, for tests that compare an operation with PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lmworks.kernels.frame import Field, barrier_bytes
from lmworks.kernels.operation import Step
from lmworks.kernels.outliers import MOST, table_for_values
from lmworks.kernels.packed import aligned
from lmworks.kernels.run.buffers import FLOAT_BYTES
from lmworks.kernels.run.team import team


def numbers(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    """Random float32 numbers."""
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class Bench:
    """Memory for some tokens of a width, with room after their scales and outliers, and a way to run steps on it."""

    def __init__(self, tokens: int, width: int, after: int = 0, in_floats: bool = False) -> None:
        self.tokens, self.width = tokens, width
        self.frame, self.kept = np.zeros(len(Field), np.int64), {}
        self.frame[Field.ROUNDS] = 1
        self.barrier = aligned(barrier_bytes(team().threads)).view(np.int64)
        room = np.zeros((tokens, width * (1 + FLOAT_BYTES if in_floats else 1)), np.int8)
        self.values = room[:, :width]
        self._room = room
        groups = width // 32
        rows = np.zeros((3, tokens, groups + MOST + after), np.float32)
        self.scales, self.apart = rows[0, :, :groups], rows[0, :, groups : groups + MOST]
        self.sums = rows[1:].reshape(tokens, -1)[:, : 2 * groups]
        self.put(Field.BARRIER, self.barrier)
        self.put(Field.VALUES, room)
        self.put(Field.SCALES, self.scales)
        self.put(Field.SUMS, self.sums)
        self.put(Field.ADAPTERS, np.zeros(tokens, np.int64))
        self.put(Field.SCRATCH, aligned(2**16 * team().threads))
        self.frame[[Field.VALUES_STRIDE, Field.SCALES_STRIDE, Field.TOKENS]] = room.strides[0], rows.strides[1], tokens
        self.frame[Field.SCRATCH_STRIDE] = 2**16

    def put(self, field: Field, array: Any) -> int:
        """An array into the frame."""
        array = array.numpy() if isinstance(array, Tensor) else np.asarray(array)
        self.kept[field] = array
        self.frame[field] = array.ctypes.data
        return array.ctypes.data

    def run(self, *steps: Step) -> None:
        """Run steps."""
        from lmworks.kernels.run.tape import table  # with numba, which may be missing

        tape = table(steps)
        self.put(Field.TAPE, tape)
        self.frame[Field.STEPS] = len(tape)
        team().run(self.frame, self.barrier)

    def table(self, outliers: Sequence[int] = ()) -> int:
        """The address of a table of outliers, for a step that leaves values."""
        table = self.kept[f"outliers {outliers}"] = table_for_values(outliers, self.width // 32)
        return table.ctypes.data

    def quantise(self, x: Tensor, outliers: Sequence[int] = ()) -> Tensor:
        """Put x in 8 bits where the next matrix reads it, by PyTorch; returns what it stands for."""
        outliers, x, whole = list(outliers), x.clone(), x
        x[:, outliers] = 0
        self.apart[:, : len(outliers)] = whole[:, outliers].numpy()
        grouped = x.view(self.tokens, -1, 32)
        scale = grouped.abs().amax(-1, keepdim=True).clamp_min(1e-20) / 127
        values = (grouped / scale).round()
        self.values[:], self.scales[:] = values.flatten(1).numpy(), scale[..., 0].numpy()
        self.sums[:, ::2], self.sums[:, 1::2] = (
            (values[..., :count].sum(-1) * scale[..., 0]).numpy() for count in (32, 16)
        )
        read = (values * scale).flatten(1)
        read[:, outliers] = whole[:, outliers]
        return read

    def read(self) -> Tensor:
        """What the 8-bit values stand for."""
        values = torch.from_numpy(self.values).view(self.tokens, -1, 32).float()
        return (values * torch.from_numpy(self.scales)[..., None]).flatten(1)

    def read_floats(self) -> Tensor:
        """The values in floats."""
        after = torch.from_numpy(self._room)[:, self.width :].contiguous()
        return after.view(torch.bfloat16 if FLOAT_BYTES == 2 else torch.float32).float()

    def near(self, expected: Tensor, steps: float = 0.501) -> bool:
        """Are the values those of `expected`, rounded to 8 bits in groups of 32? A rounding is half a step."""
        step = expected.view(self.tokens, -1, 32).abs().amax(-1, keepdim=True) / 127
        apart = (self.read().view(self.tokens, -1, 32) - expected.view(self.tokens, -1, 32)).abs()
        values = torch.from_numpy(self.values).view(self.tokens, -1, 32).float()
        both = torch.stack([values.sum(-1), values[..., :16].sum(-1)], -1)
        sums = (both * torch.from_numpy(self.scales)[..., None]).flatten(1)
        return bool((apart <= steps * step + 1e-6).all()) and torch.allclose(sums, torch.from_numpy(self.sums), 1e-5)


def address(tensor: Tensor) -> int:
    """Where a tensor's numbers lie."""
    return tensor.data_ptr()
