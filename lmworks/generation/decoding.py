"""The decoding loop for requests that are all there: read the prompts, then one token a step for each that is not
finished.

Each sequence has a strategy and random numbers of its own, and as many rows as it has texts in the making: one, or
one a beam. Requests that come and go are for an `Engine` (`engine.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence as List

from lmworks.generation.beams import BeamSequence
from lmworks.generation.contrastive import ContrastiveSequence
from lmworks.generation.request import Request
from lmworks.generation.scheduler import PREFILL, Scheduler
from lmworks.generation.sequence import Sequence
from lmworks.generation.strategies import Beam, Contrastive
from lmworks.generation.token_sequence import TokenSequence
from lmworks.models.runner import Runner

NO_BOUND = 2**62


def start(request: Request, runner: Runner) -> Sequence:
    """A sequence with nothing written yet."""
    if isinstance(request.strategy, Beam):
        return BeamSequence(request)
    kind = ContrastiveSequence if isinstance(request.strategy, Contrastive) else TokenSequence
    return kind(request, runner)


def decode(runner: Runner, sequences: List[Sequence]) -> Iterator[tuple[Sequence, str]]:
    """Run sequences to their end; yield each with its new text, step by step. All prompts are read first."""
    scheduler = Scheduler(runner, chunk=PREFILL * max(len(sequences), 1), between=NO_BOUND)
    scheduler.add(sequences)
    while scheduler.busy:
        for sequence, text in scheduler.step():
            if sequence.error is not None:
                raise sequence.error
            yield sequence, text
