"""Prompt lookup in plain numbers: where a text has run like this before, and how much of what followed there pays to
be read at once (Saxena 2023, https://github.com/apoorvumang/prompt-lookup-decoding).

Python runs the functions on arrays of integers and floats; the interpreter compiles the same ones for rows that
guess by themselves. Hence no function here calls another, and this file imports no numba. A table of open
addressing holds where each run of up to `match` tokens ended last, so that a look costs the same in a long text.
"""

from __future__ import annotations

from array import array
from collections.abc import MutableSequence, Sequence

# Words of the state; the last ones tell a run (writing.py) of the arrays, and of what it may write.
SEEN, NEXT, FOLLOWS, MATCH = range(4)
WRITTEN, TRIED, RIGHT, LEFT = range(4, 8)
TEXT, ENDS, SLOTS, BELIEFS, TIMES, CUTS, MOST, ROOM = range(8, 16)
WORDS = 16
"""SEEN tokens of the text; the place of the one that is believed to follow (-1: none); of what kind that belief is:
after a run of this many tokens, or (0) after a guess that was right. Then what a run did: WRITTEN tokens; guesses
that were read, and those of them that were right; the row of the logits that are LEFT for Python to choose from (-1:
none)."""

COSTS = (1.0, 1.15, 1.3, 1.4, 1.9, 2.05, 2.2, 2.05, 2.4, 2.65, 2.9, 3.05, 3.4, 3.6, 3.85, 3.9)
EACH_MORE = 0.22
"""Time of a step that reads 1, 2, ... 16 tokens in all its rows, and for each further one, beside a token that a row
writes without guesses (`python -m benchmarks.engine steps`: SmolLM2-135M, 4 bits, compiled, two cores with AVX-512
and quick memory; beside slow memory 16 tokens take 2.4). There are matrix kernels for 1, 2, 3, 4, 8 and 16 tokens,
so that 8 take less time than 7."""
FIRST, LATER = 0.3, 0.9
"""What is believed at the beginning: a guess is right after one token that stood before (longer runs: more), and
after a guess that was right."""
REMEMBERED = 0.9
"""Share of such a belief that stays when one more guess turns out right or wrong."""
LOW_BITS = 2**31 - 1
"""Of a hash, which multiplied by less than 2^31 stays in 64 bits."""


def learn(token: int, text: Sequence[int], state: MutableSequence[int], right: MutableSequence[float]) -> None:
    """One more token is written; what was believed of it was right, wrong, or there was no belief."""
    place, kind = state[NEXT], state[FOLLOWS]
    if place >= 0:
        is_right = 1.0 if text[place] == token else 0.0
        right[kind] += (1 - REMEMBERED) * (is_right - right[kind])
        state[NEXT], state[FOLLOWS] = (place + 1 if is_right > 0 else -1), 0


def look(text: Sequence[int], state: MutableSequence[int], ends: MutableSequence[int]) -> None:
    """Believe, unless something is believed already, in what followed the longest run of tokens that ends the SEEN
    ones and ended before; and remember that it ends here."""
    end, match, mask = state[SEEN], state[MATCH], len(ends) - 1
    for length in range(min(match, end), 0, -1):
        mixed = length
        for place in range(end - length, end):
            mixed = (mixed * 1_640_531_527 + text[place]) & LOW_BITS
        slot, before = (mixed ^ mixed >> 15) & mask, 0
        while ends[slot] != 0:
            before = ends[slot] // (match + 1)
            same = ends[slot] % (match + 1) == length
            for back in range(1, length + 1 if same else 1):
                same = same and text[before - back] == text[end - back]
            if same:
                break
            slot = (slot + 1) & mask
        if ends[slot] != 0 and state[NEXT] < 0:
            state[NEXT], state[FOLLOWS] = before, length
        ends[slot] = end * (match + 1) + length


def worth(state: Sequence[int], right: Sequence[float], costs: Sequence[float], most: int, beside: int) -> int:
    """The number of guesses with the most tokens for the time of their step, if the rows `beside` (its own counted)
    guess as many: in a batch all have to bear what each adds."""
    known, best, found = len(costs) - 1, 0.0, 0
    chance = tokens = 1.0
    if state[NEXT] >= 0:
        for count in range(most + 1):
            if count > 0:
                chance *= right[state[FOLLOWS] if count == 1 else 0]
                tokens += chance
            read = beside * (1 + count)
            rate = tokens / (costs[min(read, known) - 1] + costs[known] * max(read - known, 0))
            if rate > best:
                best, found = rate, count
    return found


class PromptLookup:
    """One text, as far as it was seen, and what is believed of it."""

    def __init__(self, match: int, most: int) -> None:
        """Runs of up to `match` tokens are looked for, and at most `most` are guessed."""
        self.most = most
        self.state = array("q", [0, -1, 0, match, *[0] * (WORDS - 4)])
        self.right = array("d", [LATER, *(FIRST ** (1 / length) for length in range(1, match + 1))])
        self.costs = array("d", [*COSTS, EACH_MORE])
        self.text, self.ends = array("q"), array("q", [0])

    def observe(self, tokens: Sequence[int], written: int) -> None:
        """The text so far, its last `written` tokens an answer: a prompt says nothing about how an answer quotes."""
        state, text = self.state, self.text
        self.reserve(len(tokens) - state[SEEN])
        text, ends = self.text, self.ends
        for place in range(state[SEEN], len(tokens)):
            if place >= len(tokens) - written:
                learn(tokens[place], text, state, self.right)
            else:
                state[NEXT] = -1
            text[place], state[SEEN] = tokens[place], place + 1
            look(text, state, ends)

    def guess(self, most: int, beside: int) -> tuple[int, ...]:
        """What follows the place that is believed in, as far as it pays; after the end of the text the copy goes on
        with itself, as a repetition does."""
        place, seen = self.state[NEXT], self.state[SEEN]
        count = worth(self.state, self.right, self.costs, min(most, self.most), beside)
        return tuple(self.text[place + at % (seen - place)] for at in range(count))

    def reserve(self, tokens: int) -> None:
        """Room for this many more tokens."""
        state = self.state
        needed, match = state[SEEN] + tokens, state[MATCH]
        if needed > len(self.text):
            self.text.extend([0] * (max(needed, 2 * len(self.text), 256) - len(self.text)))
        if 2 * match * needed > len(self.ends):  # at most half full
            self.ends = array("q", bytes(8 << (3 * match * needed).bit_length()))
            seen, believed = state[SEEN], state[NEXT]
            state[NEXT] = 0  # nothing else is believed meanwhile
            for end in range(1, seen + 1):
                state[SEEN] = end
                look(self.text, state, self.ends)
            state[NEXT] = believed

    def ready(self, tokens: int, cuts: int) -> int:
        """Prepare for a run that may write this many tokens; returns the address of the table that says where the
        arrays are. `cuts` is that of the compiled network's."""
        self.reserve(tokens)
        state = self.state
        for word, one in ((TEXT, self.text), (ENDS, self.ends), (BELIEFS, self.right), (TIMES, self.costs)):
            state[word] = one.buffer_info()[0]
        state[SLOTS], state[CUTS], state[MOST], state[ROOM] = len(self.ends), cuts, self.most, tokens
        state[WRITTEN], state[TRIED], state[RIGHT], state[LEFT] = 0, 0, 0, -1
        return state.buffer_info()[0]

    def outcome(self) -> tuple[int, int, int, int]:
        """Of a run: tokens that were written, guesses that were read, those that were right, and the row of the
        logits that are left (-1: none)."""
        written, tried, right, left = self.state[WRITTEN : LEFT + 1]
        return written, tried, right, left
