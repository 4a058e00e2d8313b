"""Packs a PyTorch network for the compiled path: its matrices in few bits, its vectors in float32.

packer = Packer(network, bits=4)
packer.matrices(), packer.vectors()          # or packer.each(), to write them one after another

All cores take part: one looks for outliers, on which no packed byte depends, while the others pack, some rows at once,
and whoever asked for the matrices writes them meanwhile. A few parts are held at a time, however large a network is.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, replace
from functools import partial
from math import prod

import numpy as np
import torch
from torch import Tensor

from lmworks.basics import progress
from lmworks.basics.ahead import begin, in_order, pool_of, usable_cores
from lmworks.basics.arrays import Float
from lmworks.basics.threads import one_thread
from lmworks.kernels.outlier_search import outliers
from lmworks.kernels.packed import ROWS, Arena, Each, Packed, Stored, packed_bytes
from lmworks.kernels.packing import AT_ONCE, bits_of, pack, quantised
from lmworks.kernels.run.turns import kept_turns
from lmworks.kernels.run.weights import ENCODER, SEGMENTS, is_multiplied, is_vocabulary
from lmworks.kernels.text_classifier import is_of_classifier
from lmworks.models.adapted import own_parameters
from lmworks.models.experts import Router
from lmworks.models.latent_attention import LatentAttention
from lmworks.models.network import Network
from lmworks.models.stack import Stack
from lmworks.models.unread import present, rows_of


class Packer:
    """Reads out a network; what a file holds of it in few bits (`stored`) is packed as it is."""

    def __init__(self, network: Network, bits: int, stored: Stored | None = None) -> None:
        self.network, self.bits, self.stored = network, bits, stored
        self._parameters, self._by_head = own_parameters(network), _of_latent(network)
        self.outliers: dict[str, tuple[int, ...]] = {}
        """Of each matrix that has some; known when the last of `each` was taken."""

    @property
    def weights(self) -> int:
        """How many the network has."""
        return sum(one.numel() for one in self._parameters.values())

    def matrices(self) -> dict[str, Packed]:
        """All matrices, in memory."""
        widths, found = self._widths(), {}
        arena = Arena(sum(packed_bytes(self._shape(name), bits) for name, bits in widths.items()))
        with contextlib.closing(self.each()) as each:
            for name, parts in each:
                whole = list(parts)
                data = arena.take(sum(len(part.data) for part in whole))
                np.concatenate([part.data for part in whole], out=data)
                found[name] = joined(whole, data)
        return {name: one.beside(self.outliers.get(name, ())) for name, one in found.items()}

    def each(self) -> Each:
        """Each matrix in parts of some rows, without its outliers, in an order that is always the same; progress hears
        of each weight twice. Close it where you may not take all."""
        widths, cores = self._widths(), usable_cores()
        size = 2 * sum(prod(self._shape(name)) for name in widths)
        with progress.task("packing weights", size) as advance, one_thread(), pool_of(cores, "packing") as pool:
            done = _Done(advance, self.stored)
            search = begin(pool, partial(outliers, self.network, done))
            try:
                parts = in_order(pool, self._every_part(widths), 2 * cores)
                for name, of_one in itertools.groupby(parts, key=lambda part: part[0]):
                    yield name, (part for _, part in of_one)
                    done(prod(self._shape(name)))
                    if search.done():
                        search.result()  # what it failed with
                self.outliers = search.result()
            finally:
                done.is_wanted = False

    def vectors(self) -> dict[str, Float[np.ndarray, " numbers"]]:
        """What is read in float32: weights of norms, as they are multiplied by, biases, routers and what experts are
        preferred by, classifiers, kernels of convolutions with a row for each token, convolutions before an encoder of
        sound, what is added at a position, for a segment, and what heads are rotated by."""
        offset = {f"{path}.weight" for path, one in self.network.named_modules() if getattr(one, "unit_offset", False)}
        found, classifies = {}, self.network.classifier is not None
        for name, parameter in self._parameters.items():
            routes = name.endswith((".router.weight", ".shared_gate.weight"))
            in_front = name.startswith(f"{ENCODER}conv")
            if parameter.ndim == 1 or in_front or routes or (classifies and is_of_classifier(name)):
                numbers = self._floats(name, parameter).detach().float()
                found[name] = (1 + numbers if name in offset else numbers).flatten().numpy()
            elif name.endswith(".attention.kernel"):
                found[name] = self._floats(name, parameter).detach().float().flatten(1).T.flatten().numpy()
        for path, router in self.network.named_modules():
            if isinstance(router, Router) and router.preference is not None:
                found[f"{path}.preference"] = router.preference.detach().float().numpy()
        for stack, path in ((self.network, ""), (self.network.encoder, ENCODER)):
            if stack is not None and (places := _places(stack)) is not None:
                found[f"{path}places"] = places.detach().flatten().numpy()
            if stack is not None and (last := stack.encoding.alike_from(stack.config)) is not None:
                distances = torch.arange(-last, last + 1)[None, None]
                biases = stack.encoding.bias(stack.config, stack.position_part, distances)
                found[f"{path}biases"] = biases.detach().float().flatten().numpy()
        return found | kept_turns(self.network.config)

    def _floats(self, name: str, parameter: Tensor) -> Tensor:
        stored = None if self.stored is None else self.stored.floats(name)
        return parameter if stored is None else stored

    def _widths(self) -> dict[str, int]:
        """The bits of each packed matrix, at most."""
        split = {one.parameter for one in self._by_head.values()}
        whole = [name for name in self._parameters if is_multiplied(name) and name not in split]
        return {name: self._width(name) for name in (*whole, *self._by_head)}

    def _width(self, name: str) -> int:
        """Those of a file may be up to 16, as its floats of 32 have too; what else cannot be kept as a file holds it is
        rounded to 8 or fewer, and so is what heads read numbers of their own for."""
        most = max(self.bits, 8) if is_vocabulary(name) else self.bits
        if name in self._by_head:
            return min(most, 8)
        if self.stored is None or most <= 8:
            return most
        return most if self.stored.bits(name) > 8 else 8

    def _shape(self, name: str) -> Sequence[int]:
        return self._by_head[name].shape if name in self._by_head else self._parameters[name].shape

    def _every_part(self, widths: dict[str, int]) -> Iterator[Callable[[], tuple[str, Packed]]]:
        for name, bits in widths.items():
            for packed in self._parts(name, bits):
                yield partial(_named, name, packed)

    def _parts(self, name: str, bits: int) -> Iterator[Callable[[], Packed]]:
        """What packs each part of a matrix."""
        if (of_head := self._by_head.get(name)) is not None:
            yield partial(self._of_heads, name, of_head, bits)
            return
        weight = self._parameters[name]
        most = max(AT_ONCE // weight.shape[1] // ROWS, 1) * ROWS
        held = self._held(name, most)
        if held and all(of_file <= bits for _, of_file in held):
            yield from (partial(self._as_held, name, rows, of_file) for rows, of_file in held)
        else:
            yield from (partial(_rounded, name, weight, rows, bits) for rows in _runs(0, len(weight), most))

    def _of_heads(self, name: str, of_head: _ByHead, bits: int) -> Packed:
        weight = present(self._parameters[of_head.parameter]).detach()
        return replace(pack(quantised(name, of_head.rows(weight), bits), bits), heads=of_head.heads)

    def _held(self, name: str, most: int) -> list[tuple[slice, int]] | None:
        """Rows of a matrix as the file holds them, and their bits; None where it holds it in another way."""
        alike, found = None if self.stored is None else self.stored.alike(name), []
        if self.stored is None or alike is None:
            return None
        for all_ in alike:
            rows = _runs(all_.start, all_.stop, most)
            first = self.stored.groups(name, slice(all_.start, min(all_.start + ROWS, all_.stop)))
            bits = bits_of(first)
            for one in () if first.form else rows:
                if bits == self.stored.bits(name):
                    break
                bits = max(bits, bits_of(self.stored.groups(name, one)))
            found += [(one, bits) for one in rows]
        return found

    def _as_held(self, name: str, rows: slice, bits: int) -> Packed:
        assert self.stored is not None
        return pack(self.stored.groups(name, rows), bits)


def _runs(start: int, stop: int, most: int) -> list[slice]:
    return [slice(first, min(first + most, stop)) for first in range(start, stop, most)]


def _rounded(name: str, weight: Tensor, rows: slice, bits: int) -> Packed:
    return pack(quantised(name, rows_of(weight, rows), bits), bits)


def _named(name: str, packed: Callable[[], Packed]) -> tuple[str, Packed]:
    return name, packed()


class _Done:
    """Hears from several threads that a matrix is done: tells progress, and gives the file's memory back. Whoever
    speaks when nobody wants it any more is stopped."""

    def __init__(self, advance: progress.Advance, stored: Stored | None) -> None:
        self.is_wanted = True
        self._advance, self._stored, self._one = advance, stored, threading.Lock()

    def __call__(self, weights: int) -> None:
        if not self.is_wanted:
            raise CancelledError
        with self._one:
            self._advance(weights)
            if self._stored is not None:
                self._stored.let_go()


@dataclass(frozen=True)
class _ByHead:
    """A matrix that is made of a parameter, with rows for each head that are multiplied with its own numbers."""

    parameter: str
    heads: int
    shape: tuple[int, int]
    rows: Callable[[Tensor], Float[Tensor, "rows inputs"]]


def _of_latent(network: Network) -> dict[str, _ByHead]:
    """Latent attention's, which make keys and values of its state: turned about, the first takes each head's query to
    what the state is compared with; the second makes its value of the states that were mixed."""
    found = {}
    for path, one in network.named_modules():
        if isinstance(one, LatentAttention):
            name, heads = f"{path}.expand.weight", one.heads
            shapes = (heads * one.rank, one.plain), (heads * one.value_dim, one.rank)
            rows = partial(_of_keys, one), partial(_of_values, one)
            for part, shape, make in zip(("keys", "values"), shapes, rows, strict=True):
                found[f"{path}.expand.{part}.weight"] = _ByHead(name, heads, shape, make)
    return found


def _of_keys(attention: LatentAttention, weight: Tensor) -> Float[Tensor, "rows plain"]:
    return attention.by_head(weight)[0].mT.flatten(0, 1)


def _of_values(attention: LatentAttention, weight: Tensor) -> Float[Tensor, "rows rank"]:
    return attention.by_head(weight)[1].flatten(0, 1)


def _places(network: Stack) -> Float[Tensor, "segments context dim"] | None:
    """What is added to the embedding at each position, in each segment that the tape knows, for a stream that is kept
    divided by `residual_scale`; one where there is none."""
    config, places = network.config, None
    if network.encoding.acts_on == "embedding" or network.encoding.adds:
        every = torch.arange(config.context)[None]
        places = network.encoding.added(config, network.position_part, every)[0].float()
    if network.segment is None:
        found = None if places is None else places[None]
    else:
        segments = network.segment.weight[:SEGMENTS, None].float()
        found = segments + (torch.zeros(config.context, config.embedding_width) if places is None else places)
    return None if found is None else found / (config.residual_scale or 1.0)


def joined(parts: Sequence[Packed], data: np.ndarray) -> Packed:
    """A matrix packed in parts of some rows, whose bytes lie one after another."""
    alike, begin = [], 0
    for _, group in itertools.groupby(parts, key=lambda part: part.form):
        whole = list(group)
        size = sum(len(part.data) for part in whole)
        alike.append(replace(whole[0], data=data[begin : begin + size], rows=sum(part.rows for part in whole)))
        begin += size
    return replace(alike[0], more=tuple(alike[1:]))
