"""The interpreter: one step of a tape after another, each shared among the threads, with a barrier after it.

It knows no operation. A step names its operation by number, and the frame's table holds the functions, each compiled by
itself: a new network is a new tape, and a new operation is compiled alone.
"""

from __future__ import annotations

from lmworks.kernels.emit.calls import call_run, entry_of
from lmworks.kernels.emit.scalars import (
    atomic_add,
    atomic_load,
    atomic_store,
    compiled,
    field,
    give_way,
    inlined,
    pause,
    put_field,
    put_long,
)
from lmworks.kernels.frame import ARRIVALS, LOOKS, STEP_BYTES, TAKEN, Entry, Field, Job
from lmworks.kernels.run.work_stealing import help_tape, lead_tape

PATIENCE = 2048
"""Looks at a barrier, some 50 microseconds, before the core is offered to others."""


@inlined
def barrier(place, threads):
    """Wait until all threads are here; then all see what any of them stored before. Returns how often it looked."""
    looks = 0
    if threads > 1:
        round_ = atomic_load(place + ARRIVALS)
        if atomic_add(place, 1) == threads - 1:
            atomic_store(place, 0)
            atomic_store(place + TAKEN, 0)  # for the next matrix
            atomic_store(place + ARRIVALS, round_ + 1)
        else:
            while atomic_load(place + ARRIVALS) == round_:
                pause()
                looks += 1
                if looks % PATIENCE == 0:  # the other may be waiting for this very core
                    give_way()
    return looks


@compiled
def share_tape(thread, threads, frame):
    """This thread's share of every step of the frame's tape, round after round.

    How often it looked while it waited for others is left in the barrier, up to the last wait.
    """
    tape, place, looks = field(frame, Field.TAPE), field(frame, Field.BARRIER), 0
    for round_ in range(field(frame, Field.ROUNDS)):
        for number in range(field(frame, Field.STEPS)):
            step = tape + number * STEP_BYTES
            call_run(field(entry_of(frame, step), Entry.RUN), thread, threads, frame, step)
            put_long(place + LOOKS + 64 * thread, looks)
            looks += barrier(place, threads)
        stops = field(frame, Field.STOP)
        if thread == 0:
            put_field(frame, Field.ROUNDS_DONE, round_ + 1)
        barrier(place, threads)  # before anybody leaves, whose next run begins with another STOP
        if stops != 0:
            break


@compiled
def wait_for(place, seen, spins):
    """The number at `place` as soon as it is not `seen`; `seen` itself after this many looks."""
    for _ in range(spins):
        now = atomic_load(place)
        if now != seen:
            return now
        pause()
    return seen


@compiled
def run(thread, jobs, looks):
    """Thread 0: do the job. Any other thread: do jobs as they come, until none has come for this many looks.

    A thread stays in compiled code between two jobs: it would take Python's lock from thread 0, which prepares the
    next."""
    own = jobs + 64 * thread
    done = field(own, Job.DONE)
    while True:
        job = wait_for(own, done, looks) if thread != 0 else done + 1
        if job == done:
            break
        frame, threads, cores = field(jobs, Job.FRAME), field(jobs, Job.THREADS), field(jobs, Job.CORES)
        if field(frame, Field.LED) == 0:
            share_tape(thread, threads, frame)
        elif thread == 0:
            lead_tape(threads, frame, cores)
        else:
            help_tape(thread, threads, frame, cores)
        done = job
        atomic_store(own + 8 * Job.DONE, done)
        if thread == 0:
            break


@compiled
def signal(place, number):
    """Put a number there for a thread that waits."""
    atomic_store(place, number)
