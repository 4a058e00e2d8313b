"""What a process on a CPU holds beyond its tensors: the holes of its heap, and Python, PyTorch and their libraries.

Training keeps freed blocks for the next step (`lmworks.basics.memory`), as mapping them anew costs time; where blocks
of many sizes come and go, the C library's heap then has holes. Their size was measured: fitted, so that the worst is
met as well as can be, to the memory of 37 runs with glibc 2.41 (training from nothing with AdamW and Muon, adapters,
recomputing, encoders, encoder-decoders, reading prompts; 210 to 1,572 MB), which it meets within 9.4 %
(tests/jobs/planning/test_measured.py). Ten ways to adapt a larger model were not fitted to.
"""

from __future__ import annotations

from dataclasses import replace

from lmworks.jobs.planning.memory import DeviceMemory

TABLES = 38e6
"""Bytes that the libraries make at the first run, whatever its size."""
OF_ACTIVATIONS = 0.13
"""Holes beside what is kept from forward to backward, as a share of it."""
OF_TURNOVER = 0.42
"""Holes beside what comes and goes within a block, or when Muon stacks matrices. What comes and goes once, such as a
head's gradient in float32, leaves none: it takes the room of the activations that are free by then."""
PROCESS = 350e6
"""Python, PyTorch and the libraries, loaded and used once: 268 MB in generation, 348 to 369 in training."""


def in_a_process(memory: DeviceMemory) -> DeviceMemory:
    """Tensors, heap and process: what the operating system counts as this process's memory."""
    holes = OF_ACTIVATIONS * memory.sizes.get("activations", 0.0) + OF_TURNOVER * memory.turnover
    more = {"holes in the heap": TABLES + holes, "the process": PROCESS}
    return replace(memory, sizes=memory.sizes | more, at_peak=memory.at_peak | more)
