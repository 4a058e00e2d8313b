"""FOLLOW_GUESSES: one row reads its guesses together with the token before them, keeps those that it would have
written, and guesses again (lookup.py), all without Python."""

from __future__ import annotations

from lmworks.kernels.emit.compiler import carray
from lmworks.kernels.emit.scalars import compiled, doubles_at, field, inlined, long_at, longs_at, put_field, put_long
from lmworks.kernels.frame import Field
from lmworks.kernels.operation import Operands, Operation
from lmworks.kernels.operations.choose import is_end
from lmworks.kernels.operations.follow import read_next, stop_if_interrupted
from lmworks.models import lookup

learn, look, worth = (inlined(one) for one in (lookup.learn, lookup.look, lookup.worth))


class FollowGuesses(Operands):
    """FOLLOW_GUESSES has no operands: what it needs is in the frame's LOOKUP."""


@compiled
def run(thread, threads, frame, step):
    """Thread 0 keeps the tokens up to the first that was not guessed, and guesses what follows."""
    if thread != 0:
        return
    stop_if_interrupted(frame)
    guesses = field(frame, Field.LOOKUP)
    state = carray(longs_at(guesses), lookup.WORDS)
    text = carray(longs_at(state[lookup.TEXT]), state[lookup.SEEN] + state[lookup.ROOM])
    ends = carray(longs_at(state[lookup.ENDS]), state[lookup.SLOTS])
    right = carray(doubles_at(state[lookup.BELIEFS]), state[lookup.MATCH] + 1)
    costs = carray(doubles_at(state[lookup.TIMES]), len(lookup.COSTS) + 1)
    tokens, ids = field(frame, Field.TOKENS), field(frame, Field.IDS)
    chosen = field(frame, Field.CHOSEN) + 8 * state[lookup.WRITTEN]
    kept, token, goes_on = 0, 0, True
    while goes_on:
        token = field(chosen, kept)
        if token < 0:
            state[lookup.LEFT], goes_on = kept, False
            break
        learn(token, text, state, right)
        text[state[lookup.SEEN]] = token
        state[lookup.SEEN] += 1
        look(text, state, ends)
        kept += 1
        goes_on = not is_end(field(frame, Field.CHOICES), token)
        if kept == tokens or token != field(ids, kept):
            break
        state[lookup.RIGHT] += 1
    state[lookup.TRIED] += tokens - 1
    state[lookup.WRITTEN] += kept
    left = state[lookup.ROOM] - state[lookup.WRITTEN]
    if not goes_on or left == 0:
        put_field(frame, Field.STOP, 1)
        return
    count = 1 + worth(state, right, costs, min(state[lookup.MOST], left - 1), 1)
    first = long_at(field(frame, Field.POSITIONS)) + kept
    read_next(frame, 0, token, first)
    place, seen = state[lookup.NEXT], state[lookup.SEEN]
    for number in range(1, count):
        read_next(frame, number, text[place + (number - 1) % (seen - place)], first + number)
    # Tokens of a tile, and do threads share the text's pages?
    size, shared = field(state[lookup.CUTS], 2 * count), field(state[lookup.CUTS], 2 * count + 1)
    tiles = (count + size - 1) // size
    for number in range(tiles):
        put_long(field(frame, Field.TILES) + 16 * number, number * size)
        put_long(field(frame, Field.TILES) + 16 * number + 8, min(size, count - number * size))
    put_field(frame, Field.TILE_COUNT, tiles)
    put_field(frame, Field.PARTS, (first + count - 1) // 64 + 1 if shared != 0 else 1)
    put_field(frame, Field.TOKENS, count)


FOLLOW_GUESSES = Operation(FollowGuesses, run, moves_texts=True)
