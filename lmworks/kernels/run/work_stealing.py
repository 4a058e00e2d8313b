"""Work stealing: one thread leads, others help when they have a core, and nobody waits for one that has lost its core.

With fixed shares, a thread whose core is busy with something else holds up all. When that happens (team.py), thread 0
leads: it alone goes from step to step and writes results. Where a step has chunks (operation.Chunks), the leader claims
them from the front, and helpers claim them from the back. A helper leaves its results in its outbox and notes each
chunk as done; the leader takes them over, and does again what was claimed and is not done soon.

A late helper notes chunks of a step that is over, which nobody looks for: numbers of steps go on from run to run. It
may still be at a matrix when the run has ended, so what that reads is kept for longer (`Team.keep`); for helpers that
read texts, which belong to the caller, the end of a run waits.

In the barrier (frame.py), the word at CLAIMS holds the last digits of the step's number, the first chunk that is not
claimed, and the end of these; after it come the number and the step's address, which are written first. OVER in its
place ends the help.

A leader that loses its core holds up all as well. So threads have cores of their own while one leads (Linux), and a
helper that finds nothing to do for long changes places with the leader.

What it costs and brings: docs/fast.md. What the rest of the house calls: `lead_tape` and `help_tape`.
"""

from __future__ import annotations

from lmworks.kernels.emit.calls import call_count, call_do, call_run, call_take_over, entry_of
from lmworks.kernels.emit.scalars import (
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
    put_field,
    put_long,
)
from lmworks.kernels.frame import (
    ALONE,
    CLAIMS,
    CORE_WORDS,
    HELPED,
    LOOKS,
    MASK_WORDS,
    MOST_CHUNKS,
    OF_VOCABULARY,
    OVER,
    STEP_BYTES,
    Entry,
    Field,
)

BITS, MASK, NUMBERS = 20, MOST_CHUNKS, 2**22 - 1
NUMBER, STEP = 8, 16
"""After CLAIMS: the number of the step, and its address."""
UNTAKEN, PATIENT = 16, 24
"""After HELPED, for the leader alone: the end of the chunks that are neither taken over nor done again, and how often
it looks whether a chunk is done."""
READS = LOOKS + 8
"""For each thread, 64 bytes apart: a helper reads texts."""
DONE_LOOKS = 256
"""How often the leader looks whether a chunk is done, some 10 microseconds for each 16 tokens: once in a step, since a
helper that is late then has lost its core."""


@compiled
def lead_tape(threads, frame, cores):
    """Thread 0: every step of the frame's tape, with the others' help, round after round."""
    tape = field(frame, Field.TAPE)
    for round_ in range(field(frame, Field.ROUNDS)):
        for number in range(field(frame, Field.STEPS)):
            step = tape + number * STEP_BYTES
            entry, chunks = entry_of(frame, step), 0
            if field(entry, Entry.COUNT) != 0:
                chunks = call_count(field(entry, Entry.COUNT), frame, step)
            if chunks > 0:
                do_chunks(0, threads, frame, step, begin_step(frame, step, chunks))
            else:
                if field(entry, Entry.TAKES_LONG) != 0 or field(frame, Field.TOKENS) > OF_VOCABULARY:
                    atomic_store(field(frame, Field.BARRIER) + CLAIMS, ALONE)
                if field(entry, Entry.MOVES_TEXTS) != 0:
                    await_readers(threads, frame)
                call_run(field(entry, Entry.RUN), 0, 1, frame, step)
        put_field(frame, Field.ROUNDS_DONE, round_ + 1)
        if field(frame, Field.STOP) != 0:
            break
    end_help(threads, frame, cores)


@compiled
def help_tape(thread, threads, frame, cores):
    """Any other thread: chunks that can be claimed, until the leader says that the run is over."""
    looks = 0
    while True:
        number = next_step(frame)
        if number == OVER:
            break
        if number <= 0:
            pause()
            looks = looks + 1 if number == 0 else 0
            if looks > 0 and looks == field(cores, 0):
                change_cores(thread, frame, cores)
                looks = 0
            continue
        # Of another step only where nothing of step `number` can be claimed any more.
        step, looks = long_at(field(frame, Field.BARRIER) + CLAIMS + STEP), 0
        reads = field(entry_of(frame, step), Entry.READS_TEXTS) != 0
        if reads:
            atomic_add(field(frame, Field.BARRIER) + READS + 64 * thread, 1)
        do_chunks(thread, threads, frame, step, number)
        if reads:
            atomic_store(field(frame, Field.BARRIER) + READS + 64 * thread, 0)


@inlined
def do_chunks(thread, threads, frame, step, number):
    """Chunks of step `number` until none is left; the leader also takes over what helpers did."""
    entry = entry_of(frame, step)
    while True:
        claimed = next_chunks(thread, threads, frame, number)
        if claimed == 0:
            break
        begin, end = abs(claimed) >> BITS, abs(claimed) & MASK
        if claimed < 0:
            for chunk in range(begin, end):
                call_take_over(field(entry, Entry.TAKE_OVER), chunk, helper_of(threads, frame, chunk), frame, step)
        elif thread == 0:
            call_do(field(entry, Entry.DO), begin, end, 0, 0, frame, step)
        else:
            for chunk in range(begin, end):
                call_do(field(entry, Entry.DO), chunk, chunk + 1, thread, thread, frame, step)
                if not note_done(thread, threads, frame, number, chunk):
                    break


@inlined
def begin_step(frame, step, chunks):
    """Let the chunks of the next step be claimed; returns its number."""
    claims, helped = field(frame, Field.BARRIER) + CLAIMS, field(frame, Field.BARRIER) + HELPED
    number = long_at(claims + NUMBER) + 1
    put_long(helped + 8, long_at(helped + 8) + chunks)
    put_long(helped + UNTAKEN, chunks)
    put_long(helped + PATIENT, DONE_LOOKS * (1 + field(frame, Field.TOKENS) // 16))
    put_long(claims + STEP, step)
    put_long(claims + NUMBER, number)
    atomic_store(claims, (number & NUMBERS) << 2 * BITS | chunks)
    return number


@inlined
def next_step(frame):
    """For a helper: the number of the step that has chunks left; 0 where none has, ALONE where none comes soon, OVER
    where none comes."""
    claims = field(frame, Field.BARRIER) + CLAIMS
    state = atomic_load(claims)
    number = long_at(claims + NUMBER)
    if state < 0:
        return state
    return number if state >> BITS & MASK < state & MASK and state >> 2 * BITS == number & NUMBERS else 0


@inlined
def next_chunks(thread, threads, frame, number):
    """What this thread does next: begin << BITS | end of chunks, or 0 where nothing is left; negative where the leader
    takes over what helpers did."""
    claims = field(frame, Field.BARRIER) + CLAIMS
    while True:
        state = atomic_load(claims)
        front, back = state >> BITS & MASK, state & MASK
        if state >> 2 * BITS != number & NUMBERS:
            return 0
        if front >= back:
            break
        count = (back - front + threads - 1) // threads  # guided self-scheduling: Polychronopoulos and Kuck 1987
        if thread == 0:
            if atomic_swap(claims, state, state + (count << BITS)):
                return front << BITS | front + count
        elif atomic_swap(claims, state, state - count):
            return back - count << BITS | back
    helped, done = field(frame, Field.BARRIER) + HELPED, field(frame, Field.DONE)
    end, looks = long_at(helped + UNTAKEN), long_at(helped + PATIENT)
    if thread != 0 or end <= back:
        return 0
    begin = end - 1
    while atomic_load(done + 8 * begin) // threads != number and looks > 0:
        pause()
        looks -= 1
    if atomic_load(done + 8 * begin) // threads != number:
        put_long(helped + UNTAKEN, begin)
        put_long(helped + PATIENT, 0)
        return begin << BITS | end
    while begin > back and atomic_load(done + 8 * (begin - 1)) // threads == number:
        begin -= 1
    put_long(helped, long_at(helped) + end - begin)
    put_long(helped + UNTAKEN, begin)
    return -(begin << BITS | end)


@inlined
def note_done(thread, threads, frame, number, chunk):
    """A helper's result of a chunk is there; is its step still the one that is being done? A late helper changes
    nothing that was noted since: the leader looks twice."""
    atomic_raise(field(frame, Field.DONE) + 8 * chunk, number * threads + thread)
    return atomic_load(field(frame, Field.BARRIER) + CLAIMS) >> 2 * BITS == number & NUMBERS


@inlined
def helper_of(threads, frame, chunk):
    """Who did a chunk that the leader takes over."""
    return atomic_load(field(frame, Field.DONE) + 8 * chunk) % threads


@inlined
def await_readers(threads, frame):
    """No helper reads texts any more; after a step of which nothing is left to claim."""
    for thread in range(1, threads):
        while atomic_load(field(frame, Field.BARRIER) + READS + 64 * thread) != 0:
            pause()


@inlined
def end_help(threads, frame, cores):
    """Send the helpers away, and wait for those that read texts, or move threads."""
    place = field(frame, Field.BARRIER)
    # Nothing is left to claim, so nobody changes it.
    atomic_swap(place + CLAIMS, atomic_load(place + CLAIMS), OVER)
    await_readers(threads, frame)
    while atomic_add(cores + 8, 0) != 0:
        pause()


@inlined
def change_cores(thread, frame, cores):
    """The leader gets this helper's core, which is free, and the helper that of the leader, which has lost it."""
    if atomic_swap(cores + 8, 0, 1):
        if atomic_add(field(frame, Field.BARRIER) + CLAIMS, 0) != OVER:  # then nobody may touch the leader any more
            leader, helper = cores + 8 * CORE_WORDS, cores + 8 * CORE_WORDS * (1 + thread)
            for word in range(1, CORE_WORDS):
                of_leader = field(leader, word)
                put_field(leader, word, field(helper, word))
                put_field(helper, word, of_leader)
            keep_on(field(leader, 0), leader + 16, 8 * MASK_WORDS)
            keep_on(field(helper, 0), helper + 16, 8 * MASK_WORDS)
        atomic_store(cores + 8, 0)
