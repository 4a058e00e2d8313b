"""A network as GGUF: the way back from `gguf.py`, for llama.cpp to load.

    with written_whole(path) as temporary:
        write_gguf(temporary, network_entries(network.config), network_tensors(network), "q8_0")

Matrices are F16, BF16, Q8_0, Q4_0 or K-quants; with Q4_0 embedding and head stay at Q8_0, as 4 bits cost them most, and
with K-quants they and half of the values and of the matrices that come down are Q6_K, as llama.cpp's Q4_K_M and Q5_K_M
have it. Norms, biases and what else is no matrix are F32. A matrix whose rows are not whole groups of 32 stays F16, and
one whose rows are not whole blocks of 256 takes the next larger type of 32, as llama.cpp's own quantiser does it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from torch import Tensor

from lmworks.basics import progress
from lmworks.basics.errors import ConfigError, ModelError
from lmworks.models.config import ModelConfig, RopeScaling
from lmworks.models.families import family_of
from lmworks.models.families.gguf import (
    ACTIVATIONS,
    CONSTANTS,
    EXPAND,
    FACTORS,
    GRANITES,
    IMPLIED,
    KERNEL,
    NEIGHBOURS,
    NORM_EPS,
    ROUTER,
    SCALARS,
    SETTINGS,
    TENSORS_OF,
    VARIANTS,
    WRITTEN,
    WRITTEN_VARIANTS,
    as_written,
)
from lmworks.models.families.names import each_name
from lmworks.models.families.sources import Rows, Said, halves_of_neighbours, rows_of
from lmworks.models.files.gguf import LATENT_ROWS
from lmworks.models.files.gguf_file import matrix_of
from lmworks.models.files.gguf_kinds import BLOCKS, Kind
from lmworks.models.files.gguf_routed import (
    apart,
    as_read_back,
    entries_of_experts,
    entries_of_latent,
    problems_of_experts,
    problems_of_latent,
)
from lmworks.models.files.k_quants import BLOCK, rounded, to_k_blocks
from lmworks.models.files.quantise import fits, ggml, require_finite, to_blocks
from lmworks.models.network import Network
from lmworks.models.positions.rope import frequencies

KINDS = {"f16": Kind.F16, "bf16": Kind.BF16, "q8_0": Kind.Q8_0, "q4_0": Kind.Q4_0} | {
    "q4_k_m": Kind.Q4_K,
    "q5_k_m": Kind.Q5_K,
    "q6_k": Kind.Q6_K,
}
"""The types of `lmworks export --type`."""
FILE_TYPES = {Kind.F16: 1, Kind.Q4_0: 2, Kind.Q8_0: 7, Kind.Q4_K: 15, Kind.Q5_K: 17, Kind.Q6_K: 18, Kind.BF16: 32}
"""`general.file_type`: what most of the file is."""
INSTEAD = {Kind.Q4_K: Kind.Q5_0, Kind.Q5_K: Kind.Q5_1, Kind.Q6_K: Kind.Q8_0}
"""For matrices whose rows are not whole blocks of 256."""
WITH_BIASES = ("llama", "mistral", "mixtral", "qwen2", "gpt2", "smollm3", "qwen2_moe", "gpt_oss", "glm4_moe")
"""Families whose attention may have biases in such a file."""
DOWN = tuple(f"{name}.weight" for name in ("ffn_down", "ffn_down_exps", "ffn_down_shexp"))
"""How the names of what comes down end."""
Written = Tensor | tuple[Tensor, ...]
"""A tensor, or of one of all experts the share of each."""
OUTER = ("token_embd.weight", "output.weight", "position_embd.weight")


def exported_config(config: ModelConfig) -> ModelConfig:
    """The config that the file will be read back with; ModelError where llama.cpp has no such network.

    Mistral is written as llama, which llama.cpp computes it as; dropout is for training and is left out.
    """
    known = sorted({*WRITTEN.values(), *WRITTEN_VARIANTS, "mistral"})
    if config.arrangement != "decoder":
        raise ModelError(
            f"an {config.arrangement} cannot be written as GGUF here, only what writes: a decoder; use the model "
            "directory"
        )
    if config.family not in known:
        raise ModelError(
            f"a {config.family} network cannot be written as GGUF here (known are {', '.join(known)}); "
            "save it as a model directory"
        )
    family_of(config.family).config_to(config)  # says what the family itself cannot have
    scaling = config.rope_scaling
    problems = {
        "a sliding window, which llama.cpp does not use for this family": config.window is not None
        and config.family not in ("gemma2", "gemma3_text", "gpt_oss"),
        f"the activation {config.activation}": config.activation != ACTIVATIONS.get(config.family, "silu"),
        f"rotary scaling of the kind {scaling.kind if scaling else ''}": scaling is not None
        and scaling.turns_with_length
        and (config.family, scaling.kind) != ("phi3", "longrope"),
        "yarn settings of its own (attention_factor, beta_fast, beta_slow)": scaling is not None
        and scaling.kind == "yarn"
        and scaling
        != type(scaling)(
            kind="yarn",
            factor=scaling.factor,
            original_context=scaling.original_context,
            truncate=config.family != "gpt_oss",
            attention_factor=None if config.latent is None else 1.0,
        ),
        "biases in its attention": config.family not in WITH_BIASES and (config.qkv_bias or config.output_bias),
        "biases in its feed-forward": config.family in ("smollm3", "granite") and config.feed_forward_bias,
        "biases in its convolutions": config.convolution is not None and config.convolution.bias,
        "a head of its own": config.family in ("gemma", "gemma2") and not config.tied,
        "the embedding as its head": config.family in ("olmo2", "olmoe", "gpt_oss") and config.tied,
        "other heads than dim / heads": config.family in ("olmo2", "olmoe", "phi3")
        and config.heads * config.head_dim != config.dim,
        "fewer heads of keys than of queries": config.family == "olmoe" and config.kv_heads != config.heads,
        "no window": config.family == "gemma2" and config.window is None,
        "no caps": config.family == "gemma2" and None in (config.attention_cap, config.logit_cap),
        "a cap on its scores": config.family == "gemma3_text" and config.attention_cap is not None,
        "a gate that is cut off elsewhere than at 7": config.family == "gpt_oss" and config.gate_limit != 7.0,
        **problems_of_experts(config, _architecture(config.family)),
        **problems_of_latent(config),
    }
    for name, value in _implied(config).items():
        problems[f"{name} = {getattr(config, name)}, where llama.cpp knows {value} of this family"] = (
            _as_written(config, name) != value
        )
    for problem, found in problems.items():
        if found:
            raise ModelError(
                f"the {config.family} network has {problem}; a GGUF file has no place for it: use the model directory"
            )
    if scaling is not None and scaling.kind == "longrope":
        config = config.but(rope_scaling=_in_single(scaling, frequencies(config)[1]))
    return as_read_back(config).but(family="llama" if config.family == "mistral" else config.family, dropout=0.0)


def _in_single(scaling: RopeScaling, amplitude: float) -> RopeScaling:
    """Longrope with numbers as float32 holds them, and its amplitude said."""
    return scaling.but(
        attention_factor=as_written(amplitude),
        short_factors=tuple(map(as_written, scaling.short_factors)),
        long_factors=tuple(map(as_written, scaling.long_factors)),
    )


def _implied(config: ModelConfig) -> dict[str, Any]:
    """What llama.cpp knows without reading it."""
    return IMPLIED[config.family](config.model_dump()) if config.family in IMPLIED else {}


def _as_written(config: ModelConfig, name: str) -> Any:
    """A setting in the form that llama.cpp implies it."""
    value, layers = getattr(config, name), range(config.layers)
    if name == "attention_scale":
        return config.head_dim**-0.5 if value is None else value
    if name == "rope_layers" and value is None:
        return tuple(layers)
    if name == "window_layers" and config.window is not None:
        return tuple(layer for layer in layers if config.window_of(layer) is not None)
    if name == "window_theta" and value is None:
        return config.rope_theta
    return value


def network_entries(config: ModelConfig) -> dict[str, Any]:
    """The file's metadata on the network, key -> int, float or str; ModelError where llama.cpp has no such network."""
    ours = exported_config(config)
    architecture = _architecture(config.family)
    entries: dict[str, Any] = {
        f"{architecture}.{name}": getattr(ours, key)
        for key, name in (SETTINGS | SCALARS.get(config.family, {})).items()
        if getattr(ours, key) is not None and (ours.positions == "rope" or key not in ("rope_theta", "head_dim"))
    }
    entries[f"{architecture}.{NORM_EPS[ours.norm == 'layer']}"] = ours.norm_eps
    if ours.positions == "rope":
        entries[f"{architecture}.attention.value_length"] = ours.head_dim
        entries[f"{architecture}.rope.dimension_count"] = ours.rotary_dim or ours.head_dim
    if config.family in GRANITES:
        entries[f"{architecture}.logit_scale"] = 1 / (ours.head_scale or 1.0)
        entries[f"{architecture}.attention.scale"] = ours.attention_scale or ours.head_dim**-0.5
    said = entries_of_experts(config, architecture) | entries_of_latent(config)
    entries |= {f"{architecture}.{name}": value for name, value in said.items()}
    if config.family == "lfm2":
        entries["lfm2.attention.head_count_kv"] = [
            0 if ours.convolves(layer) else ours.kv_heads for layer in range(ours.layers)
        ]
        entries["lfm2.shortconv.l_cache"] = 3 if ours.convolution is None else ours.convolution.width
    entries[f"{architecture}.vocab_size"] = ours.vocab_size
    scaling = ours.rope_scaling
    if scaling is not None and scaling.kind == "longrope":
        entries[f"{architecture}.rope.scaling.original_context_length"] = scaling.original_context or ours.context
        entries[f"{architecture}.rope.scaling.attn_factor"] = frequencies(ours)[1]
    elif scaling is not None and scaling.kind != "llama3":
        entries[f"{architecture}.rope.scaling.type"] = scaling.kind
        entries[f"{architecture}.rope.scaling.factor"] = scaling.factor
        if scaling.original_context is not None:
            entries[f"{architecture}.rope.scaling.original_context_length"] = scaling.original_context
    return {"general.architecture": architecture, **entries}


def network_tensors(network: Network) -> dict[str, Written]:
    """The network's tensors under llama.cpp's names and in its order of rows; views where that is possible. Of a tensor
    of all experts the share of each."""
    config, weights = network.config, network.state_dict()
    theirs: dict[str, Written] = {}
    shares: dict[str, list[Tensor]] = {}
    for name, source in each_name(TENSORS_OF.get(config.family, TENSORS_OF["llama"]), config):
        if isinstance(source, Said):
            continue
        weight = weights[name]
        if EXPAND in str(source):
            theirs |= apart(str(source), weight, config)
            continue
        if config.norm_unit_offset and name.endswith("norm.weight"):
            weight = weight.float() + 1
        if name.endswith(".attention.kernel"):
            weight = weight.flatten(1)
        parts = weight.split(rows_of(name, config)) if isinstance(source, Rows) else [weight]
        names = source.names if isinstance(source, Rows) else (str(source),)
        if name.endswith(".shared_gate.weight"):
            parts = [weight[0]]
        for part, rows in zip(names, parts, strict=True):
            whole, expert = matrix_of(part)
            if expert is None:
                theirs[part] = _turned(part, rows, config)
            else:
                shares.setdefault(whole, []).append(rows)
    theirs |= {name: tuple(parts) for name, parts in shares.items()}
    if config.rope_scaling is not None and config.rope_scaling.kind == "longrope":
        theirs |= {name: torch.tensor(getattr(config.rope_scaling, key)) for key, name in FACTORS.items()}
    if config.rope_scaling is not None and config.rope_scaling.kind == "llama3":
        plain, scaled = frequencies(config.but(rope_scaling=None))[0], frequencies(config)[0]
        theirs["rope_freqs.weight"] = plain / scaled
    return theirs


def learned_entries(network: Network) -> dict[str, Any]:
    """What the metadata says of weights: numbers of each layer, and the constants beside them."""
    config, weights, found = network.config, network.state_dict(), dict[str, Any]()
    for name, source in each_name(TENSORS_OF.get(config.family, TENSORS_OF["llama"]), config):
        if isinstance(source, Said):
            require_finite(name, weights[name])
            found.setdefault(matrix_of(source)[0], []).append(float(weights[name]))
    constants = CONSTANTS.get(config.family, {}) if found else {}
    return found | {key: [value] * config.layers for key, value in constants.items()}


def each_part(weight: Written) -> tuple[Tensor, ...]:
    """Of a tensor of all experts the share of each, otherwise the tensor."""
    return weight if isinstance(weight, tuple) else (weight,)


def kind_of(name: str, weight: Written, kind: Kind, layers: int = 1) -> Kind:
    """What a tensor is stored as in a file of `kind`, of a network of that many layers."""
    weight = each_part(weight)[0]
    if weight.ndim < 2 or name.endswith((KERNEL, ROUTER)):
        return Kind.F32
    if kind == Kind.BF16:
        return kind
    if not fits(weight) or (name == OUTER[-1] and kind != Kind.F16):
        return Kind.F16
    if kind in INSTEAD:
        stored = Kind.Q6_K if name in OUTER or _has_more_bits(name, layers) else kind
        return stored if weight.shape[1] % BLOCK == 0 else INSTEAD[stored]
    return Kind.Q8_0 if kind == Kind.Q4_0 and name in OUTER else kind


def _has_more_bits(name: str, layers: int) -> bool:
    """llama.cpp's choice: values and what comes down, in the first and the last eighth of the layers, and in every
    third between them."""
    layer = int(name.split(".")[1]) if name.startswith("blk.") else 0
    eighth = layers // 8
    is_chosen = layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2
    return is_chosen and name.endswith(("attn_v.weight", *DOWN))


def write_gguf(
    path: Path,
    entries: Mapping[str, Any],
    tensors: Mapping[str, Written],
    kind: Kind,
    importance: Mapping[str, Tensor] | None = None,
) -> None:
    """Write a file of these entries and tensors, one tensor in memory at a time. `importance`: for the columns of a
    matrix, how much each counts where it is rounded to a K-quant.

    ModelError naming the tensor where a weight is not finite, or larger than float16 can hold.
    """
    facts = dict(entries)
    writer = gguf.GGUFWriter(path, facts.pop("general.architecture"))
    writer.add_file_type(FILE_TYPES[kind])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    for key, value in facts.items():
        _add(writer, key, value)
    layers = 1 + max((int(name.split(".")[1]) for name in tensors if name.startswith("blk.")), default=0)
    kinds = {name: kind_of(name, weight, kind, layers) for name, weight in tensors.items()}
    for name, weight in tensors.items():
        stored = kinds[name]
        is_float = stored in (Kind.F16, Kind.F32)
        parts = each_part(weight)
        *outer, columns = [*([len(parts)] if isinstance(weight, tuple) else []), *parts[0].shape]
        shape = [*outer, columns if is_float else _row_bytes(columns, stored)]
        number = np.dtype(np.uint8 if not is_float else np.float16 if stored == Kind.F16 else np.float32)
        size = prod(outer) * _row_bytes(columns, stored)
        writer.add_tensor_info(name, list(shape), number, size, raw_dtype=gguf.GGMLQuantizationType(stored))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    try:
        total = sum(part.numel() for weight in tensors.values() for part in each_part(weight))
        with progress.task("writing", total, "weights") as advance:
            for name, weight in tensors.items():
                made = []
                for expert, part in enumerate(each_part(weight)):
                    own = f"{name}[{expert}]" if isinstance(weight, tuple) else name
                    made.append(_bytes_of(own, part, kinds[name], (importance or {}).get(own)))
                    advance(part.numel())
                writer.write_tensor_data(np.stack(made) if isinstance(weight, tuple) else made[0])
    finally:
        writer.close()


def _bytes_of(name: str, weight: Tensor, kind: Kind, importance: Tensor | None) -> np.ndarray[Any, Any]:
    require_finite(name, weight)
    weight = weight.detach().float().contiguous()
    if kind == Kind.F32:
        return weight.numpy()
    if kind == Kind.BF16:
        return weight.bfloat16().view(torch.uint8).numpy()
    if kind == Kind.F16:
        halves, stored = weight.half(), weight.half()
    elif kind in INSTEAD:
        groups = rounded(weight, kind, importance)
        assert groups.factor is not None
        halves, stored = groups.factor, to_k_blocks(groups, kind)
    elif kind in (Kind.Q5_0, Kind.Q5_1):
        theirs = gguf.quantize(weight.numpy(), gguf.GGMLQuantizationType(kind))
        halves, stored = weight.half(), torch.from_numpy(theirs)
    else:
        groups = ggml(weight, kind)
        halves, stored = groups.scale, to_blocks(groups, kind)
    if not torch.isfinite(halves).all():
        raise ModelError(
            f"{name} holds {weight.abs().max():g}, more than float16 can hold, and a GGUF of this type stores float16; "
            "nothing was written: use the model directory"
        )
    return stored.numpy()


def _row_bytes(columns: int, kind: Kind) -> int:
    block, size = BLOCKS[kind]
    return columns // block * size


def _add(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    kinds: dict[type, Callable[[str, Any], None]] = {
        bool: writer.add_bool,
        int: writer.add_uint32,
        float: writer.add_float32,
        str: writer.add_string,
    }
    add = writer.add_array if isinstance(value, list) else kinds.get(type(value))
    if add is None:
        raise ConfigError(f"{key} = {value!r} is no entry of a GGUF file; give a number, a text or a list")
    add(key, value)


def _architecture(family: str) -> str:
    variants = {variant: name for name, (_, variant) in VARIANTS.items()}
    names = variants | {family: name for name, family in WRITTEN.items()} | {"mistral": "llama"}
    return names.get(family, family)


def _turned(name: str, weight: Tensor, config: ModelConfig) -> Tensor:
    """llama.cpp's order of query and key rows: see `turned_back` in gguf.py."""
    tensor = name.split(".")[-2]
    if config.latent is not None:
        return weight[LATENT_ROWS[tensor](config).argsort()] if tensor in LATENT_ROWS else weight
    turned = tensor in ("attn_q", "attn_k") and config.family in (*NEIGHBOURS, "mistral")
    return weight[halves_of_neighbours(weight, config).argsort()] if turned else weight
