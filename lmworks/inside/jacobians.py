"""Jacobians of blocks: how the residual stream after a block, or a span of blocks, changes with the stream before it.

    span = blocks_at(network, tokens, 2, 5)    # blocks 2, 3 and 4 as one function of the stream, at this text
    span.jvp(change)                           # J change: where a small change of the input goes
    span.vjp(gradient)                         # J^T gradient: what reaches the input of a gradient of the output
    span.token_jacobian(of=7, by=3)            # [batch, dim, dim]: output of token 7 by input of token 3
    span.jacobian()                            # [batch, seq, dim, seq, dim]: all of it; causal blocks leave zeros

Through torch.func: forward mode for jvp, reverse mode for the others. The blocks run as they are written, with the
explicit attention kernel, no dropout and no hooked functions, so that there is a derivative of every kind. Rows of a
batch do not touch one another, and each has a Jacobian of its own. Take float64 (`network.double()`) to compare with
anything, float32 to look; bfloat16 works and rounds.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lmworks.basics.arrays import Float
from lmworks.basics.errors import ConfigError
from lmworks.models.attention import Pass
from lmworks.models.block import Block
from lmworks.models.hooks import unhooked
from lmworks.models.memory import Memory
from lmworks.models.network import Network, evaluating
from lmworks.models.stack import Hidden, Real, Tokens

AT_ONCE = 64
"""Rows of a Jacobian that are pulled back together."""


@dataclass(frozen=True, eq=False)
class Span:
    """Consecutive blocks of a network as a function of the residual stream, at one text; made by `blocks_at`."""

    network: Network
    blocks: tuple[Block, ...]
    x: Hidden
    """The stream before the first of the blocks: where derivatives are taken."""
    shared: Pass
    """What the blocks know of the text: positions, what sees what, a source's states."""

    def __call__(self, x: Hidden) -> Hidden:
        """The stream after the last block, for any stream before the first."""
        for block in self.blocks:
            x = block(x, self.shared)
        return x

    def jvp(self, change: Hidden) -> Hidden:
        """J change: how the output moves with the input, to first order. [batch, seq, dim] -> [batch, seq, dim]."""
        self._check("change", change)
        with _differentiable(self.network):
            return torch.func.jvp(self, (self.x,), (change,))[1].detach()

    def vjp(self, gradient: Hidden) -> Hidden:
        """J^T gradient: the gradient of the input from that of the output. [batch, seq, dim] -> [batch, seq, dim]."""
        self._check("gradient", gradient)
        with _differentiable(self.network):
            pull = torch.func.vjp(self, self.x)[1]
            return pull(gradient)[0].detach()

    def jacobian(self) -> Float[Tensor, "batch seq dim seq dim"]:
        """Output of each token by input of each token: entry [row, i, a, j, b] is d output[i, a] / d input[j, b].

        (seq x dim)^2 numbers a row: for short texts and narrow networks.
        """
        seq, dim = self.x.shape[1:]
        every = torch.eye(seq * dim, dtype=self.x.dtype, device=self.x.device).view(seq * dim, 1, seq, dim)
        return self._pulled(every).movedim(0, 1).unflatten(1, (seq, dim))

    def token_jacobian(self, of: int, by: int | None = None) -> Float[Tensor, "batch dim dim"]:
        """Output of the token at `of` by input of the token at `by` (itself unless given): d output[a] / d input[b]."""
        by = of if by is None else by
        seq, dim = self.x.shape[1:]
        for name, at in (("of", of), ("by", by)):
            if not -seq <= at < seq:
                raise ConfigError(f"{name} is {at}, and the text has {seq} tokens; count them from 0")
        one = torch.zeros(dim, 1, seq, dim, dtype=self.x.dtype, device=self.x.device)
        one[:, 0, of] = torch.eye(dim, dtype=self.x.dtype, device=self.x.device)
        return self._pulled(one)[:, :, by].movedim(0, 1)

    def _pulled(self, gradients: Float[Tensor, "rows 1 seq dim"]) -> Float[Tensor, "rows batch seq dim"]:
        """Each gradient of the output, the same for all texts of the batch, taken back to the input."""
        with _differentiable(self.network):
            pull = torch.func.vjp(self, self.x)[1]
            rows = gradients.expand(-1, *self.x.shape)
            return torch.func.vmap(pull, chunk_size=AT_ONCE)(rows)[0].detach()

    def _check(self, name: str, given: Tensor) -> None:
        if given.shape != self.x.shape:
            raise ConfigError(f"{name} has the shape {list(given.shape)} and the stream {list(self.x.shape)}")


def blocks_at(
    network: Network,
    tokens: Tokens,
    first: int,
    stop: int | None = None,
    *,
    mask: Real | None = None,
    documents: Tokens | None = None,
    segments: Tokens | None = None,
    memory: Memory | None = None,
    prefix: Real | None = None,
    encoder: bool = False,
) -> Span:
    """Blocks `first` to `stop` - 1 (`first` alone unless given) as a function of the stream, at a text.

    Other arguments as in `Network.hidden`. With `encoder` they are blocks of an encoder-decoder's encoder, and `tokens`
    is the source; for those of its decoder give `memory=network.encode(source)`, which counts as constant. ConfigError
    for blocks that the network has not got.
    """
    stop = first + 1 if stop is None else stop
    stack = network.encoder if encoder else network
    if stack is None:
        raise ConfigError("the network has no encoder beside its decoder; leave encoder out")
    if not 0 <= first < stop <= len(stack.blocks):
        raise ConfigError(
            f"blocks {first} to {stop - 1} are asked for, and there are blocks 0 to {len(stack.blocks) - 1}; "
            "first is the first block, stop is one more than the last"
        )
    seen: list[tuple[Hidden, Pass]] = []

    def watch(block: Block, x: Hidden, shared: Pass) -> Hidden:
        seen.append((x, shared))
        return block(x, shared)

    with _watched(network, watch), _differentiable(network), torch.no_grad():
        if encoder:
            network.encode(tokens, mask)
        else:
            network.hidden(
                tokens, mask, documents=documents, segments=segments, memory=_constant(memory), prefix=prefix
            )
    x, shared = seen[first]
    return Span(network, tuple(stack.blocks[first:stop]), x, replace(shared, kernel="explicit"))


@contextlib.contextmanager
def _watched(network: Network, watch: object) -> Iterator[None]:
    """Blocks run by `watch` inside; an encoder takes over its network's way of running blocks when it is asked."""
    stacks = [network] if network.encoder is None else [network, network.encoder]
    before = [(stack.run_block, stack.attention_kernel) for stack in stacks]
    try:
        network.run_block, network.attention_kernel = watch, "explicit"  # type: ignore[assignment]
        yield
    finally:
        for stack, (run_block, kernel) in zip(stacks, before, strict=True):
            stack.run_block, stack.attention_kernel = run_block, kernel


@contextlib.contextmanager
def _differentiable(network: Network) -> Iterator[None]:
    """What derivatives need around a run: gradients on, nothing random, nobody looking."""
    with torch.inference_mode(False), torch.enable_grad(), evaluating(network), unhooked(network):
        yield


def _constant(memory: Memory | None) -> Memory | None:
    """A source's states without the graph that made them."""
    return None if memory is None else Memory(memory.states.detach().clone(), memory.real)
