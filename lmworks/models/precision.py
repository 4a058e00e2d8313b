"""Number formats: which one is fast on this processor, and what a name means."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from lmworks.basics.errors import ConfigError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def dtype_of(name: str | torch.dtype | None) -> torch.dtype | None:
    """The type of that name; ConfigError for an unknown one."""
    if name is None or isinstance(name, torch.dtype):
        return name
    if name not in DTYPES:
        raise ConfigError(f"{name!r} is not a number format; known are {', '.join(DTYPES)}")
    return DTYPES[name]


def must_be_device(device: str) -> None:
    """ConfigError for a device that PyTorch does not know, or that is not on this machine."""
    try:
        there = torch.device(device).type in ("cpu", "meta") or torch.empty(0, device=device).numel() == 0
    except (RuntimeError, AssertionError, NotImplementedError):
        there = False
    if not there:
        known = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
        raise ConfigError(f"there is no device {device!r} on this machine for PyTorch; there is {' and '.join(known)}")


def fast_dtype(device: str | torch.device = "cpu") -> torch.dtype:
    """bfloat16 where the device multiplies it faster than float32 (AMX, AVX-512 BF16 of AMD's processors, any recent
    GPU), else float32."""
    if torch.device(device).type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    tiles, vectors = (getattr(torch.cpu, f"_is_{name}_supported", bool)() for name in ("amx_tile", "avx512_bf16"))
    return torch.bfloat16 if tiles or (vectors and _is_of_amd()) else torch.float32


@cache
def _is_of_amd() -> bool:
    """Only AMD's vectors of bfloat16 are worth their use: on an Emerald Rapids whose tiles a cloud hides, PyTorch takes
    1.9 times as long for a product in bfloat16 as in float32 (1,024 x 576 x 1,536, one thread)."""
    try:
        told = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")[:1000]
    except OSError:  # not Linux
        told = platform.processor()
    return "AuthenticAMD" in told


def multiplied(dtype: torch.dtype) -> bool:
    """Does this processor multiply these numbers natively? Without them PyTorch's take up to ten times as long as
    float32's."""
    if dtype not in (torch.bfloat16, torch.float16):
        return True
    name = "bf16" if dtype == torch.bfloat16 else "fp16"
    there = getattr(torch.ops.mkldnn, f"_is_mkldnn_{name}_supported", None)
    return torch.backends.mkldnn.is_available() and there is not None and bool(there())


def quicker_in_float32(values: Tensor) -> bool:
    """Are these 16-bit numbers on a processor that does not multiply them natively?"""
    return values.device.type == "cpu" and not multiplied(values.dtype)
