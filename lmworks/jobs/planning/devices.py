"""Devices by name: how much they hold, how fast they multiply and read, and where each figure is from.

    found = find_device("8x H100")
    found.count, found.device.memory, found.device.flops

`cpu` is the machine that this runs on: its memory is asked for, its speed measured by a product and a sum that
together take a few tenths of a second.
"""

from __future__ import annotations

import difflib
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lmworks.basics.amounts import counted
from lmworks.basics.errors import ConfigError

MOST_DEVICES = 1_000_000


@dataclass(frozen=True)
class Device:
    """One processor with its memory."""

    name: str
    memory: float | None
    """Bytes (of 10^9 a GB, as data sheets count; a little less can be used); None where the system does not say."""
    flops: float
    """Peak FLOP/s of products of bfloat16 (float16 where there is none) summed in float32, without sparsity."""
    bandwidth: float
    """Bytes per second between the processor and its memory."""
    source: str
    """Where the figures are from."""
    utilisation: float = 0.4
    """The share of `flops` that training is expected to reach. On GPUs 0.38 to 0.43 for Llama 3 405B (Grattafiori et
    al. 2024, table 4) and 0.46 for PaLM (Chowdhery et al. 2022, table 3); small models and small batches reach less."""


@dataclass(frozen=True)
class Devices:
    """A number of equal devices."""

    device: Device
    count: int = 1

    @property
    def name(self) -> str:
        """`8x H100`, or the device's name where there is one."""
        return f"{self.count}x {self.device.name}" if self.count > 1 else self.device.name


_SHEET = "NVIDIA, data sheet of the {}"
TABLE = (
    Device("H100", 80e9, 989.4e12, 3.35e12, _SHEET.format("H100 (SXM)")),
    Device("H200", 141e9, 989.4e12, 4.8e12, _SHEET.format("H200 (SXM)")),
    Device("A100", 80e9, 312e12, 2.039e12, _SHEET.format("A100 80GB (SXM)")),
    Device("A100-40GB", 40e9, 312e12, 1.555e12, _SHEET.format("A100 40GB (SXM)")),
    Device("V100", 32e9, 125e12, 0.9e12, _SHEET.format("V100 (SXM2, 32 GB; float16)")),
    Device("L40S", 48e9, 362e12, 0.864e12, _SHEET.format("L40S")),
    Device("A6000", 48e9, 154.8e12, 0.768e12, _SHEET.format("RTX A6000")),
    Device("L4", 24e9, 121e12, 0.3e12, _SHEET.format("L4")),
    Device("T4", 16e9, 65e12, 0.32e12, _SHEET.format("T4 (float16)")),
    Device("RTX4090", 24e9, 165.2e12, 1.008e12, "NVIDIA, Ada GPU architecture, appendix A"),
    Device("RTX3090", 24e9, 71e12, 0.936e12, "NVIDIA, Ampere GA102 GPU architecture, appendix A"),
    Device("MI300X", 192e9, 1307.4e12, 5.3e12, "AMD, data sheet of the Instinct MI300X"),
)
KNOWN = {device.name: device for device in TABLE}


def find_device(text: str) -> Devices:
    """`H100`, `8x H100`, `8 x H100` or `cpu`; case, spaces and hyphens do not count.

    ConfigError for an unknown name (it lists the known ones) and for a number of devices that makes no sense.
    """
    found = re.fullmatch(r"\s*(?:(-?\d+)\s*[x×*]\s*)?(.*?)\s*", text, re.IGNORECASE | re.DOTALL)
    number, name = found.groups() if found else (None, text)
    count = int(number[:12]) if number else 1
    if not 1 <= count <= MOST_DEVICES:
        raise ConfigError(f"{text!r} asks for {count:,} devices; give a number from 1 to {MOST_DEVICES:,}")
    if _plain(name) == "cpu":
        return Devices(this_cpu(), count)
    names = {_plain(known): known for known in KNOWN}
    if _plain(name) not in names:
        close = difflib.get_close_matches(_plain(name), names, n=1)
        hint = f"did you mean {names[close[0]]}? " if close else ""
        raise ConfigError(f"{name!r} is not a known device; {hint}known are {', '.join(['cpu', *KNOWN])}")
    return Devices(KNOWN[names[_plain(name)]], count)


def this_cpu() -> Device:
    """This machine, measured: the product in the format that is fast here, reading by the sum of a large tensor."""
    import torch

    from lmworks.models.precision import fast_dtype

    dtype, size, values = fast_dtype(), 1024, 16 * 2**20
    left, right = torch.randn(size, size).to(dtype), torch.randn(size, size).to(dtype)
    many = torch.ones(values)  # written: pages of zeros that nobody wrote are one page
    product, reading = _fastest(lambda: left @ right), _fastest(many.sum)
    return Device(
        "cpu",
        _memory(),
        2 * size**3 / product,
        4 * values / reading,
        f"measured here: a product of {size} x {size} in {str(dtype).removeprefix('torch.')} with "
        f"{counted(torch.get_num_threads(), 'thread')}, and the sum of {4 * values / 1e6:.0f} MB",
        utilisation=0.5,  # of what one product reaches: 0.53 to 0.58 in LoRA and in training from nothing (docs/log.md)
    )


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).lower()


def _fastest(work: Callable[[], object], seconds: float = 0.15) -> float:
    """Seconds of the fastest run within about that time, the first not counted."""
    work()
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best


def _memory() -> float | None:
    """Bytes of this machine, or of the container where that has fewer."""
    try:
        machine = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):  # Windows
        return None
    limit = Path("/sys/fs/cgroup/memory.max")
    allowed = limit.read_text().strip() if limit.is_file() else "max"
    return min(machine, float(allowed)) if allowed.isdigit() else machine
