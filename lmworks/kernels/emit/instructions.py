"""Which instruction set the kernels are written for: amx (AVX-512 and products of tiles), avx512 (with VNNI), avx2, or
plain (LLVM's own vectors).

The best that the processor has, or the one that LMWORKS_INSTRUCTIONS names. Imports no numba.
"""

from __future__ import annotations

import ctypes
import functools
import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass

from lmworks.basics.errors import ConfigError
from lmworks.basics.extras import require


@dataclass(frozen=True)
class Instructions:
    """An instruction set: its name, and what it needs of an x86 processor."""

    name: str
    needs: tuple[str, ...]
    without: tuple[str, ...] = ()
    """What LLVM must not use: a forced set is compiled as on a processor that has no more."""


AVX512 = ("avx512f", "avx512vl", "avx512bw", "avx512dq", "avx512vnni")
BEYOND_AVX2 = ("avx512f", "avx512vl", "avx512bw", "avx512dq", "avx512cd", "avx512vnni", "avx512bf16", "avxvnni")
SETS = {
    one.name: one
    for one in (
        Instructions("amx", (*AVX512, "amx-tile", "amx-int8", "amx-bf16")),
        Instructions("avx512", AVX512),
        Instructions("avx2", ("avx2", "fma", "f16c"), BEYOND_AVX2),
        Instructions("plain", ("avx2", "fma", "f16c"), BEYOND_AVX2),
    )
}
"""The best first. On x86 even plain vectors need AVX2: without fused products and float16 every number is a call."""

FORCED = "LMWORKS_INSTRUCTIONS"

ARCH_PRCTL, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA = 158, 0x1023, 18  # asm/unistd_64.h and asm/prctl.h of Linux


@functools.lru_cache(maxsize=1)
def features() -> frozenset[str]:
    """What the processor has, in LLVM's names."""
    if _told:
        return _told[-1]
    binding = require("llvmlite.binding", "fast")
    return frozenset(name for name, there in binding.get_host_cpu_features().items() if there)


_told: list[frozenset[str]] = []


def take_features(names: Iterable[str]) -> None:
    """Let `features` answer what another process of this machine found, which saves the memory that LLVM takes."""
    _told.append(frozenset(names))


def available() -> list[str]:
    """The sets that this processor can run, the best first."""
    machine = platform.machine().lower()
    if machine in ("arm64", "aarch64"):
        return ["plain"]
    if machine not in ("x86_64", "amd64"):
        return []
    can = [name for name, one in SETS.items() if features().issuperset(one.needs)]
    return [name for name in can if name != "amx" or _tiles_permitted()]


@functools.lru_cache(maxsize=1)
def _tiles_permitted() -> bool:
    """Does the system let this process use tiles? It wants to be asked, once for all threads (arch_prctl(2))."""
    if platform.system() != "Linux":
        return False
    return bool(ctypes.CDLL(None).syscall(ARCH_PRCTL, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0)


def problem() -> str | None:
    """Why no kernel can run on this processor; None where one can."""
    if os.environ.get(FORCED) == "none" or not available():
        return (
            "the processor has no vector instructions that the compiled path is written for (AVX2 with FMA and F16C, "
            "or ARM64)"
        )
    return None


def chosen() -> Instructions:
    """The set that the kernels use. ConfigError for a forced set that the processor does not run."""
    can, forced = available(), os.environ.get(FORCED)
    if forced is None:
        return SETS[can[0]]
    if forced not in can:
        raise ConfigError(
            f"{FORCED} is {forced!r}, which this processor does not run; it runs {', '.join(can)}; set one of them, "
            "or none"
        )
    return SETS[forced]


def tell_numba() -> None:
    """Have numba compile for a forced set. It reads its settings once, when the first function is defined."""
    if os.environ.get(FORCED):
        settings, one = require("numba", "fast").config, chosen()
        left = sorted(features() - set(one.without))
        settings.CPU_FEATURES = ",".join([*(f"+{name}" for name in left), *(f"-{name}" for name in one.without)])
        settings.CPU_NAME = "generic"
