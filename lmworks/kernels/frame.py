"""The frame: the arguments of a run, a table of 64-bit integers. The layouts of what it points to. Imports no numba.

Entries are counts, strides in bytes, addresses, and float32 numbers by their bits. Python fills it in, every step of a
tape reads it; compiled code names an entry as Python does, `field(frame, Field.TOKENS)`.
"""

from __future__ import annotations

from enum import IntEnum, auto
from typing import Any


class Table(IntEnum):
    """Places in a table of 64-bit integers, from 0 on."""

    @staticmethod
    def _generate_next_value_(name: str, start: int, count: int, last_values: list[Any]) -> int:
        return count


class Field(Table):
    """The frame's entries. Sizes are those of one run; addresses are of arrays that live as long as it does.

    run/placing.py and run/network.py fill in some neighbours at once, in this order.
    """

    TAPE = auto()
    """Address of the steps, [STEPS, WORDS]."""
    STEPS = auto()
    OPERATIONS = auto()
    """Address of the operations' functions, [operations, Entry]."""
    FORMS = auto()
    """Address of the quantisations' functions, [forms, FormEntry]."""
    TOKENS = auto()
    IDS = auto()
    """int64 [tokens]: token ids."""
    POSITIONS = auto()
    """int64 [tokens]: each token's place in its own text."""
    PLACES = auto()
    """int64 [tokens]: rows of the table that POSITION adds: of each token's position, and of its segment."""
    TURNS = auto()
    """int64 [tokens]: rows of COSINES and SINES."""
    ENDS = auto()
    """int64 [tokens]: each token sees the positions below this."""
    PAGES = auto()
    """int64 [tokens]: address of the addresses of the pages of the token's row."""
    TILES = auto()
    """int64 [tiles, 2]: first token and number of tokens, which follow one another in their text."""
    TILE_COUNT = auto()
    PARTS = auto()
    """Parts of attention kept for each query head: 1, or the pages of the longest row where threads share its pages."""
    LAYERS_APART = auto()
    """1: each layer has a part of a page to itself (pages.py); 0: all share one."""
    BIASES = auto()
    """Address of the query's own position in a float32 table [heads, distances] that is added to the scores, indexed by
    how many tokens the key is before the query: negative for later keys."""
    BIASES_STRIDE = auto()
    """Bytes from one head's biases to the next head's."""
    SOURCES = auto()
    """int64 [tokens, 2]: of the source of the token's row the address of the addresses of its pages, and its tokens;
    filled in for an encoder-decoder alone."""
    STREAM = auto()
    """float32 [tokens, dim]: the residual stream."""
    VALUES = auto()
    """int8 [tokens, widest]: what the next matrix is multiplied with (operations/quantise.py)."""
    VALUES_STRIDE = auto()
    SCALES = auto()
    SUMS = auto()
    SCALES_STRIDE = auto()
    """Bytes from a token's scales to the next one's; twice that from its sums to the next one's."""
    ADAPTERS = auto()
    """int64 [tokens]: the number of the adapter of the token's row, 0 for none (adapters.py)."""
    MIXED = auto()
    """float32 [tokens, heads, parts, value_dim + 16]: parts of attention (emit/attention_page.py)."""
    COSINES = auto()
    """float32 [rows, rotations, half]: layers with a window may have a rotation of their own."""
    SINES = auto()
    TURN_BYTES = auto()
    """From one row of these to the next."""
    SCRATCH = auto()
    """SCRATCH_STRIDE bytes for each thread."""
    SCRATCH_STRIDE = auto()
    BARRIER = auto()
    """What threads meet at; its layout is below, its size `barrier_bytes`."""
    ROUNDS = auto()
    """How often the tape is run, each time for the tokens that it chose: 1 where it chooses none."""
    ROUNDS_DONE = auto()
    STOP = auto()
    """Not 0: this round is the last one, since a text ended or a token could not be chosen."""
    INTERRUPT = auto()
    """Address of an int64 that any thread may set to 1 to end the run after this round."""
    CHOICES = auto()
    """[tokens, Choosing]: how each row's next token is chosen; for a row that guesses, a single one."""
    UNIFORMS = auto()
    """float64 [rounds, tokens] in 0 to 1: the place of each token among the probabilities. For a row that guesses,
    [tokens that it writes]; so are the next two."""
    CHOSEN = auto()
    """int64 [rounds, tokens]: the tokens; -1 where Python has to choose."""
    LOGPROBS = auto()
    """float64 [rounds, tokens]: of the chosen tokens, where they are asked for. For a token that Python has to choose,
    what is added to its logit."""
    KEPT = auto()
    """int64 [KEPT_COUNT], rising: the tokens that go on after KEEP."""
    KEPT_COUNT = auto()
    LED = auto()
    """Not 0: thread 0 leads and the others help (work_stealing.py), for up to MOST_LED tokens."""
    DONE = auto()
    """int64 [chunks]: the number of the last step in which each chunk was done, times threads, plus who did it."""
    OUTBOX = auto()
    """OUTBOX_STRIDE bytes for each helper: its outputs of a matrix."""
    OUTBOX_STRIDE = auto()
    MIXED_STRIDE = auto()
    """Bytes from the leader's MIXED to the first helper's, and from each to the next."""
    LOOKUP = auto()
    """For a row that guesses, int64 [lookup.WORDS]; otherwise 0."""


GROUP = 32
"""Inputs of a matrix that share a scale."""
WORDS = 14
"""Of a step: the number of its operation, then its operands."""
STEP_BYTES = 8 * WORDS


class Entry(Table):
    """The functions of an operation, by their addresses (operation.py); 0 where it has none."""

    RUN = auto()
    COUNT = auto()
    DO = auto()
    TAKE_OVER = auto()
    READS_TEXTS = auto()
    TAKES_LONG = auto()
    MOVES_TEXTS = auto()


ENTRY_BYTES = 8 * len(Entry)


class FormEntry(Table):
    """The functions of a quantisation, by their addresses; 0 until a tape wants them."""

    MULTIPLY = auto()
    """operations/matrix.py"""
    EMBED = auto()
    """operations/embed.py"""


FORM_BYTES = 8 * len(FormEntry)


class Run(Table):
    """An expert that has rows (operations/gather.py)."""

    EXPERT = auto()
    """Its number."""
    BEGIN = auto()
    """The first of its rows."""
    END = auto()
    """The one after its last."""
    FRAME = auto()
    """From here on a frame in which its rows are the tokens."""


RUN_BYTES = 8 * (Run.FRAME + len(Field))


class Choosing(Table):
    """How a row's next token is chosen (next_token.py): float64 numbers first, then integers."""

    FACTOR = auto()
    TOP_P = auto()
    MIN_P = auto()
    TOP_K = auto()
    JUDGED = auto()
    """Log-probabilities are wanted."""
    ENDS = auto()
    """Address of END_COUNT tokens that end the text."""
    END_COUNT = auto()
    FORBIDDEN = auto()
    """The first FORBIDDEN tokens are none of these."""


CHUNK = 128
"""Logits whose exponents are summed by themselves (emit/softmax.py)."""
EDGE = 1e-6
"""Tokens this many times less probable than the most probable one are looked at only where others are not enough."""

# The room in which a thread chooses a token, offsets in bytes: a chunk of logits, the largest logit, a sum that nobody
# needs, the sums of all chunks. After them come the places of tokens, and then their exponents, as many as there are
# logits in all chunks.
LARGEST = 4 * CHUNK
SPARE = LARGEST + 4
TOTALS = SPARE + 4


def room_numbers(logits: int) -> int:
    """float32 numbers of a room for this many logits."""
    chunks = -(-logits // CHUNK)
    return TOTALS // 4 + chunks + 2 * CHUNK * chunks


ADAPTER_ENTRY_BYTES = 32
"""Of a block of rows and one adapter, in the table of a matrix's adapters (adapters.py)."""
ACTIVATED = ("gelu", "relu", "silu", "tanh")
"""What can stand between the two matrices of an adapter; BOTTLENECK says which by its place here, from 1 on."""


# The barrier, offsets in bytes, 64 apart where different threads write. At 0 the threads that have arrived.
ARRIVALS = 64
"""How often all have arrived."""
TAKEN = 128
"""Blocks of a matrix that were taken."""
CLAIMS = 192
"""What helpers claim (work_stealing.py)."""
HELPED = CLAIMS + 64
"""The chunks that helpers did, and then all chunks that they could have done."""
LOOKS = 320
"""From here on 64 bytes for each thread: how often it looked while it waited, and whether it reads texts."""


def barrier_bytes(threads: int) -> int:
    """What a barrier for this many threads takes."""
    return LOOKS + 64 * threads


class Job(Table):
    """What a thread is given to do (interpreter.run), 64 bytes for each; the last three count at thread 0 alone."""

    NUMBER = auto()
    DONE = auto()
    """The number of the last job that it did."""
    FRAME = auto()
    THREADS = auto()
    CORES = auto()
    """Address of int64 [1 + threads, CORE_WORDS]: where each thread runs while one leads."""


MASK_WORDS = 16
CORE_WORDS = 2 + MASK_WORDS
"""In the first row: after how many looks for something to do a helper takes the leader's core (0: never), and a lock.
Then of each thread its number in the system, its core's number, and a mask of that core alone."""
OVER, ALONE = -1, -2
"""At CLAIMS: nobody leads any more; the leader does something by itself."""
MOST_LED, MOST_CHUNKS = 512, 2**20 - 1
"""Tokens of a run with a leader, and chunks of a step, at most."""
OF_VOCABULARY = 16
"""Tokens whose outputs of the widest matrix fit in a helper's outbox; with more, the leader multiplies it alone."""
