"""The network compiled for the CPU: packed 4- and 8-bit weights, vector kernels, the tape that runs them.

    runner = CompiledRunner(network)               # packs the weights; the kernels are compiled once and kept on the disk
    logits = runner.next_logits(tokens, runner.new_cache())

How a network runs here, from the outside in:

    coverage.py      which networks the tape covers, and the sentence that says why not
    runner.py        what others see (lmworks.models.runner): the compiled network as long as it stands, else PyTorch
    choice.py        which runner a model gets
    engine.py        hidden states, logits and caches of one network
    tape.py          a network read out as a table of operations
    packing.py       weights in the order in which the kernels read them
    outliers.py      inputs of matrices that are too large for 8 bits beside others
    pages.py         the KV cache: pages of 64 tokens that rows may share
    team.py          the threads that run a tape together
    library.py       the compiled kernels: made, kept on the disk, checked
    spans.py         which tokens run together
    interpreter.py   one operation after another, with a barrier between them; round after round, where it chooses tokens itself
    claims.py        how a thread leads and others help, where one of them may lose its core
    writing.py       what was chosen is read next, with what is guessed to follow (lmworks.models.lookup)
    matrix.py, attention.py, activations.py, norms.py, positions.py, embedding.py      one family of operations each
    next_token.py, softmax.py      a token drawn from its logits, whose probabilities are not written down
    vectors.py       vectors of 16 numbers as LLVM instructions

PyTorch stays the only definition of the network and the reference of every kernel. The result of a token depends neither
on the tokens computed beside it nor on the number of threads, to the bit: every sum has one order.
"""

from __future__ import annotations

from lmworks.kernels.coverage import unavailable, uncovered
from lmworks.kernels.engine import CompiledNetwork, compiled
from lmworks.kernels.runner import CompiledRunner

__all__ = ["CompiledNetwork", "CompiledRunner", "compiled", "unavailable", "uncovered"]
