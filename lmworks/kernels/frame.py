"""What a run of a tape reads: the frame, a table of numbers and addresses, and the tape's operations and their operands.

Everything is a 64-bit integer: counts, strides in bytes, addresses, and float32 numbers by their bits. Imports no numba.
"""

from __future__ import annotations

import struct
from enum import IntEnum


class Field(IntEnum):
    """The frame's entries. Sizes are of one run; addresses are of arrays that live as long as it. Neighbours are put in at once in places,
    in this order (engine.py)."""

    TAPE = 0
    """Address of the operations, [steps, WORDS]."""
    STEPS = 1
    TOKENS = 2
    IDS = 3
    """int64 [tokens]: token ids."""
    POSITIONS = 4
    """int64 [tokens]: each token's place in its own text."""
    TURNS = 5
    """int64 [tokens]: rows of COSINES and SINES."""
    ENDS = 6
    """int64 [tokens]: each token sees the positions below this."""
    PAGES = 7
    """int64 [tokens]: address of the addresses of the pages of the token's row."""
    TILES = 8
    """int64 [tiles, 2]: first token and number of tokens, which follow one another in their text."""
    TILE_COUNT = 9
    PARTS = 10
    """Parts of attention kept for each query head: 1, or the pages of the longest row where pages are shared among threads."""
    LAYER_BYTES = 11
    """From one layer's part of a page to the next; 0 where all layers share one."""
    STREAM = 12
    """float32 [tokens, dim]: the residual stream."""
    VALUES = 13
    """int8 [tokens, widest]: what the next matrix is multiplied with (quantised.py)."""
    VALUES_STRIDE = 14
    SCALES = 15
    SUMS = 16
    SCALES_STRIDE = 17
    MIX = 18
    """float32 [tokens, heads, parts, head_dim + 16] (attention.py)."""
    COSINES = 19
    """float32 [rows, half]."""
    SINES = 20
    SCRATCH = 21
    """For each thread, SCRATCH_STRIDE bytes."""
    SCRATCH_STRIDE = 22
    BARRIER = 23
    """At 0 the threads that have arrived, at 64 how often all have, at TAKEN the blocks of a matrix that were taken (matrix.py), at CLAIMS
    what helpers claim (claims.py), from LOOKS on for each thread, 64 bytes apart, its looks. Its size: `barrier_bytes`."""
    ROUNDS = 24
    """How often the tape is run, each time for the tokens that it chose: 1 where it chooses none."""
    ROUNDS_DONE = 25
    STOP = 26
    """Not 0: the round is the last one, as a token ended its text or could not be chosen."""
    HURRY = 27
    """Address of an int64 that becomes 1 at any time, where somebody waits for the end of the run."""
    CHOICES = 28
    """int64 and float64 [tokens, CHOICE_WORDS]: how each row's next token is chosen (next_token.py); of a row that guesses by itself one."""
    SHARES = 29
    """float64 [rounds, tokens], or of a row that guesses by itself [tokens that it writes]: from 0 to 1, the place of each among the
    probabilities. Likewise the next two."""
    CHOSEN = 30
    """int64 [rounds, tokens]: the tokens; -1 where Python has to choose."""
    LOGPROBS = 31
    """float64 [rounds, tokens]: of the chosen tokens, where they are asked for; of one that Python has to choose, what its logit lacks."""
    KEPT = 32
    """int64 [KEPT_COUNT], rising: the tokens that go on behind KEEP."""
    KEPT_COUNT = 33
    LED = 34
    """Not 0: thread 0 leads and the others help (claims.py); for up to MOST_LED tokens."""
    MARKS = 35
    """int64 [units]: number of the step for which each unit was done last, x threads + who did it."""
    MAIL = 36
    """For each helper, MAIL_STRIDE bytes: a step of its own, and its outputs of a matrix."""
    MAIL_STRIDE = 37
    MIX_STRIDE = 38
    """Bytes from the leader's MIX to a helper's, and to the next one's."""
    LOOKUP = 39
    """Of a row that guesses by itself: int64 [lookup.WORDS], else 0."""


class Operation(IntEnum):
    """What a step does; its operands stand behind it, in this order."""

    EMBED = 1
    """table, bits, groups, dim bytes, factor"""
    PLACE = 2
    """table, offset, dim"""
    NORM = 3
    """weight, bias or 0, dim, eps, centred, source, kept or 0, table of outliers or 0 to leave no values"""
    QUANTISE = 4
    """source, source stride, width, factor, table of outliers"""
    MATRIX = 5
    """weights, bits, blocks, groups, output, output stride, adds, bias or 0, table of outliers, of an adapter or 0"""
    HEADS = 6
    """output of the qkv matrix, its stride, heads, kv heads, head_dim, half or 0, query norm or 0, key norm, eps, scale, layer"""
    ATTEND = 7
    """output of the qkv matrix, its stride, heads, kv heads, head_dim, layer, window or 0"""
    MIX = 8
    """heads, head_dim, window or 0"""
    ACTIVATE = 9
    """input, its stride, width, number of the activation, gated, table of outliers"""
    CHOOSE = 10
    """logits, their stride, vocabulary, room, room of a thread in bytes"""
    KEEP = 11
    """three arrays of float32 with a row for each token, or 0, each with the bytes of a row"""
    FOLLOW = 12
    """None: what was chosen is read next."""


ENTRY_BYTES = 24
"""Of a block of rows, in the table of an adapter (adapters.py)."""
WORDS = 12
"""Of a step: the operation and its operands."""
MAIL_BEGIN = 128
"""Where the outputs begin in a helper's mail, behind its step."""
MOST_LED, MOST_UNITS = 512, 2**20 - 1
"""Tokens that a run with a leader has at most, and units of a step."""
OF_VOCABULARY = 16
"""Tokens whose outputs of the widest matrix find room in a helper's mail; with more, the leader multiplies it alone."""


TAKEN, CLAIMS, LOOKS = 128, 192, 320
"""Places in the barrier."""
HELPED = CLAIMS + 64
"""There: how many units helpers did, and behind it of how many."""
DONE = 8
"""Behind the number of a thread's job: that of the last one that it did (team.py)."""
FRAME, THREADS, CORES = 16, 24, 32
"""Of the job, at thread 0; the last is the address of what says where each thread runs while one leads, int64 [1 + threads, CORE_WORDS]."""
MASK_WORDS = 16
CORE_WORDS = 2 + MASK_WORDS
"""In the first row looks and a lock: a helper that looked so often for something to do takes the leader's core and gives it its own (0:
never). Then of each thread its number in the system, the core's number, and a mask of that core alone."""
OVER, ALONE = -1, -2
"""At CLAIMS: nobody leads any more; the leader does something by itself."""


def barrier_bytes(threads: int) -> int:
    """What a barrier of so many threads takes."""
    return LOOKS + 64 * threads


def group_bytes(bits: int) -> int:
    """Bytes of a group of 16 x 32 packed weights: codes, scales, minima (matrix.py)."""
    return 64 * bits + 64


def float_bits(value: float) -> int:
    """A float32 number as the integer of its bits."""
    return int(struct.unpack("<I", struct.pack("<f", value))[0])
