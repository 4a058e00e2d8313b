"""A network read out as a tape: the table of steps that compute its hidden states, logits and next tokens.

Residual stream, pre-norm                             post-norm
    NORM  MATRIX qkv  HEADS ATTEND MIX  MATRIX output     MATRIX qkv  HEADS ATTEND MIX  MATRIX output  NORM
    NORM  MATRIX up   ACTIVATE          MATRIX down       MATRIX up   ACTIVATE          MATRIX down    NORM

With latent attention: MATRIX query after a MATRIX and a NORM of its own where queries come from a narrow state, too
    NORM  MATRIX latent  MATRIX query  LATENT  MATRIX keys  ATTEND MIX  MATRIX values  QUANTISE  MATRIX output

With a short convolution in the place of attention
    NORM  MATRIX inward  HAND CONVOLVE  MATRIX outward

With experts in the place of a feed-forward
    NORM  SCORE ROUTE GATHER  EXPERT up  ACTIVATE  EXPERT down  BLEND

In the decoder of an encoder-decoder, between attention and feed-forward, over the keys and values of the source
    NORM  MATRIX query  HEADS ATTEND MIX  MATRIX output
What made these, of the encoder's states in the stream, for each layer of the decoder
    QUANTISE  MATRIX kv  HEADS

A MATRIX that ends a part adds to the stream; where the part's result is normed first, a NORM adds it. Each MATRIX reads
the 8-bit values that the step before it left.

Where what a part makes is multiplied by a number before it is added (residual_scale), the stream is kept divided by it:
parts are added as they are, and a norm takes out any factor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lmworks.basics.arrays import Float, Int
from lmworks.kernels.adapters import ADAPTER_FORM
from lmworks.kernels.frame import WORDS
from lmworks.kernels.operation import Step
from lmworks.kernels.operations.activate import activate_step
from lmworks.kernels.operations.attend import Attend
from lmworks.kernels.operations.blend import Blend
from lmworks.kernels.operations.bottleneck import Bottleneck, bottleneck_step
from lmworks.kernels.operations.cap import Cap
from lmworks.kernels.operations.choose import Choose
from lmworks.kernels.operations.convolve import Convolve
from lmworks.kernels.operations.embed import Embed, embed_step
from lmworks.kernels.operations.expert import Expert, expert_tables
from lmworks.kernels.operations.follow import Follow
from lmworks.kernels.operations.follow_guesses import FollowGuesses
from lmworks.kernels.operations.gather import Gather
from lmworks.kernels.operations.hand import Hand
from lmworks.kernels.operations.heads import Heads
from lmworks.kernels.operations.keep import keep_step
from lmworks.kernels.operations.latent import Latent
from lmworks.kernels.operations.matrix import Matrix, multiply, multiply_all
from lmworks.kernels.operations.mix import Mix
from lmworks.kernels.operations.norm import Norm, norm_step, norm_weight
from lmworks.kernels.operations.position import Position
from lmworks.kernels.operations.quantise import quantise_step
from lmworks.kernels.operations.route import Route
from lmworks.kernels.operations.score import Score
from lmworks.kernels.pages import attended, place_of
from lmworks.kernels.quantisation import number_of
from lmworks.kernels.run.buffers import Buffers, Routed
from lmworks.kernels.run.library import library, want
from lmworks.kernels.run.weights import FROM_SOURCE, Weights
from lmworks.models.config import ModelConfig
from lmworks.models.latent_settings import INNER_EPS
from lmworks.models.positions.encoding import encoding_of

AS_THEY_ARE = {"half": 0, "turn": 0, "query_norm": 0, "key_norm": 0, "norms_last": 0, "eps": 0.0}
"""Queries or keys that are neither rotated nor normed, for HEADS."""
WHOLE = {"turned": 0}
"""Queries in one part, for ATTEND."""
ALL = {"window": 0, "onward": 0}
"""All tokens are seen, for ATTEND and MIX."""
Table = Int[np.ndarray, "steps words"]
"""Steps as the interpreter reads them, [steps, WORDS]."""


@dataclass(frozen=True)
class Tapes:
    """The tapes that a network is run with; those that end with the head are None where it has none."""

    hidden: Table
    """Hidden states after the last norm, in the stream."""
    reading: Table
    """What the cache keeps of the tokens, and nothing else."""
    whole: Table | None
    """Logits of all tokens; `send_logits` says where they go."""
    last: Table | None
    """Logits of the tokens that the frame keeps: only these go through the rest of the last block after what the
    cache keeps."""
    writing: Table | None
    """Logits of all tokens, then the choice of the next ones, which are read in the next round; `choose_from` says
    where the logits are."""
    guessing: Table | None
    """The same for one row that guesses what follows."""
    sources: Table | None = None
    """Of an encoder-decoder's encoder: the keys and values of its states in the stream, for the decoder."""
    embedded: Table | None = None
    """Of the same: hidden states of what stands in the stream in the place of tokens' embeddings."""


@dataclass(frozen=True)
class Room:
    """Where threads choose tokens (frame.py)."""

    address: int
    thread_bytes: int


def tapes(weights: Weights, buffers: Buffers, room: Room | None) -> Tapes:
    """The tapes that work in these buffers; `room` is None for a network without a head."""
    steps = hidden_steps(weights, buffers)
    hidden = table(steps)
    reading = hidden[: max(number for number, one in enumerate(steps) if _reads_cache(one))]
    if weights.makes_sources:
        assert steps[0].operation is Embed
        return Tapes(hidden, reading, None, None, None, None, table(source_steps(weights, buffers)), table(steps[1:]))
    if room is None:
        return Tapes(hidden, reading, None, None, None, None)
    head = table(head_steps(weights, buffers.stream, 0, 0))
    keep = table([keep_step(_of_each_token(weights, buffers))])
    choose = Choose.step(
        logits=0, logits_stride=0, vocabulary=weights.head.rows, room=room.address, room_bytes=room.thread_bytes
    )
    return Tapes(
        hidden,
        reading,
        whole=np.concatenate([hidden, head]),
        last=np.concatenate([reading, keep, hidden[len(reading) :], head]),
        writing=np.concatenate([hidden, head, table([choose, Follow.step()])]),
        guessing=np.concatenate([hidden, head, table([choose, FollowGuesses.step()])]),
    )


def _reads_cache(step: Step) -> bool:
    """Does it look at what tokens of its own text left in the cache?"""
    return step.operation is Convolve or (step.operation is Attend and not step.operands[Attend.SOURCE - 1])


def table(steps: Sequence[Step]) -> Table:
    """Steps in words of equal number; the kernels that they need are there afterwards."""
    numbers = library().numbers
    want(one.operands[one.operation.FORM - 1] for one in steps if one.operation in (Matrix, Embed))  # type: ignore[attr-defined]
    if any(one.operation is Bottleneck for one in steps):
        want([number_of(ADAPTER_FORM)])
    rows = [[numbers[one.operation], *one.operands] for one in steps]
    return np.array([row + [0] * (WORDS - len(row)) for row in rows], np.int64)


def send_logits(tape: Table, address: int, stride: int) -> None:
    """Say where a tape that ends with the head puts its logits: float32 rows, `stride` bytes apart."""
    head = tape[-1]
    if head[0] == library().numbers[Cap]:
        head[Cap.NUMBERS], head[Cap.STRIDE] = address, stride
        head = tape[-2]
    head[Matrix.OUTPUT], head[Matrix.OUTPUT_STRIDE] = address, stride


def choose_from(tape: Table, address: int, stride: int) -> None:
    """The same for a tape that chooses tokens, which reads them there."""
    choose = tape[-2]
    if choose.item(Choose.LOGITS) != address:
        send_logits(tape[:-2], address, stride)
        choose[Choose.LOGITS], choose[Choose.LOGITS_STRIDE] = address, stride


def hidden_steps(weights: Weights, buffers: Buffers) -> list[Step]:
    """The steps that leave the hidden states in the stream."""
    config, stream = weights.config, buffers.stream.ctypes.data
    steps = _embedding(weights, stream)
    if config.norm_place == "after":
        steps.append(_first(weights, stream))
    for layer in range(config.layers):
        steps += _block(weights, buffers, layer)
    if config.norm_place != "after":  # such blocks end with a norm of their own
        steps.append(norm_step(weights, "norm", stream, kept=stream, unit=_unit(config)))
    return steps


def _first(weights: Weights, stream: int) -> Step:
    """What the first block's attention reads, where no norm comes before it."""
    first = weights.matrix(_first_of_block(weights.config, 0))
    return quantise_step(first, stream, weights.config.dim * 4, _unit(weights.config))


def source_steps(weights: Weights, buffers: Buffers) -> list[Step]:
    """The steps that make the keys and values that a decoder's layers attend to, of an encoder's states in the
    stream."""
    config, steps = weights.config, list[Step]()
    for layer in range(weights.makes_sources):
        heads, path = _heads(config, buffers, layer) | {"heads": 0}, f"blocks.{layer}.{FROM_SOURCE}"
        steps += [
            quantise_step(weights.matrix(f"{path}.weight"), buffers.stream.ctypes.data, config.dim * 4),
            *_linear(weights, buffers, path, heads["qkv"], heads["qkv_stride"]),
            Heads.step(**heads, **AS_THEY_ARE, scale=1.0),
        ]
    return steps


def head_steps(weights: Weights, rows: Float[np.ndarray, "rows dim"], output: int, stride: int) -> list[Step]:
    """Logits of hidden states, kept below the cap."""
    config, head = weights.config, weights.head
    steps = [
        quantise_step(head, rows.ctypes.data, rows.strides[0], config.head_scale or 1.0),
        multiply(head, output, stride, weights.vector("head_bias")),
    ]
    if config.logit_cap is not None:
        steps.append(Cap.step(numbers=output, stride=stride, width=16 * head.blocks, cap=config.logit_cap))
    return steps


def _unit(config: ModelConfig) -> float:
    """What 1 in the stream stands for."""
    return config.residual_scale or 1.0


def _of_each_token(weights: Weights, buffers: Buffers) -> list[np.ndarray]:
    """What each token has when the cache keeps what it shall of the last block, and goes on with."""
    return [buffers.stream, buffers.qkv, *([buffers.up] if weights.config.parallel else [])]


def _embedding(weights: Weights, stream: int) -> list[Step]:
    """Tokens' embeddings, scaled, normed, with positions added and brought to the stream's width as the config says.
    Narrower ones stand at the stream's beginning, a token's after another's."""
    config, width = weights.config, weights.config.embedding_width
    scale = config.embedding_scale or (config.dim**0.5 if config.scale_embedding else 1.0)
    scale /= _unit(config)
    steps = [embed_step(weights.matrix("embedding.weight"), 1.0 if config.embedding_norm == "rms" else scale)]
    if config.embedding_norm == "rms":
        weight = weights.keep("embedding_norm.ones", np.full(width, scale))
        steps.append(
            Norm.step(
                weight=weight,
                bias=0,
                dim=width,
                eps=config.norm_eps,
                centred=0,
                source=stream,
                kept=stream,
                stride=width * 4,
                adds=0,
                outliers=0,
            )
        )
    if weights.places:
        steps.append(Position.step(table=weights.vector("places"), dim=width))
    if config.embedding_norm == "layer":
        steps.append(norm_step(weights, "embedding_norm", stream, centred=True, kept=stream, width=width))
    if config.embedding_dim is not None:
        matrix = weights.matrix("embedding_projection.weight")
        steps.append(quantise_step(matrix, stream, width * 4))
        steps += multiply_all(matrix, stream, config.dim * 4, weights.vector("embedding_projection.bias"))
    return steps


def _block(weights: Weights, buffers: Buffers, layer: int) -> list[Step]:
    config, path, stream = weights.config, f"blocks.{layer}", buffers.stream.ctypes.data
    attention_norm = (weights, f"{path}.attention_norm")
    feed_forward_norm = (weights, f"{path}.feed_forward_norm")
    mixing = _convolution if config.convolves(layer) else _attention if config.latent is None else _latent_attention
    attend, crosses = mixing(weights, buffers, f"{path}.attention", layer), config.arrangement == "encoder-decoder"
    routed = buffers.routed if config.has_experts(layer) else None
    if routed is None:
        up, down = _feed_forward(weights, buffers, f"{path}.feed_forward")
    else:
        up, down = [], _experts(weights, buffers, routed, f"{path}.feed_forward")
    first_up = "feed_forward.up" if routed is None else "feed_forward.experts.0.up"
    inward, inner = weights.matrix(_first_of_block(config, layer)), weights.matrix(f"{path}.{first_up}.weight")
    if config.norm_place == "after":
        following = weights.matrices.get(_first_of_block(config, layer + 1))
        last = norm_step(*feed_forward_norm, stream, kept=stream, read_by=following)
        if crosses:
            query = weights.matrix(f"{path}.cross_attention.query.weight")
            attend += [norm_step(*attention_norm, stream, kept=stream, read_by=query)]
            attend += _cross_attention(weights, buffers, f"{path}.cross_attention", layer)
            attention_norm = (weights, f"{path}.cross_norm")
        return [*attend, norm_step(*attention_norm, stream, kept=stream, read_by=inner), *up, *down, last]
    unit = _unit(config)
    if config.norm_place == "result":
        part = buffers.part.ctypes.data
        read, read_too = (quantise_step(one, stream, config.dim * 4, unit) for one in (inward, inner))
        added = norm_step(*attention_norm, part, kept=stream, adds=True)
        added_too = norm_step(*feed_forward_norm, part, kept=stream, adds=True)
        return [read, *attend, added, read_too, *up, *down, added_too]
    normed_first = layer > 0 or config.first_norm
    first = norm_step(*attention_norm, stream, read_by=inward, unit=unit) if normed_first else _first(weights, stream)
    normed = 0 if routed is None else routed.normed.ctypes.data
    own = attention_norm if config.shared_norm else feed_forward_norm
    second = norm_step(*own, stream, kept=normed, read_by=inner, unit=unit)
    if config.norm_place == "both":
        part = buffers.part.ctypes.data
        names = ("attention_result_norm", "feed_forward_result_norm")
        added, added_too = (norm_step(weights, f"{path}.{name}", part, kept=stream, adds=True) for name in names)
        return [first, *attend, added, second, *up, *down, added_too]
    if crosses:
        query = weights.matrix(f"{path}.cross_attention.query.weight")
        attend += [norm_step(weights, f"{path}.cross_norm", stream, read_by=query, unit=unit)]
        attend += _cross_attention(weights, buffers, f"{path}.cross_attention", layer)
    return [second, *up, first, *attend, *down] if config.parallel else [first, *attend, second, *up, *down]


def _first_of_block(config: ModelConfig, layer: int) -> str:
    """The matrix that reads the stream first in a layer, which may be that after the last."""
    first = "inward" if config.convolves(layer) else "qkv" if config.latent is None else "latent"
    return f"blocks.{layer}.attention.{first}.weight"


def _after_part(config: ModelConfig, buffers: Buffers) -> tuple[int, bool]:
    """Where the matrix that ends a part puts its result, and whether it adds it there."""
    if config.norm_place in ("result", "both"):
        return buffers.part.ctypes.data, False
    return buffers.stream.ctypes.data, True


def _linear(weights: Weights, buffers: Buffers, path: str, output: int, stride: int, adds: bool = False) -> list[Step]:
    """The steps of a linear layer, with its bias and its adapters."""
    matrix, bias = weights.matrix(f"{path}.weight"), weights.vector(f"{path}.bias")
    adapters = weights.adapters.get(path)
    if adapters is None:
        return multiply_all(matrix, output, stride, bias, adds)
    return [
        bottleneck_step(adapters, buffers.scales.ctypes.data, buffers.scales.strides[0]),
        *multiply_all(matrix, output, stride, bias, adds, adapters.for_matrix),
    ]


def _attention(weights: Weights, buffers: Buffers, path: str, layer: int) -> list[Step]:
    config, (end, adds) = weights.config, _after_part(weights.config, buffers)
    width, sees, heads = config.head_dim, _sees(config, layer), _heads(config, buffers, layer)
    query_norm = key_norm = 0
    if config.qk_norm and config.qk_norm_over == "head":
        query_norm, key_norm = (norm_weight(weights, f"{path}.{one}", width) for one in ("query_norm", "key_norm"))
    return [
        *_linear(weights, buffers, f"{path}.qkv", heads["qkv"], heads["qkv_stride"]),
        *_row_norms(weights, buffers, path),
        Heads.step(
            **heads,
            half=(half := _half(config, layer)),
            turn=half * 4 if sees["window"] and config.window_theta is not None else 0,
            query_norm=query_norm,
            key_norm=key_norm,
            norms_last=config.qk_norm_after,
            eps=config.norm_eps,
            scale=config.attention_scale or width**-0.5,
        ),
        Attend.step(**heads, **WHOLE, value_dim=width, **sees, **_scores(weights), source=0),
        Mix.step(
            heads=config.heads,
            value_dim=width,
            **sees,
            source=0,
            sinks=weights.vector(f"{path}.sinks"),
            floats=weights.kept_floats,
        ),
        *_linear(weights, buffers, f"{path}.output", end, config.dim * 4, adds),
    ]


def _sees(config: ModelConfig, layer: int) -> dict[str, int]:
    """What ATTEND and MIX say of what the tokens of a layer see."""
    window = config.window_of(layer) or 0
    return {"window": window, "onward": window > 0 and not config.causal}


def _scores(weights: Weights) -> dict[str, float]:
    """What ATTEND says of scores."""
    return {"cap": weights.config.attention_cap or 0.0, "biased": weights.biased}


def _half(config: ModelConfig, layer: int) -> int:
    """Dimensions of a layer's heads that are rotated against as many others."""
    turns = config.rotates and encoding_of(config).rotates_in(config, layer)
    return (config.rotary_dim or config.head_dim) // 2 if turns else 0


def _latent_attention(weights: Weights, buffers: Buffers, path: str, layer: int) -> list[Step]:
    """The steps of latent attention: queries are taken through what makes keys of the state, attend to states, and what
    makes values comes last."""
    config, (end, adds), row = weights.config, _after_part(weights.config, buffers), buffers.latent
    settings, turned, sees = config.latent, config.rotary_dim, _sees(config, layer)
    assert settings is not None and turned is not None and row is not None
    start, stride = buffers.qkv.ctypes.data, buffers.qkv_rows * 4
    query, output = start + 4 * row.query, weights.matrix(f"{path}.output.weight")
    heads = {"heads": config.heads, "place": place_of(config, layer)}
    _, key_dim, value_dim = attended(config)
    return [
        *_linear(weights, buffers, f"{path}.latent", start + 4 * row.state, stride),
        *_narrow_queries(weights, buffers, path, query, stride),
        *_linear(weights, buffers, f"{path}.query_up", query, stride),
        Latent.step(
            **heads,
            row=start,
            stride=stride,
            head_dim=config.head_dim,
            rank=settings.rank,
            turned=turned,
            half=_half(config, layer),
            norm=norm_weight(weights, f"{path}.latent_norm", settings.rank),
            eps=INNER_EPS,
            scale=config.attention_scale or config.head_dim**-0.5,
        ),
        *_linear(weights, buffers, f"{path}.expand.keys", start, stride),
        Attend.step(
            **heads,
            qkv=start,
            qkv_stride=stride,
            turned=start + 4 * row.turned,
            kv_heads=1,
            head_dim=key_dim,
            value_dim=value_dim,
            **sees,
            **_scores(weights),
            source=0,
        ),
        Mix.step(
            heads=config.heads,
            value_dim=value_dim,
            **sees,
            source=0,
            sinks=weights.vector(f"{path}.sinks"),
            floats=0,  # heads read them in 8 bits
        ),
        *_linear(weights, buffers, f"{path}.expand.values", query, stride),
        quantise_step(output, query, stride),
        *_linear(weights, buffers, f"{path}.output", end, config.dim * 4, adds),
    ]


def _narrow_queries(weights: Weights, buffers: Buffers, path: str, at: int, stride: int) -> list[Step]:
    """The steps that make the narrow state that queries come from, normed; none where they come from the stream."""
    settings = weights.config.latent
    if settings is None or settings.query_rank is None:
        return []
    return [
        *_linear(weights, buffers, f"{path}.query_down", at, stride),
        Norm.step(
            weight=norm_weight(weights, f"{path}.query_down_norm", settings.query_rank),
            bias=0,
            dim=settings.query_rank,
            eps=INNER_EPS,
            centred=0,
            source=at,
            kept=0,
            stride=stride,
            adds=0,
            outliers=weights.matrix(f"{path}.query_up.weight").for_values.ctypes.data,
        ),
    ]


def _convolution(weights: Weights, buffers: Buffers, path: str, layer: int) -> list[Step]:
    """The steps of a short convolution; what it takes lies where queries, keys and values do."""
    config, (end, adds) = weights.config, _after_part(weights.config, buffers)
    assert config.convolution is not None
    source, stride = buffers.qkv.ctypes.data, buffers.qkv_rows * 4
    row = {"source": source, "stride": stride, "width": config.dim, "place": place_of(config, layer)}
    return [
        *_linear(weights, buffers, f"{path}.inward", source, stride),
        Hand.step(**row),
        Convolve.step(
            **row,
            seen=config.convolution.width,
            kernel=weights.vector(f"{path}.kernel"),
            bias=weights.vector(f"{path}.kernel_bias"),
            outliers=weights.matrix(f"{path}.outward.weight").for_values.ctypes.data,
        ),
        *_linear(weights, buffers, f"{path}.outward", end, config.dim * 4, adds),
    ]


def _cross_attention(weights: Weights, buffers: Buffers, path: str, layer: int) -> list[Step]:
    """The steps that attend to a source, where the values are there; queries lie where others are."""
    config, (end, adds) = weights.config, _after_part(weights.config, buffers)
    heads, scale = _heads(config, buffers, layer), config.attention_scale or config.head_dim**-0.5
    return [
        *_linear(weights, buffers, f"{path}.query", heads["qkv"], heads["qkv_stride"]),
        Heads.step(**heads | {"kv_heads": 0}, **AS_THEY_ARE, scale=scale),
        Attend.step(
            **heads, **WHOLE, value_dim=config.head_dim, **ALL, cap=config.attention_cap or 0.0, biased=0, source=1
        ),
        Mix.step(heads=config.heads, value_dim=config.head_dim, **ALL, source=1, sinks=0, floats=weights.kept_floats),
        *_linear(weights, buffers, f"{path}.output", end, config.dim * 4, adds),
    ]


def _heads(config: ModelConfig, buffers: Buffers, layer: int) -> dict[str, int]:
    """What attention's steps say of a layer's queries, keys and values."""
    return {
        "qkv": buffers.qkv.ctypes.data,
        "qkv_stride": buffers.qkv_rows * 4,
        "heads": config.heads,
        "kv_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "place": place_of(config, layer),
    }


def _row_norms(weights: Weights, buffers: Buffers, path: str) -> list[Step]:
    """Norms of all heads of query at once, and of key, where the network has these."""
    config = weights.config
    if not config.qk_norm or config.qk_norm_over != "row":
        return []
    steps, at = [], buffers.qkv.ctypes.data
    for name, heads in (("query_norm", config.heads), ("key_norm", config.kv_heads)):
        width = heads * config.head_dim
        steps.append(
            Norm.step(
                weight=norm_weight(weights, f"{path}.{name}", width),
                bias=0,
                dim=width,
                eps=config.norm_eps,
                centred=0,
                source=at,
                kept=at,
                stride=buffers.qkv_rows * 4,
                adds=0,
                outliers=0,
            )
        )
        at += width * 4
    return steps


def _feed_forward(
    weights: Weights, buffers: Buffers, path: str, width: int | None = None, to: tuple[int, bool] | None = None
) -> tuple[list[Step], list[Step]]:
    """The steps that go up, and those that come down again; of a width inside that is the config's unless given, `to`
    where a part's result goes unless it is another address, where it may be added."""
    config, (end, adds) = weights.config, to or _after_part(weights.config, buffers)
    width = config.hidden_dim if width is None else width
    inner, stride = buffers.up.ctypes.data, buffers.up_rows * 4
    read_by = weights.matrix(f"{path}.down.weight")
    return _linear(weights, buffers, f"{path}.up", inner, stride), [
        activate_step(config, inner, stride, width, read_by, learned=_learned(weights, path)),
        *_linear(weights, buffers, f"{path}.down", end, config.dim * 4, adds),
    ]


def _learned(weights: Weights, path: str) -> tuple[float, float]:
    """The two numbers of a feed-forward's activation, where that learns some."""
    if weights.config.activation != "xielu":
        return 0.0, 0.0
    above, below = (np.logaddexp(0.0, weights.vectors[f"{path}.activation.{one}"][0]) for one in ("above", "below"))
    return float(above), 0.5 + float(below)


def _experts(weights: Weights, buffers: Buffers, routed: Routed, path: str) -> list[Step]:
    """The steps of a feed-forward of many experts, each for the tokens that are sent to it, and of one for all tokens
    where there is one. `normed` and the values are there."""
    config, (end, _) = weights.config, _after_part(weights.config, buffers)
    settings = config.experts
    assert settings is not None
    logits, chosen, shares = (one.ctypes.data for one in (routed.logits, routed.chosen, routed.weights))
    rows, runs, places, made = (one.ctypes.data for one in (routed.frame, routed.runs, routed.places, routed.made))
    stride = routed.made.strides[0]
    score = Score.step(
        source=routed.normed.ctypes.data,
        width=config.dim,
        weights=weights.vector(f"{path}.router.weight"),
        experts=settings.count,
        logits=logits,
        logits_stride=routed.logits.strides[0],
    )
    route = Route.step(
        logits=logits,
        logits_stride=routed.logits.strides[0],
        bias=weights.vector(f"{path}.router.bias"),
        experts=settings.count,
        top_k=settings.top_k,
        normalised=settings.normalised,
        scale=settings.scale,
        chosen=chosen,
        weights=shares,
        sigmoids=settings.scores == "sigmoid",
        preference=weights.vector(f"{path}.router.preference"),
        groups=settings.groups,
        top_groups=settings.top_groups or 0,
    )
    gather = Gather.step(
        chosen=chosen,
        top_k=settings.top_k,
        experts=settings.count,
        width=config.dim,
        value_bytes=routed.value_bytes,
        rows=rows,
        places=places,
        runs=runs,
    )
    shared, of_shared = _shared_expert(weights, buffers, routed, path)
    up, down = (_of_experts(weights, path, name, rows, runs, (made, stride)) for name in ("up", "down"))
    read_by = weights.matrix(f"{path}.experts.0.down.weight")
    activate = activate_step(config, made, stride, config.expert_dim, read_by, rows)
    blend = Blend.step(
        made=made,
        made_stride=stride,
        places=places,
        weights=shares,
        top_k=settings.top_k,
        width=config.dim,
        output=end,
        **of_shared,
    )
    return [score, route, gather, *shared, *up, activate, *down, blend]


def _shared_expert(
    weights: Weights, buffers: Buffers, routed: Routed, path: str
) -> tuple[list[Step], dict[str, int | bool]]:
    """The steps of the expert that every token is sent to, where there is one, and what BLEND has to do with it."""
    config, (end, adds) = weights.config, _after_part(weights.config, buffers)
    settings = config.experts
    assert settings is not None
    if not settings.shared_dim:
        return [], {"adds": adds, "shared": 0, "gates": 0}
    score: list[Step] = []
    to, of_blend = (end, adds), {"adds": True, "shared": 0, "gates": 0}
    if settings.shared_gate:
        to = routed.shared.ctypes.data, False
        of_blend = {"adds": adds, "shared": to[0], "gates": routed.gates.ctypes.data}
        score = [
            Score.step(
                source=routed.normed.ctypes.data,
                width=config.dim,
                weights=weights.vector(f"{path}.shared_gate.weight"),
                experts=1,
                logits=of_blend["gates"],
                logits_stride=routed.gates.strides[0],
            )
        ]
    up, down = _feed_forward(weights, buffers, f"{path}.shared", settings.shared_dim, to)
    return [*score, *up, *down], of_blend


def _of_experts(weights: Weights, path: str, name: str, rows: int, runs: int, output: tuple[int, int]) -> list[Step]:
    """Each row times the matrix of its own expert, to an address with a stride; a step for each part of the matrices
    that is stored in a way of its own."""
    settings, key = weights.config.experts, f"{path}.{name}"
    assert settings is not None
    if key not in weights.expert_tables:
        paths = [f"{path}.experts.{expert}.{name}" for expert in range(settings.count)]
        matrices = [weights.matrix(f"{one}.weight") for one in paths]
        weights.expert_tables[key] = expert_tables(matrices, [weights.vector(f"{one}.bias") for one in paths])
    tables = weights.expert_tables[key]
    for one in tables:
        want(np.unique(one[one[:, Matrix.BLOCKS] > 0, Matrix.FORM]).tolist())
    return [
        Expert.step(
            table=one.ctypes.data,
            blocks=one[:, Matrix.BLOCKS].max(),
            rows=rows,
            runs=runs,
            output=output[0],
            output_stride=output[1],
        )
        for one in tables
    ]
