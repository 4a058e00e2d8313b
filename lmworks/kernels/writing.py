"""A run that writes: tokens are chosen, and read next.

Where a row guesses what follows, it reads its guesses with the token before them, keeps those that it would have written, and guesses
again (lookup.py), all without Python.
"""

from __future__ import annotations

from numba import carray

from lmworks.kernels.frame import Field
from lmworks.kernels.next_token import CHOICE_WORDS, JUDGED
from lmworks.kernels.scalars import (
    atomic_load,
    compiled,
    double_at,
    doubles_at,
    field,
    inlined,
    long_at,
    longs_at,
    put_double,
    put_long,
    single_at,
)
from lmworks.kernels.softmax import choose_next, is_end, log_total
from lmworks.models import lookup

TOKENS, IDS, POSITIONS, ENDS, TILES, TILE_COUNT, PARTS, STOP = (
    int(one)
    for one in (
        Field.TOKENS, Field.IDS, Field.POSITIONS, Field.ENDS, Field.TILES, Field.TILE_COUNT, Field.PARTS, Field.STOP,
    )
)  # fmt: skip
HURRY, CHOICES, SHARES, CHOSEN, LOGPROBS, LOOKUP, ROUNDS = (
    int(one)
    for one in (
        Field.HURRY, Field.CHOICES, Field.SHARES, Field.CHOSEN, Field.LOGPROBS, Field.LOOKUP, Field.ROUNDS,
    )
)  # fmt: skip
learn, look, worth = (inlined(one) for one in (lookup.learn, lookup.look, lookup.worth))


@inlined
def run_choose(thread, threads, frame, step, round_):
    """The next token behind each."""
    logits, stride, size = field(step, 1), field(step, 2), field(step, 3)
    room, tokens, guesses = field(step, 4) + thread * field(step, 5), field(frame, TOKENS), field(frame, LOOKUP)
    for row in range(thread, tokens, threads):
        number, chooser, behind = round_ * tokens + row, row, round_
        if guesses != 0:
            number, chooser = field(guesses, lookup.WRITTEN) + row, 0
            behind = number
        of, choice = logits + row * stride, field(frame, CHOICES) + 8 * CHOICE_WORDS * chooser
        total = log_total(of, size, room) if field(choice, JUDGED) != 0 else 0.0
        token = choose_next(of, size, choice, behind, double_at(field(frame, SHARES) + 8 * number), room)
        put_long(field(frame, CHOSEN) + 8 * number, token)
        put_double(field(frame, LOGPROBS) + 8 * number, -total if token < 0 else single_at(of + 4 * token) - total)


@inlined
def run_follow(thread, frame, round_):
    """What is read next: the tokens that were chosen, one for each row, or what a row that guesses by itself keeps and guesses."""
    if thread != 0:
        return
    if atomic_load(field(frame, HURRY)) != 0:
        put_long(frame + 8 * STOP, 1)
    if field(frame, LOOKUP) != 0:
        follow_guesses(frame, field(frame, LOOKUP))
    else:
        tokens = field(frame, TOKENS)
        for row in range(tokens):
            token, choice = (
                field(field(frame, CHOSEN), round_ * tokens + row),
                field(frame, CHOICES) + 8 * CHOICE_WORDS * row,
            )
            if token < 0 or is_end(choice, token):
                put_long(frame + 8 * STOP, 1)
            # Behind the last round a row may have no page left, and a helper that is late (claims.py) may look.
            if token >= 0 and round_ + 1 < field(frame, ROUNDS):
                tell(frame, row, token, field(field(frame, POSITIONS), row) + 1)


@inlined
def tell(frame, row, token, position):
    """What the frame says of a token of the next round, which sees all before it."""
    put_long(field(frame, IDS) + 8 * row, token)
    put_long(field(frame, POSITIONS) + 8 * row, position)
    put_long(field(frame, ENDS) + 8 * row, position + 1)


@compiled
def follow_guesses(frame, guesses):
    """Keep the tokens behind guesses up to the first that is another one, and guess what follows (lookup.py)."""
    state = carray(longs_at(guesses), lookup.WORDS)
    text = carray(longs_at(state[lookup.TEXT]), state[lookup.SEEN] + state[lookup.ROOM])
    ends = carray(longs_at(state[lookup.ENDS]), state[lookup.SLOTS])
    right = carray(doubles_at(state[lookup.BELIEFS]), state[lookup.MATCH] + 1)
    costs = carray(doubles_at(state[lookup.TIMES]), len(lookup.COSTS) + 1)
    tokens, ids, chosen = field(frame, TOKENS), field(frame, IDS), field(frame, CHOSEN) + 8 * state[lookup.WRITTEN]
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
        goes_on = not is_end(field(frame, CHOICES), token)
        if kept == tokens or token != field(ids, kept):
            break
        state[lookup.RIGHT] += 1
    state[lookup.TRIED] += tokens - 1
    state[lookup.WRITTEN] += kept
    left = state[lookup.ROOM] - state[lookup.WRITTEN]
    if not goes_on or left == 0:
        put_long(frame + 8 * STOP, 1)
        return
    count, first = (
        1 + worth(state, right, costs, min(state[lookup.MOST], left - 1), 1),
        long_at(field(frame, POSITIONS)) + kept,
    )
    tell(frame, 0, token, first)
    place, seen = state[lookup.NEXT], state[lookup.SEEN]
    for number in range(1, count):
        tell(frame, number, text[place + (number - 1) % (seen - place)], first + number)
    # Tokens of a tile, and are the pages shared among the threads?
    size, shared = field(state[lookup.CUTS], 2 * count), field(state[lookup.CUTS], 2 * count + 1)
    tiles = (count + size - 1) // size
    for number in range(tiles):
        put_long(field(frame, TILES) + 16 * number, number * size)
        put_long(field(frame, TILES) + 16 * number + 8, min(size, count - number * size))
    put_long(frame + 8 * TILE_COUNT, tiles)
    put_long(frame + 8 * PARTS, (first + count - 1) // 64 + 1 if shared != 0 else 1)
    put_long(frame + 8 * TOKENS, count)
