"""A network read out as a tape: its weights packed, and the table of operations that compute its hidden states.

Residual stream, pre-norm                             post-norm
    NORM  MATRIX qkv  HEADS ATTEND MIX  MATRIX output     MATRIX qkv  HEADS ATTEND MIX  MATRIX output  NORM
    NORM  MATRIX up   ACTIVATE          MATRIX down       MATRIX up   ACTIVATE          MATRIX down    NORM

A MATRIX that ends a part adds to the stream. Each step of a matrix reads the 8-bit values that the step before it left.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from lmworks.kernels.adapters import pack_adapter
from lmworks.kernels.frame import WORDS, Operation, float_bits
from lmworks.kernels.outliers import MOST, outliers
from lmworks.kernels.packing import Arena, Packed, Stored, aligned, bits_of, pack, packed_bytes, quantised
from lmworks.models.adapted import adapted_layers, own_parameters
from lmworks.models.attention import Attention
from lmworks.models.block import Block
from lmworks.models.files.quantise import GROUP
from lmworks.models.network import Network
from lmworks.models.norm import RMSNorm

ACTIVATIONS = ("silu", "gelu", "gelu_tanh", "relu", "relu_squared", "sigmoid", "tanh")
"""In the order of kernels/activations.py, which imports numba."""
Step = list[int]


class Weights:
    """A network's weights as the tape needs them, which keeps them alive."""

    def __init__(
        self,
        network: Network,
        bits: int,
        stored: Stored | None = None,
        advance: Callable[[int], None] = lambda rows: None,
    ) -> None:
        self.network, self.bits, self.stored, self.advance = network, bits, stored, advance
        self.vectors: dict[str, np.ndarray] = {}
        self.matrices: dict[str, Packed] = {}
        self.adapted = True
        """Are adapters part of the tapes that are written?"""
        self._outliers, self._parameters = outliers(network), own_parameters(network)
        multiplied = {name: one for name, one in self._parameters.items() if _is_multiplied(name)}
        widths = {name: 8 if is_vocabulary(name) else bits for name in multiplied}
        self._arena = Arena(sum(packed_bytes(one.shape, widths[name]) for name, one in multiplied.items()))
        self.places = 0
        """Rows of the table that is added by position; 0 where there is none."""
        for name, weight in multiplied.items():
            self.matrices[name] = self._packed(name, weight, widths[name])
            advance(weight.numel())
        self.adapters = {
            path: pack_adapter(path, layer, self.matrix(f"{path}.weight").outliers)
            for path, layer in adapted_layers(network).items()
        }

    def matrix(self, name: str) -> Packed:
        """A packed matrix."""
        return self.matrices[name]

    @property
    def head(self) -> Packed:
        """The matrix that makes logits."""
        return self.matrix("embedding.weight" if self.network.head is None else "head.weight")

    def vector(self, name: str, make: Callable[[Tensor], Tensor] | None = None) -> int:
        """The address of a parameter in float32, changed by `make` first; 0 where there is no such parameter."""
        if name not in self.vectors:
            weight = self._floats(name)
            if weight is None:
                return 0
            self.keep(name, weight if make is None else make(weight))
        return int(self.vectors[name].ctypes.data)

    def keep(self, name: str, values: Tensor) -> int:
        """Any numbers in float32, filled up to a whole block of 16; returns their address."""
        flat = values.detach().float().reshape(-1).numpy()
        self.vectors[name] = np.concatenate([flat, np.zeros(-len(flat) % 16, np.float32)])
        return int(self.vectors[name].ctypes.data)

    @property
    def bytes(self) -> int:
        """What the packed weights take."""
        matrices = sum(one.data.nbytes for one in self.matrices.values())
        return matrices + sum(one.bytes for one in self.adapters.values())

    def _floats(self, name: str) -> Tensor | None:
        stored = None if self.stored is None else self.stored.floats(name)
        return self._parameters.get(name) if stored is None else stored

    def _packed(self, name: str, weight: Tensor, bits: int) -> Packed:
        groups, apart = None if self.stored is None else self.stored.groups(name), self._outliers.get(name, ())
        if groups is not None and (held := bits_of(groups)) <= bits:
            return pack(groups, held, apart, self._arena.take)
        return pack(quantised(name, weight, bits), bits, apart, self._arena.take)


def _is_multiplied(name: str) -> bool:
    """Is a parameter one of the matrices that are packed?"""
    ends = ("attention.qkv.weight", "attention.output.weight", "feed_forward.up.weight", "feed_forward.down.weight")
    return is_vocabulary(name) or name.endswith(ends)


def is_vocabulary(name: str) -> bool:
    """Embedding and head keep 8 bits: in 4 the perplexity of SmolLM2 rises by 5 % (docs/log.md)."""
    return name in ("embedding.weight", "head.weight")


class Buffers:
    """The memory that a run of up to `tokens` tokens works in."""

    def __init__(self, weights: Weights, tokens: int) -> None:
        config = weights.network.config
        self.tokens = tokens
        self.stream = np.zeros((tokens, config.dim), np.float32)
        widest = max(config.dim, config.hidden_dim, config.heads * config.head_dim)
        behind = MOST + max((one.numbers for one in weights.adapters.values()), default=0)
        self.values = aligned(tokens * widest).view(np.int8).reshape(tokens, widest)
        # Behind the scales stand outliers (outliers.py) and the bottleneck of an adapter (adapters.py).
        self.scales, self.sums = (
            aligned(4 * tokens * (widest // GROUP + behind)).view(np.float32).reshape(tokens, -1) for _ in range(2)
        )
        rows = (config.heads + 2 * config.kv_heads) * config.head_dim
        inner = config.hidden_dim * (2 if config.gated else 1)
        # A parallel block holds both at once.
        self.qkv_rows, self.up_rows = (-(-size // 16) * 16 for size in (rows, inner))
        self.qkv = np.zeros((tokens, self.qkv_rows), np.float32)
        self.up = np.zeros((tokens, self.up_rows), np.float32)


def hidden_tape(weights: Weights, buffers: Buffers) -> np.ndarray:
    """The operations that leave the hidden states, behind the last norm, in the stream: int64 [steps, WORDS]."""
    network = weights.network
    stream = buffers.stream.ctypes.data
    steps = _embedding(weights, stream)
    before = network.config.norm_place == "before"
    if not before:
        steps.append(quantise(weights.matrix("blocks.0.attention.qkv.weight"), stream, network.config.dim * 4))
    for layer, block in enumerate(network.blocks):
        steps += _block(weights, buffers, block, layer)
    if not isinstance(network.norm, nn.Identity):
        steps.append(_norm(weights, "norm", network.norm, stream, kept=stream))
    return table(steps)


@dataclass(frozen=True)
class Tapes:
    """The tapes that a network is run with; those that end with the head are None where it has none."""

    hidden: np.ndarray
    """Hidden states, in the stream."""
    taking: np.ndarray
    """Keys and values alone."""
    whole: np.ndarray | None
    """Logits of all tokens; where they go, the last step is told (OUTPUT, OUTPUT_STRIDE)."""
    last: np.ndarray | None
    """Logits of those that the frame keeps; what they need of the last block behind its keys and values is done for them alone."""
    writing: np.ndarray | None
    """Logits of all tokens, and behind them the choice of the next ones, and that these are read next."""


def tapes(weights: Weights, buffers: Buffers, choosing: Step | None) -> Tapes:
    """The tapes that work in these buffers; `choosing` is the step that chooses tokens, None without a head."""
    hidden = hidden_tape(weights, buffers)
    taking = hidden[: np.flatnonzero(hidden[:, 0] == Operation.ATTEND)[-1]]
    if choosing is None:
        return Tapes(hidden, taking, None, None, None)
    head = table(head_steps(weights, buffers.stream, 0, 0))
    whole = np.concatenate([hidden, head])
    last = np.concatenate([taking, table([_keep(weights, buffers)]), hidden[len(taking) :], head])
    return Tapes(hidden, taking, whole, last, np.concatenate([whole, table([choosing, [Operation.FOLLOW]])]))


def head_steps(weights: Weights, rows: Float[np.ndarray, "rows dim"], output: int, stride: int) -> list[Step]:
    """Logits of hidden states."""
    factor = weights.network.config.head_scale or 1.0
    return [
        quantise(weights.head, rows.ctypes.data, rows.strides[0], factor),
        multiply(weights.head, output, stride, weights.vector("head_bias")),
    ]


def _keep(weights: Weights, buffers: Buffers) -> Step:
    """What a token has when the last block's keys and values are there, and goes on with."""
    both = [buffers.stream, buffers.qkv, *([buffers.up] if weights.network.config.parallel else [])]
    pairs = [(one.ctypes.data, one.strides[0]) for one in both] + [(0, 0)] * (3 - len(both))
    return [Operation.KEEP, *(number for pair in pairs for number in pair)]


def table(steps: list[Step]) -> np.ndarray:
    """Steps of equal length."""
    return np.array([[*map(int, step), *[0] * (WORDS - len(step))] for step in steps], np.int64)


def multiply(matrix: Packed, output: int, stride: int, bias: int = 0, adds: bool = False, adapter: int = 0) -> Step:
    """The step that multiplies the values with a matrix; with the table of an adapter, whose bottleneck is there already."""
    return [
        Operation.MATRIX, matrix.address, matrix.bits, matrix.blocks, matrix.groups, output, stride, int(adds), bias,
        matrix.for_weights.ctypes.data, adapter,
    ]  # fmt: skip


def quantise(matrix: Packed, source: int, stride: int, factor: float = 1.0) -> Step:
    """The step that leaves float32 numbers times a factor where the matrix reads its values."""
    table = matrix.for_values.ctypes.data
    return [Operation.QUANTISE, source, stride, 32 * matrix.groups, float_bits(factor), table]


def _embedding(weights: Weights, stream: int) -> list[Step]:
    """Tokens' embeddings, scaled and placed as the config says."""
    network, config = weights.network, weights.network.config
    matrix = weights.matrix("embedding.weight")
    factor = config.dim**0.5 if config.scale_embedding and config.embedding_norm != "rms" else 1.0
    steps: list[Step] = [
        [Operation.EMBED, matrix.address, matrix.bits, matrix.groups, config.dim * 4, float_bits(factor)]
    ]
    if config.embedding_norm == "rms":
        weight = torch.full((config.dim,), config.dim**0.5 if config.scale_embedding else 1.0)
        ones = weights.keep("embedding_norm.ones", weight)
        steps.append([Operation.NORM, ones, 0, config.dim, float_bits(config.norm_eps), 0, stream, stream])
    if (places := _places(network)) is not None:
        address, weights.places = weights.keep("places", places), len(places)
        steps.append([Operation.PLACE, address, 0, config.dim])
    if network.embedding_norm is not None:
        steps.append(_norm(weights, "embedding_norm", network.embedding_norm, stream, kept=stream))
    return steps


def _places(network: Network) -> Tensor | None:
    """What is added to the embedding at each position, the first segment's embedding included."""
    config, places = network.config, None
    if network.encoding.acts_on == "embedding":
        every = torch.arange(config.context)[None]
        places = network.encoding.added(config, network.position_part, every)[0].float()
    if network.segment is None:
        return places
    segment = network.segment.weight[0].float()
    return (torch.zeros(config.context, config.dim) if places is None else places) + segment


def _block(weights: Weights, buffers: Buffers, block: Block, layer: int) -> list[Step]:
    config, path, stream = weights.network.config, f"blocks.{layer}", buffers.stream.ctypes.data
    attention_norm = (weights, f"{path}.attention_norm", block.attention_norm, stream)
    feed_forward_norm = (weights, f"{path}.feed_forward_norm", block.feed_forward_norm, stream)
    attend = _attention(weights, buffers, block.attention, f"{path}.attention", layer)
    up, down = _feed_forward(weights, buffers, f"{path}.feed_forward")
    inner = weights.matrix(f"{path}.feed_forward.up.weight")
    if config.norm_place == "after":
        behind = weights.matrices.get(f"blocks.{layer + 1}.attention.qkv.weight")
        read = _norm(*feed_forward_norm, kept=stream, read_by=behind)
        return [*attend, _norm(*attention_norm, kept=stream, read_by=inner), *up, *down, read]
    first = _norm(*attention_norm, read_by=weights.matrix(f"{path}.attention.qkv.weight"))
    second = _norm(*feed_forward_norm, read_by=inner)
    return [second, *up, first, *attend, *down] if config.parallel else [first, *attend, second, *up, *down]


def _linear(weights: Weights, buffers: Buffers, path: str, output: int, stride: int, adds: bool = False) -> list[Step]:
    """The steps of a linear layer, with its bias and its adapter."""
    matrix, bias = weights.matrix(f"{path}.weight"), weights.vector(f"{path}.bias")
    adapter = weights.adapters.get(path) if weights.adapted else None
    if adapter is None:
        return [multiply(matrix, output, stride, bias, adds)]
    behind = buffers.scales.ctypes.data + adapter.behind
    return [
        multiply(adapter.down, behind, buffers.scales.strides[0]),
        multiply(matrix, output, stride, bias, adds, adapter.table.ctypes.data),
    ]


def _attention(weights: Weights, buffers: Buffers, attention: Attention, path: str, layer: int) -> list[Step]:
    config, stream = weights.network.config, buffers.stream.ctypes.data
    qkv, stride = buffers.qkv.ctypes.data, buffers.qkv_rows * 4
    heads, kv_heads, width, window = config.heads, config.kv_heads, config.head_dim, attention.window or 0
    half = (config.rotary_dim or width) // 2 if attention.rotates else 0
    query_norm = key_norm = 0
    if config.qk_norm:
        query_norm, key_norm = (
            weights.vector(f"{path}.{one}.weight") or weights.keep(f"{path}.{one}", torch.ones(width))
            for one in ("query_norm", "key_norm")
        )
    eps, scale = float_bits(config.norm_eps), float_bits(config.attention_scale or width**-0.5)
    return [
        *_linear(weights, buffers, f"{path}.qkv", qkv, stride),
        [Operation.HEADS, qkv, stride, heads, kv_heads, width, half, query_norm, key_norm, eps, scale, layer],
        [Operation.ATTEND, qkv, stride, heads, kv_heads, width, layer, window],
        [Operation.MIX, heads, width, window],
        *_linear(weights, buffers, f"{path}.output", stream, config.dim * 4, adds=True),
    ]


def _feed_forward(weights: Weights, buffers: Buffers, path: str) -> tuple[list[Step], list[Step]]:
    """The steps that go up, and those that come down again."""
    config, stream = weights.network.config, buffers.stream.ctypes.data
    inner, stride = buffers.up.ctypes.data, buffers.up_rows * 4
    kind = ACTIVATIONS.index(config.activation)
    read_by = weights.matrix(f"{path}.down.weight").for_values.ctypes.data
    return _linear(weights, buffers, f"{path}.up", inner, stride), [
        [Operation.ACTIVATE, inner, stride, config.hidden_dim, kind, int(config.gated), read_by],
        *_linear(weights, buffers, f"{path}.down", stream, config.dim * 4, adds=True),
    ]


def _norm(
    weights: Weights, path: str, norm: nn.Module, source: int, *, kept: int = 0, read_by: Packed | None = None
) -> Step:
    """A norm with the weight it multiplies by (1 where it has none, 1 + weight for Gemma's), and the matrix that reads its result."""
    dim = weights.network.config.dim
    if isinstance(norm, RMSNorm):
        make = (lambda weight: 1 + weight.float()) if norm.unit_offset else None
        weight = weights.vector(f"{path}.weight", make) or weights.keep(f"{path}.weight", torch.ones(dim))
        bias, eps, centred = 0, norm.eps, 0
    else:
        assert isinstance(norm, nn.LayerNorm)
        weight, bias = weights.vector(f"{path}.weight"), weights.vector(f"{path}.bias")
        eps, centred = norm.eps, 1
    table = 0 if read_by is None else read_by.for_values.ctypes.data
    return [Operation.NORM, weight, bias, dim, float_bits(eps), centred, source, kept, table]
