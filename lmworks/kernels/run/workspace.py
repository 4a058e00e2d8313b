"""What one network runs in: the frame, the arrays that it points to, the tapes, and the threads that run them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import numpy as np

from lmworks.basics.arrays import Float
from lmworks.kernels.frame import (
    MOST_CHUNKS,
    MOST_LED,
    OF_VOCABULARY,
    Field,
    barrier_bytes,
    room_numbers,
)
from lmworks.kernels.operations import route
from lmworks.kernels.operations.attend import scratch_bytes
from lmworks.kernels.packed import aligned
from lmworks.kernels.pages import attended
from lmworks.kernels.run.buffers import Buffers
from lmworks.kernels.run.tape import Room, Table, choose_from, head_steps, send_logits, table, tapes
from lmworks.kernels.run.team import Team
from lmworks.kernels.run.team import team as this_team
from lmworks.kernels.run.weights import Weights, is_expert, is_vocabulary
from lmworks.models.config import ExpertSettings

MOST_PARTS = 2**26
"""Bytes of the parts of attention, with those of helpers, from which on nobody leads."""


class Workspace:
    """The frame of a network and all that stays from run to run."""

    buffers: Buffers

    def __init__(self, weights: Weights) -> None:
        config = weights.config
        self.weights = weights
        fits = not config.tied or config.embedding_width == config.dim
        self.has_head = config.adaptive_cutoffs is None and not config.head_transform and fits
        self.frame = np.zeros(len(Field), np.int64)
        self.frame[Field.ROUNDS] = 1
        self.kept: dict[Field, np.ndarray] = {}
        """The arrays that the frame names, by its entries."""
        self.logits = np.empty((0, 0), np.float32)
        self.use_team(this_team())

    def __del__(self, is_over: Callable[[], bool] = sys.is_finalizing) -> None:
        if hasattr(self, "tapes") and not is_over():  # when Python ends, modules may have lost their names
            self.team.keep((self.weights, self.buffers, self.tapes, self.kept, self.frame))

    def put(self, field: Field, array: np.ndarray) -> None:
        """Put an array into the frame, and keep it alive as long as it is there."""
        self.kept[field] = array
        self.frame[field] = array.ctypes.data

    def use_team(self, team: Team) -> None:
        """Run by these threads, with memory for each."""
        self.team = team
        config = self.weights.config
        experts = 0 if config.experts is None else config.experts.count
        seen = attended(config)
        stride = max(scratch_bytes(config.heads // seen.heads, seen.key_dim), route.scratch_bytes(experts))
        self.put(Field.SCRATCH, aligned(stride * team.threads))
        self.frame[Field.SCRATCH_STRIDE] = stride
        self._room_bytes = -(-4 * room_numbers(config.vocab_size) // 64) * 64
        self._rooms = aligned(self._room_bytes * team.threads)
        self.barrier = aligned(barrier_bytes(team.threads)).view(np.int64)
        self.put(Field.BARRIER, self.barrier)
        self._make_outboxes(config.experts)
        if hasattr(self, "buffers"):
            self.write_tapes()
        else:
            self.make_room(1)

    def _make_outboxes(self, settings: ExpertSettings | None) -> None:
        """What helpers need; the system gives memory when it is written to."""
        blocks = {name: max(part.blocks for part in one.every) for name, one in self.weights.matrices.items()}
        adapters = [one.down for each in self.weights.adapters.values() for one in each.numbered.values()]
        widest = max([*blocks.values(), *(part.blocks for one in adapters for part in one.every)])
        inner = max(size for name, size in blocks.items() if not is_vocabulary(name))
        of_expert = max((size for name, size in blocks.items() if is_expert(name)), default=0)
        count, top_k = (0, 0) if settings is None else (settings.count, settings.top_k)
        stride = 64 * max(max(inner, top_k * of_expert) * MOST_LED, widest * OF_VOCABULARY)
        self.put(Field.OUTBOX, aligned(stride * (self.team.threads - 1)))
        self.frame[Field.OUTBOX_STRIDE] = stride
        self._make_done(max(widest, count * of_expert))

    def take_adapters(self) -> None:
        """The adapters that the weights have now: with room for what they make, and in the tapes."""
        self._make_done(max((one.numbers for one in self.weights.adapters.values()), default=0))  # prompts have none
        self._new_buffers(self.buffers.tokens)

    def make_room(self, tokens: int) -> None:
        """Buffers for this many tokens, and the tapes that name them."""
        if not hasattr(self, "buffers") or self.buffers.tokens < tokens:
            self._new_buffers(tokens)

    def _new_buffers(self, tokens: int) -> None:
        self.team.keep(getattr(self, "buffers", None))
        buffers = self.buffers = Buffers(self.weights, max(tokens, 16))
        self.put(Field.STREAM, buffers.stream)
        self.put(Field.VALUES, buffers.values)
        self.put(Field.SCALES, buffers.scales)
        self.put(Field.SUMS, buffers.sums)
        self.put(Field.ADAPTERS, buffers.adapters)
        self.frame[Field.VALUES_STRIDE] = buffers.values.strides[0]
        self.frame[Field.SCALES_STRIDE] = buffers.scales.strides[0]
        self.write_tapes()

    def write_tapes(self) -> None:
        """The tapes for these buffers."""
        self.team.keep(getattr(self, "tapes", None))
        room = Room(self._rooms.ctypes.data, self._room_bytes) if self.has_head else None
        self.tapes = tapes(self.weights, self.buffers, room)

    def make_parts(self, tokens: int, most: int, least: int, chunks: int) -> None:
        """Room for the parts of attention, `most` bytes, where one part a head takes `least`; helpers have their own
        parts, unless that is too much: then nobody leads."""
        needed = -(-most // 64) * 64
        led = tokens <= MOST_LED and needed * self.team.threads <= MOST_PARTS
        own = needed * (self.team.threads if led else 1)
        if Field.MIXED not in self.kept or self.kept[Field.MIXED].nbytes < own:
            self.put(Field.MIXED, aligned(2 * own if most > least else own))
        self.frame[Field.MIXED_STRIDE] = needed
        self._make_done(chunks if led else MOST_CHUNKS + 1)

    def _make_done(self, chunks: int) -> None:
        """Room to note which chunks of a step are done; none where they are too many, and nobody leads."""
        done = self.kept.get(Field.DONE)
        if done is None or len(done) < chunks <= MOST_CHUNKS:
            self.team.keep(done)
            done = self.kept[Field.DONE] = np.zeros(2 * chunks, np.int64)
            self._done = int(done.ctypes.data)
        self.frame[Field.DONE] = self._done if chunks <= MOST_CHUNKS else 0

    def run(self, tape: Table | None, stays: bool = True) -> None:
        """Run a tape, which `stays` or is there for this run alone."""
        assert tape is not None, "a tape with the head, of a network without one"
        if self.kept.get(Field.TAPE) is not tape:
            self.put(Field.TAPE, tape)
            self.frame[Field.STEPS] = len(tape)
        if self.team.process != os.getpid():  # a child process has none of its parent's threads
            self.team = this_team()
            self.barrier[:], self.kept[Field.DONE][:] = 0, 0  # as they left them
        self.team.run(self.frame, self.barrier, stays)

    def run_to_logits(self, tape: Table | None, result: Float[np.ndarray, "rows padded"]) -> None:
        """Run a tape that ends with the head; the logits go to `result`, [rows, 16 blocks]."""
        assert tape is not None
        send_logits(tape, result.ctypes.data, result.strides[0])
        self.run(tape)

    def run_head(self, rows: np.ndarray, output: np.ndarray) -> None:
        """Logits of hidden states, float32 [rows, dim], to `output`."""
        self.make_room(len(rows))
        self.frame[Field.TOKENS] = len(rows)
        self.run(table(head_steps(self.weights, rows, output.ctypes.data, output.strides[0])), stays=False)

    def run_rounds(self, tape: Table | None, rows: int, rounds: int) -> None:
        """Run a tape that chooses tokens, with room for the logits of this many rows, for up to `rounds` rounds."""
        assert tape is not None
        if len(self.logits) < rows:
            self.logits = np.empty((rows, self.weights.head.blocks * 16), np.float32)
        choose_from(tape, self.logits.ctypes.data, self.logits.strides[0])
        self.frame[Field.ROUNDS : Field.STOP + 1] = rounds, 0, 0
        try:
            self.run(tape)
        finally:
            self.frame[Field.ROUNDS] = 1
