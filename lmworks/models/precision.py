"""Number formats: which one is fast on this processor, and what a name means."""

from __future__ import annotations

import torch

from lmworks.basics.errors import ConfigError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def dtype_of(name: str | torch.dtype | None) -> torch.dtype | None:
    """The type of that name; ConfigError for an unknown one."""
    if name is None or isinstance(name, torch.dtype):
        return name
    if name not in DTYPES:
        raise ConfigError(f"{name!r} is not a number format; known are {', '.join(DTYPES)}")
    return DTYPES[name]


def fast_dtype(device: str | torch.device = "cpu") -> torch.dtype:
    """bfloat16 where the device multiplies it natively (AVX-512 BF16, AMX, any recent GPU), else float32."""
    if torch.device(device).type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    native = any(getattr(torch.cpu, f"_is_{name}_supported", bool)() for name in ("avx512_bf16", "amx_tile"))
    return torch.bfloat16 if native else torch.float32
