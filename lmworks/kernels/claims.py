"""Units of a step that a leader and its helpers claim, so that nobody waits for a thread that has lost its core.

Where threads have fixed shares, one whose core is busy with something else holds up all. When that happens (team.py), thread 0
leads: it alone goes from step to step and writes results. Blocks of a matrix and units of attention are claimed by the leader
from the front, by helpers from the back. A helper puts its results into memory of its own and marks each unit behind it; the
leader takes them over, and does again what was claimed and is not marked soon.

A helper that comes late marks a step that is over, which nobody looks for: numbers of steps go on from run to run. It may still
be at a matrix when the run has ended, so that what that reads stays longer (`Team.keep`); for who is at attention, whose pages
belong to texts, the end of a run waits.

In the barrier (frame.py) stand at CLAIMS the last digits of the step's number, the first unit that is not claimed, and the end of
these, in one word; behind it the number and the step's address, written first. OVER in its place ends the help.

A leader that loses its core holds up all as well. So threads have cores of their own while one leads (Linux), and a helper that finds
nothing to do for long changes places with it.
"""

from __future__ import annotations

from lmworks.kernels.frame import ALONE, CLAIMS, CORE_WORDS, HELPED, LOOKS, MASK_WORDS, MOST_UNITS, OVER, Field
from lmworks.kernels.scalars import (
    atomic_add,
    atomic_load,
    atomic_raise,
    atomic_store,
    atomic_swap,
    compiled,
    field,
    inlined,
    keep_on,
    long_at,
    pause,
    put_long,
)

BARRIER, MARKS, TOKENS = int(Field.BARRIER), int(Field.MARKS), int(Field.TOKENS)
BITS, MASK, EPOCHS = 20, MOST_UNITS, 2**22 - 1
EPOCH, STEP = 8, 16
"""Behind CLAIMS: the number of the step, and its address."""
UNTAKEN, PATIENT = 16, 24
"""For the leader alone, behind HELPED: the end of the units that are neither taken over nor done again, and how often it looks for a mark."""
ATTENDS = LOOKS + 8
"""Of each thread, 64 bytes apart: a helper reads pages."""
MARK_LOOKS = 256
"""So often the leader looks for a mark, some 10 microseconds for each 16 tokens: once in a step, as who is late then has lost its core."""


@inlined
def begin_step(frame, step, units):
    """Let the units of the next step be claimed; returns its number."""
    claims = field(frame, BARRIER) + CLAIMS
    epoch = long_at(claims + EPOCH) + 1
    helped = field(frame, BARRIER) + HELPED
    put_long(helped + 8, long_at(helped + 8) + units)
    put_long(helped + UNTAKEN, units)
    put_long(helped + PATIENT, MARK_LOOKS * (1 + field(frame, TOKENS) // 16))
    put_long(claims + STEP, step)
    put_long(claims + EPOCH, epoch)
    atomic_store(claims, (epoch & EPOCHS) << 2 * BITS | units)
    return epoch


@inlined
def next_step(frame):
    """For a helper: the number of the step that has units left, 0 where none has, ALONE where none comes soon, OVER where none comes."""
    claims = field(frame, BARRIER) + CLAIMS
    state = atomic_load(claims)
    epoch = long_at(claims + EPOCH)
    if state < 0:
        return state
    return epoch if state >> BITS & MASK < state & MASK and state >> 2 * BITS == epoch & EPOCHS else 0


@inlined
def address_of_step(frame):
    """Of the step whose number `next_step` gave; another one's only where nothing of that can be claimed any more."""
    return long_at(field(frame, BARRIER) + CLAIMS + STEP)


@compiled
def next_units(thread, threads, frame, epoch):
    """What this thread does next: begin << BITS | end of units, or 0 where nothing is left; negative where the leader takes over what
    helpers found."""
    claims = field(frame, BARRIER) + CLAIMS
    while True:
        state = atomic_load(claims)
        front, back = state >> BITS & MASK, state & MASK
        if state >> 2 * BITS != epoch & EPOCHS:
            return 0
        if front >= back:
            break
        count = (back - front + threads - 1) // threads  # guided self-scheduling: Polychronopoulos and Kuck 1987
        if thread == 0:
            if atomic_swap(claims, state, state + (count << BITS)):
                return front << BITS | front + count
        elif atomic_swap(claims, state, state - count):
            return back - count << BITS | back
    helped = field(frame, BARRIER) + HELPED
    end, marks, looks = long_at(helped + UNTAKEN), field(frame, MARKS), long_at(helped + PATIENT)
    if thread != 0 or end <= back:
        return 0
    begin = end - 1
    while atomic_load(marks + 8 * begin) // threads != epoch and looks > 0:
        pause()
        looks -= 1
    if atomic_load(marks + 8 * begin) // threads != epoch:
        put_long(helped + UNTAKEN, begin)
        put_long(helped + PATIENT, 0)
        return begin << BITS | end
    while begin > back and atomic_load(marks + 8 * (begin - 1)) // threads == epoch:
        begin -= 1
    put_long(helped, long_at(helped) + end - begin)
    put_long(helped + UNTAKEN, begin)
    return -(begin << BITS | end)


@inlined
def mark(thread, threads, frame, epoch, unit):
    """A helper's result of a unit is there; is its step still the one that is being done? Who is late marks nothing that was marked since:
    the leader looks at a mark twice."""
    atomic_raise(field(frame, MARKS) + 8 * unit, epoch * threads + thread)
    return atomic_load(field(frame, BARRIER) + CLAIMS) >> 2 * BITS == epoch & EPOCHS


@inlined
def helper_of(threads, frame, unit):
    """Who did a unit that the leader takes over."""
    return atomic_load(field(frame, MARKS) + 8 * unit) % threads


@inlined
def go_alone(frame):
    """The leader does something that takes long, and nobody helps."""
    atomic_store(field(frame, BARRIER) + CLAIMS, ALONE)


@inlined
def end_run(threads, frame, cores):
    """Send the helpers away, and wait for those that read pages, or move threads."""
    place = field(frame, BARRIER)
    # Nothing is left to claim, so that nobody changes it.
    atomic_swap(place + CLAIMS, atomic_load(place + CLAIMS), OVER)
    await_attending(threads, frame)
    while atomic_add(cores + 8, 0) != 0:
        pause()


@inlined
def await_attending(threads, frame):
    """Nobody reads pages, or what says whose they are, any more; behind a step of attention, of which nothing is left to claim."""
    for thread in range(1, threads):
        while atomic_load(field(frame, BARRIER) + ATTENDS + 64 * thread) != 0:
            pause()


@inlined
def change_cores(thread, frame, cores):
    """The leader gets this helper's core, which is free, and the helper that of the leader, which has lost it to somebody."""
    if atomic_swap(cores + 8, 0, 1):
        if atomic_add(field(frame, BARRIER) + CLAIMS, 0) != OVER:  # then nobody may touch the leader any more
            leader, helper = cores + 8 * CORE_WORDS, cores + 8 * CORE_WORDS * (1 + thread)
            for word in range(1, CORE_WORDS):
                of_leader = field(leader, word)
                put_long(leader + 8 * word, field(helper, word))
                put_long(helper + 8 * word, of_leader)
            keep_on(field(leader, 0), leader + 16, 8 * MASK_WORDS)
            keep_on(field(helper, 0), helper + 16, 8 * MASK_WORDS)
        atomic_store(cores + 8, 0)


@inlined
def begin_attending(thread, frame):
    """A helper reads pages, as soon as it has claimed something."""
    atomic_add(field(frame, BARRIER) + ATTENDS + 64 * thread, 1)


@inlined
def end_attending(thread, frame):
    """It reads none."""
    atomic_store(field(frame, BARRIER) + ATTENDS + 64 * thread, 0)
