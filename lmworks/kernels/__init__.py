"""The network compiled for the CPU: packed 4- and 8-bit weights, vector kernels, the tape that runs them.

    runner = CompiledRunner(network)   # packs the weights; the kernels are compiled once and kept on the disk
    logits = runner.next_logits(tokens, runner.new_cache())

From the outside in; docs/kernels.md tells it in order:

    coverage.py      which networks the tape covers, and the sentence that says why not
    runner.py        what others see (lmworks.models.runner): the compiled network as long as it stands, else PyTorch
    choice.py        which runner a model gets; footprint.py: the memory that it takes then
    pages.py         the KV cache: pages of 64 tokens that rows may share; prefixes.py keeps beginnings of texts
    packing.py       weights in the order in which the kernels read them; outliers.py, adapters.py
    packer.py        a network packed, by PyTorch; keeping.py keeps it for the next start, which needs none of that
    packing_apart.py a process that packs, and takes PyTorch's memory with it
    operation.py     what an operation is; frame.py: the arguments of a run
    quantisations/   how weights are packed, one file each
    run/             one network: weights, tape, frame; interpreter, work stealing, threads, compiled functions
    operations/      one file an operation
    emit/            vector instructions, and what several operations are written with
    next_token.py    a token drawn from its logits by the kernels

PyTorch stays the only definition of the network and the reference of every kernel. The result of a token depends
neither on the tokens computed beside it nor on the number of threads, to the bit: every sum has one order.
"""

from __future__ import annotations

from lmworks.kernels.coverage import unavailable, uncovered
from lmworks.kernels.runner import CompiledRunner, compiled

__all__ = ["CompiledRunner", "compiled", "unavailable", "uncovered"]
