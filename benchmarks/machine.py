"""What a stored run says of its machine: processor, instructions, versions, commit, and how busy others kept it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]

PACKAGES = (
    "lmworks",
    "torch",
    "numba",
    "transformers",
    "peft",
    "sentence-transformers",
    "llama-cpp-python",
    "openvino-genai",
    "lancedb",
    "bm25s",
)
"""Whose versions are stored with a run, where they are installed."""

FEATURES = {"AVX2": {"avx2"}, "AVX-512": {"avx512f"}, "VNNI": {"avx512_vnni", "avx_vnni"}, "bf16": {"avx512_bf16"}}
"""What decides how fast a product is, and the flags of /proc/cpuinfo that stand for it (any of them)."""

ARCHITECTURES = {
    ("AuthenticAMD", 25): lambda model: "Zen 4" if model // 16 in (1, 6, 7, 10) else "Zen 3",
    ("AuthenticAMD", 26): lambda model: "Zen 5",
    ("GenuineIntel", 6): {106: "Ice Lake", 143: "Sapphire Rapids", 207: "Emerald Rapids", 173: "Granite Rapids"}.get,
}
"""What the makers call a family and model of processors."""

MULTIPLY_BF16 = ("Zen 4", "Zen 5", "Sapphire Rapids", "Emerald Rapids", "Granite Rapids")
"""Designs that multiply bfloat16, unless a cloud hides it."""
HAVE_TILES = ("Sapphire Rapids", "Emerald Rapids", "Granite Rapids")
NO_TILES = "no AMX"
"""What is noted of such a design where a cloud hides its tiles."""


@dataclass(frozen=True)
class Machine:
    """What decides how fast a machine is, besides its load."""

    processor: str
    """As the system calls it; clouds hide the number of the model."""
    cores: int
    features: tuple[str, ...] = ()
    """Of FEATURES; AVX2 is left out where AVX-512 stands."""
    architecture: str = ""
    """The maker's name of the design, where it is known."""

    def __post_init__(self) -> None:
        plain = re.sub(r"\((R|TM)\)| Processor$", "", self.processor)  # some systems call the same one so
        object.__setattr__(self, "processor", plain)

    @property
    def name(self) -> str:
        """What a column of the tables is called; a cloud may hide what a design has."""
        if self.architecture in MULTIPLY_BF16 and "bf16" not in self.features:
            return f"{self.architecture} without bf16"
        return f"{self.architecture} without AMX" if NO_TILES in self.features else self.architecture or self.processor

    @property
    def told(self) -> str:
        """The whole of it in one line."""
        name = f"{self.processor} ({self.architecture})" if self.architecture else self.processor
        features = " + ".join(self.features) or "no vector flags known"
        return f"{self.cores} cores of {name}, {features.replace(f' + {NO_TILES}', f', {NO_TILES}')}"


def this_machine() -> Machine:
    """Read from /proc/cpuinfo; elsewhere what Python knows."""
    try:
        cores = len(os.sched_getaffinity(0))
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").split("\n\n", 1)[0]
    except (AttributeError, OSError):
        return Machine(platform.processor() or platform.machine(), os.cpu_count() or 1)
    facts = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}
    name_of = ARCHITECTURES.get((facts.get("vendor_id", ""), int(facts.get("cpu family", 0))), lambda model: "")
    flags = set(facts.get("flags", "").split())
    found = [feature for feature, any_of in FEATURES.items() if flags & any_of]
    features = [one for one in found if one != "AVX2" or "AVX-512" not in found]
    design = name_of(int(facts.get("model", 0))) or ""
    features += [NO_TILES] if design in HAVE_TILES and "amx_tile" not in flags else []
    return Machine(facts.get("model name", platform.machine()), cores, tuple(features), design)


def versions() -> dict[str, str]:
    """Python's and those of PACKAGES that are installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """The checkout's commit, with "+changes" where its code is not what was committed; None outside of git."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--", "lmworks", "benchmarks/*.py")
        return git("rev-parse", "--short=10", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None


class Load:
    """The share of the machine's processor time that other programs took since this was made, or asked for last."""

    QUIET = 0.05
    """A machine is quiet where others take less than this."""

    def __init__(self) -> None:
        self._before = self._times()

    def others(self) -> float | None:
        """From 0 to 1; None where the system does not say. Children count as ours once they have been waited for."""
        before, self._before = self._before, self._times()
        if before is None or self._before is None:
            return None
        everybody, ours, seconds = (now - then for now, then in zip(self._before, before, strict=True))
        return max(0.0, (everybody - ours) / (seconds * (os.cpu_count() or 1)))

    @staticmethod
    def _times() -> tuple[float, float, float] | None:
        """Seconds of processor time of everybody and of us and our children, and the time of day."""
        try:
            words = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:]
        except OSError:
            return None
        user, nice, system, _idle, _waiting, irq, softirq = map(int, words[:7])
        ticks = os.sysconf("SC_CLK_TCK")
        return (user + nice + system + irq + softirq) / ticks, sum(os.times()[:4]), time.monotonic()
