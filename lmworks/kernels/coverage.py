"""Which networks the tape covers, and the sentence that says why not. Imports no numba."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from lmworks.basics.extras import installing
from lmworks.basics.memory import available_bytes
from lmworks.kernels.emit.instructions import problem
from lmworks.kernels.frame import GROUP
from lmworks.kernels.packed import OVERHEAD_MXFP4, Stored
from lmworks.models.config import ModelConfig
from lmworks.models.hearing.config import SoundConfig
from lmworks.models.positions.encoding import encoding_of

if TYPE_CHECKING:
    from torch import nn

    from lmworks.models.block import Block
    from lmworks.models.network import Network


def uncovered(network: nn.Module) -> str | None:
    """What the tape has no operation for, as one sentence; None where it covers the network."""
    from lmworks.models.hearing.network import SoundNetwork
    from lmworks.models.network import Network

    if (reason := unknown(network.config)) is not None:
        return reason
    reason = (
        _state(network)
        if isinstance(network, Network) and type(network) in (Network, SoundNetwork)
        else "has not learned what this network adds to a transformer"
    )
    return None if reason is None else f"the compiled path {reason}"


def unknown(config: object) -> str | None:
    """The same of a config, before there are weights."""
    if type(config) not in (ModelConfig, SoundConfig):
        return "the compiled path runs transformers that read tokens or sound, and this network is none"
    assert isinstance(config, ModelConfig)
    stacks = [config, config.encoder()] if config.arrangement == "encoder-decoder" else [config]
    reason = next(filter(None, map(_parts, stacks)), None) or _shape(config)
    return None if reason is None else f"the compiled path {reason}"


def unavailable() -> str | None:
    """Why nothing is compiled on this machine, as one sentence; None where it can be."""
    if importlib.util.find_spec("numba") is None:
        return f"numba is not installed ({installing('fast')})"
    return problem()


def too_large(network: Network, bits: int, stored: Stored | None = None) -> str | None:
    """Why the packed weights do not fit beside the network's own, as one sentence, before it is tried; None where they
    do. Those that are `stored` in few bits take no more than these, and what the kernels keep beside them."""
    from lmworks.models.unread import peeked

    weights = sum(one.numel() for one in peeked(network).values() if one.ndim == 2)
    return too_many(weights, bits, None if stored is None else round(OVERHEAD_MXFP4 * stored.bytes))


def too_many(weights: int, bits: int, packed: int | None = None) -> str | None:
    """The same of a number of weights, which take no more than `packed` bytes in the bits of their file."""
    in_bits, free = weights * (bits + 1) // 8, available_bytes()
    of_file = packed is not None and packed < in_bits
    needed = packed if packed is not None and of_file else in_bits
    if free is None or needed < free:
        return None
    form = "the bits of the file" if of_file else f"{bits} bits"
    return f"the weights in {form} take {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB of memory are free"


def _shape(config: ModelConfig) -> str | None:
    half = (config.rotary_dim or config.head_dim) // 2
    if config.head_dim % 16:
        return f"has heads in steps of 16 dimensions, and head_dim is {config.head_dim}"
    if config.rotates and half % 8:
        return f"rotates in steps of 16 dimensions, and rotary_dim is {2 * half}"
    if config.latent is not None and config.latent.value_dim % 16:
        return f"has values in steps of 16 dimensions, and latent.value_dim is {config.latent.value_dim}"
    widths = {
        "dim": config.dim,
        "embedding_dim": config.embedding_width,
        "hidden_dim": config.hidden_dim,
    }
    widths |= {"heads x head_dim": config.heads * config.head_dim} if config.latent is None else _of_latent(config)
    if config.experts is not None:
        widths |= {"the experts' hidden_dim": config.expert_dim, "shared_dim": config.experts.shared_dim}
    if config.qk_norm_over == "row":
        widths["kv_heads x head_dim"] = config.kv_heads * config.head_dim
    for name, width in widths.items():
        if width % GROUP:
            return f"multiplies groups of {GROUP}, and {name} is {width}"
    return None


def _of_latent(config: ModelConfig) -> dict[str, int]:
    """Widths of latent attention: what is multiplied in groups, by their names."""
    settings, turned = config.latent, config.rotary_dim
    if settings is None or turned is None:
        return {}
    return {
        "latent.rank": settings.rank,
        "latent.query_rank": settings.query_rank or 0,
        "head_dim - rotary_dim": config.head_dim - turned,
        "heads x latent.value_dim": config.heads * settings.value_dim,
    }


def _parts(config: ModelConfig) -> str | None:
    missing = {
        "attends to a source in pre-norm and post-norm blocks alone, one part after the other": (
            config.arrangement == "encoder-decoder"
            and (config.norm_place not in ("before", "after") or config.parallel)
        ),
        **_of_experts(config),
        "has embeddings no wider than the stream, and embedding_dim is wider": config.embedding_width > config.dim,
        "scales no part (residual_scale) where embeddings are narrow": config.residual_scale is not None
        and config.embedding_dim is not None,
        "has no n-gram embeddings": bool(config.ngrams),
        "always adds to the stream, and residual is false": not config.residual,
        "always norms, and norm is none": config.norm == "none",
        f"has no {config.positions} positions": config.position_declaration.acts_on == "scores"
        and config.positions != "alibi"
        and encoding_of(config).alike_from(config) is None,
        "has no adaptive softmax": config.adaptive_cutoffs is not None,
        "scales no part after which the stream is normed": config.residual_scale is not None
        and (config.norm_place == "after" or config.embedding_norm == "layer"),
        "norms rows of queries and keys before the rotation alone": config.qk_norm_over == "row"
        and config.qk_norm_after,
    }
    return next((sentence for sentence, is_so in missing.items() if is_so), None)


def _of_experts(config: ModelConfig) -> dict[str, bool]:
    """What the tape has not of a mixture of experts."""
    settings = config.experts
    if settings is None:
        return {}
    return {
        "has experts in pre-norm blocks alone, one part after the other": config.norm_place not in ("before", "both")
        or config.parallel,
    }


def _state(network: Network) -> str | None:
    from lmworks.kernels.run.weights import BY_HEAD, may_be_adapted
    from lmworks.models.adapted import AdaptedLinear, adapted_layers
    from lmworks.models.adaptive_softmax import AdaptiveSoftmax
    from lmworks.models.linear import Linear
    from lmworks.models.unread import peeked

    blocks = [*network.blocks, *(() if network.encoder is None else network.encoder.blocks)]
    matrices = [matrix for block in blocks for matrix in (*_of_attention(block), *_of_feed_forward(block))]
    linear = [one.base if isinstance(one, AdaptedLinear) else one for one in matrices]
    parameters = list(peeked(network).values())
    elsewhere = next((path for path in adapted_layers(network) if not may_be_adapted(f"{path}.weight")), None)
    latent = next(
        (path for path, one in adapted_layers(network).items() if one.scales_rows and path.endswith(BY_HEAD)), None
    )
    against = {
        f"runs on a CPU, and the network is on {network.device}": network.device.type != "cpu",
        "has no adaptive softmax": isinstance(network.head, AdaptiveSoftmax),
        "knows plain linear layers, and those with adapters": any(type(one) is not Linear for one in linear),
        f"has no factors of rows for {latent}, whose rows it multiplies by head": latent is not None,
        f"packs adapters beside packed matrices, and one is on {elsewhere}": elsewhere is not None,
        "begins no text with a trained prompt": network.prompt is not None,
        "packs adapters, and some are part of their weights now; merge_adapters takes them off": any(
            one.merged for one in adapted_layers(network).values()
        ),
        "runs weights that no longer change, and these can be trained": any(one.requires_grad for one in parameters),
        "must see when weights change, which those made inside torch.inference_mode do not tell": any(
            one.is_inference() for one in parameters
        ),
    }
    return next((sentence for sentence, is_so in against.items() if is_so), None)


def _of_attention(block: Block) -> list[nn.Module]:
    """The matrices of a block's attention, and of that to a source, or of its short convolution."""
    from lmworks.models.latent_attention import LatentAttention
    from lmworks.models.short_convolution import ShortConvolution

    if isinstance(block.attention, ShortConvolution):
        return [block.attention.inward, block.attention.outward]
    own, other = block.attention, block.cross_attention
    if isinstance(own, LatentAttention):
        narrow = [] if own.query_down is None else [own.query_down]
        return [*narrow, own.query_up, own.latent, own.expand, own.output]
    return [own.qkv, own.output, *(() if other is None else (other.query, other.kv, other.output))]


def _of_feed_forward(block: Block) -> list[nn.Module]:
    """The matrices of a block's feed-forward, or of all its experts and the shared one."""
    from lmworks.models.experts import Experts

    feed_forward, every = block.feed_forward, []
    if isinstance(feed_forward, Experts):
        every = [*feed_forward.experts, *([] if feed_forward.shared is None else [feed_forward.shared])]
    return [matrix for one in every or [block.dense] for matrix in (one.up, one.down)]
