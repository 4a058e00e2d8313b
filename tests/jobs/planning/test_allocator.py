"""The replayed heap: what fits is taken again, neighbours are joined, and holes are what is left over."""

from __future__ import annotations

from lmworks.jobs.planning.allocator import ALIGNED, Heap, Stepping, holes

MB = 10**6


def test_a_freed_block_is_taken_again_and_freed_neighbours_are_one():
    heap = Heap()
    for name in "abcd":
        heap.take(name, MB)
    heap.give("b")
    heap.take("e", MB)
    assert heap.top == heap.most == 4 * (MB + ALIGNED), "e lies where b was"
    heap.give("c")
    heap.give("e")
    heap.take("f", 2 * MB)
    assert heap.top == heap.most, "f lies where e and c were"
    heap.give("d")
    heap.give("f")
    assert heap.top == heap.alive == MB + ALIGNED, "what is free at the end belongs to the top"


def test_the_smallest_hole_that_fits_is_taken():
    heap = Heap()
    for name, size in (("large", 3 * MB), ("one", 1), ("small", MB), ("other", 1)):
        heap.take(name, size)
    heap.give("large")
    heap.give("small")
    heap.take("next", MB)
    heap.take("last", 3 * MB)
    assert heap.most == 4 * MB + 2 + 4 * ALIGNED


def test_holes_are_what_no_later_block_fits_into():
    growing = [(1, MB), (2, 1), (-1, 0), (3, 2 * MB), (-2, 0), (-3, 0)]
    nothing = Stepping(0.0, 0.0)
    assert abs(holes(growing, [], nothing) - MB) < 1000, "the second block lies beyond the first one's hole"
    assert holes([(1, MB), (-1, 0), (2, MB), (-2, 0)], [], nothing) == 0


def test_what_an_optimiser_keeps_takes_the_room_of_activations():
    activations = [(1, 8 * MB), (2, MB), (-1, 0)]
    assert holes(activations, [999_000], Stepping(8.0)) < 10_000, "and those of the next step lie above"
    halves = [(1, 4 * MB), (2, MB), (3, 4 * MB), (4, MB), (-1, 0), (-3, 0)]
    assert holes(halves, [999_000], Stepping(8.0)) < 10_000
    assert abs(holes(halves, [999_000], Stepping(0.0, 4.0)) - 0) < 10_000


def test_what_a_step_makes_beside_gradients_counts_while_it_steps():
    gradients = [(1, 4 * MB)]
    assert holes(gradients, [MB], Stepping(8.0, 8.0)) == 0
