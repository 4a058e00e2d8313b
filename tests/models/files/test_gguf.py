"""GGUF files written by the public package, read back as the network that they came from."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import tiny
import torch
from jobs.small_files import FAMILIES as SMALL_FAMILIES
from jobs.small_files import MIXTURES

from lmworks.basics import memory
from lmworks.basics.errors import ModelError
from lmworks.encoding.pooling import Pooling
from lmworks.kernels.footprint import Footprint
from lmworks.language_model import LanguageModel
from lmworks.models.config import ModelConfig, RopeScaling
from lmworks.models.families import FAMILIES as FAMILY_TABLES
from lmworks.models.families.gguf import ARCHITECTURES, NORM_EPS, SETTINGS, TENSORS_OF, VARIANTS
from lmworks.models.families.names import each_name
from lmworks.models.families.sources import NeighbourRows, Ordered, Rows, Said, rows_of
from lmworks.models.files import gguf as reading
from lmworks.models.files.gguf import read_gguf_network, stored_dtype
from lmworks.models.files.gguf_config import gguf_config
from lmworks.models.files.gguf_file import GGUFFile, matrix_of
from lmworks.models.files.gguf_groups import StoredInGGUF
from lmworks.models.network import Network
from lmworks.models.positions.rope import frequencies
from lmworks.models.unread import peeked, present

Kind = gguf.GGMLQuantizationType
WIDE = {
    "dim": 64,
    "hidden_dim": 96,
    "heads": 4,
    "kv_heads": 2,
    "norm_eps": 1e-6,
}  # rows of whole blocks of 32
GPT2 = {
    "family": "gpt2",
    "positions": "learned",
    "norm": "layer",
    "gated": False,
    "qkv_bias": True,
    "output_bias": True,
    "feed_forward_bias": True,
    "activation": "gelu_tanh",
    "kv_heads": 4,
    "norm_eps": 1e-5,
}
OLDER = {"norm": "layer", "gated": False, "activation": "gelu", "kv_heads": 4, "norm_eps": 1e-5}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"tied": False},
    "llama with biases": {"qkv_bias": True, "output_bias": True, "feed_forward_bias": True},
    "mistral-like wide heads": {"head_dim": 32, "kv_heads": 1},
    "qwen2": {"family": "qwen2", "qkv_bias": True, "rope_theta": 1e6},
    "qwen3": {"family": "qwen3", "qk_norm": True, "head_dim": 32},
    "gemma": {
        "family": "gemma",
        "norm_unit_offset": True,
        "scale_embedding": True,
        "activation": "gelu_tanh",
        "head_dim": 32,
    },
    "gpt2": GPT2,
    "gpt_neox": OLDER
    | {"family": "gpt_neox", "qkv_bias": True, "output_bias": True, "feed_forward_bias": True}
    | {"parallel": True, "rotary_dim": 4, "tied": False},
    "bloom": OLDER
    | {"family": "bloom", "qkv_bias": True, "output_bias": True, "feed_forward_bias": True}
    | {"positions": "alibi", "embedding_norm": "layer", "activation": "gelu_tanh"},
    "falcon": OLDER | {"family": "falcon", "parallel": True, "shared_norm": True, "kv_heads": 1},
    "falcon with two norms": OLDER | {"family": "falcon", "parallel": True, "kv_heads": 2},
    "phi2": OLDER
    | {"family": "phi", "parallel": True, "shared_norm": True, "rotary_dim": 8, "head_bias": True, "tied": False}
    | {"qkv_bias": True, "output_bias": True, "feed_forward_bias": True, "activation": "gelu_tanh"},
    "starcoder2": OLDER
    | {"family": "starcoder2", "qkv_bias": True, "output_bias": True, "feed_forward_bias": True, "kv_heads": 2}
    | {"activation": "gelu_tanh"},
    "stablelm": {"family": "stablelm", "norm": "layer", "rotary_dim": 4, "tied": False, "qkv_bias": True},
    "stablelm in parallel": {"family": "stablelm", "norm": "layer", "parallel": True, "shared_norm": True}
    | {"rotary_dim": 4, "tied": False},
    "nemotron": OLDER
    | {"family": "nemotron", "activation": "relu_squared", "norm_unit_offset": True, "rotary_dim": 8, "tied": False},
    "arcee": {"family": "arcee", "gated": False, "activation": "relu_squared", "tied": False},
    "command-r": {"family": "cohere", "norm": "layer", "norm_bias": False, "parallel": True, "shared_norm": True}
    | {"head_scale": 0.25},
    "cohere2": {"family": "cohere2", "norm": "layer", "norm_bias": False, "parallel": True, "shared_norm": True}
    | {"layers": 4, "head_scale": 0.25, "window": 9, "window_layers": (0, 1, 2), "rope_layers": (0, 1, 2)},
    "glm4": {"family": "glm4", "norm_place": "both", "rotary_dim": 8, "qkv_bias": True, "tied": False},
    "exaone4": {"family": "exaone4", "norm_place": "result", "qk_norm": True, "layers": 4, "window": 9}
    | {"window_layers": (0, 1, 2), "rope_layers": (0, 1, 2), "tied": False},
    "olmo3": {
        "family": "olmo3",
        "norm_place": "result",
        "qk_norm": True,
        "qk_norm_over": "row",
        "layers": 4,
        "window": 9,
    }
    | {"window_layers": (0, 1, 2), "window_theta": 10_000.0, "tied": False},
    "ernie4_5": {"family": "ernie4_5", "head_dim": 32},
    "seed_oss": {"family": "seed_oss", "qkv_bias": True, "tied": False},
    "hunyuan": {"family": "hunyuan_v1_dense", "qk_norm": True, "qk_norm_after": True},
    "lfm2": {"family": "lfm2", "qk_norm": True, "layers": 3, "convolution": {"layers": (0, 2), "width": 5}},
    "bert": OLDER
    | {"family": "bert", "arrangement": "encoder", "positions": "learned", "norm_place": "after", "segments": 2}
    | {"embedding_norm": "layer", "qkv_bias": True, "output_bias": True, "feed_forward_bias": True},
    "t5": {"family": "t5", "arrangement": "encoder-decoder", "positions": "relative", "attention_scale": 1.0}
    | {"gated": True, "activation": "gelu_tanh", "tied": False, "kv_heads": 4, "encoder_layers": 2},
    "t5, first version": {"family": "t5", "arrangement": "encoder-decoder", "positions": "relative"}
    | {"attention_scale": 1.0, "gated": False, "activation": "relu", "kv_heads": 4, "encoder_layers": 2}
    | {"head_scale": 0.125},
    "apertus": {"family": "apertus", "gated": False, "activation": "xielu", "qk_norm": True, "tied": False},
    "mpt": OLDER | {"family": "mpt", "positions": "alibi", "position_settings": {"flattest": 4.0}, "norm_bias": False},
}
LATENT = {"kv_heads": 4, "head_dim": 40, "rotary_dim": 8}
GROUPED = {"count": 6, "top_k": 2, "groups": 3, "top_groups": 2, "scale": 2.5}
OF_DEEPSEEK: dict[str, dict[str, Any]] = {
    "deepseek_v2": LATENT
    | {"latent": {"rank": 32, "value_dim": 16}, "layers": 3}
    | {"experts": {"count": 3, "hidden_dim": 32, "shared_dim": 64, "normalised": False, "layers": (1, 2)}},
    "deepseek_v3": LATENT
    | {"latent": {"rank": 32, "query_rank": 96, "value_dim": 16}, "attention_scale": 0.19028975}
    | {"rope_scaling": {"kind": "yarn", "factor": 4.0, "original_context": 32, "attention_factor": 1.0}}
    | {"experts": GROUPED | {"hidden_dim": 32, "shared_dim": 32, "scores": "sigmoid", "choice_bias": True}},
}
FAMILIES |= MIXTURES | {family: {"family": family, "tied": False} | one for family, one in OF_DEEPSEEK.items()}


def of_deepseek(**widths: int) -> dict[str, Any]:
    """What a file says of latent attention, with these widths."""
    said = {f"deepseek2.attention.{key}": value for key, value in ({"kv_lora_rank": 32} | widths).items()}
    return said | {"deepseek2.rope.dimension_count": 8}


SAID: dict[str, dict[str, Any]] = {
    "gpt_neox": {"gptneox.rope.dimension_count": 4, "gptneox.use_parallel_residual": True},
    "mpt": {"mpt.attention.max_alibi_bias": 4.0},
    "t5": {"t5.attention.relative_buckets_count": 32},
    "phi": {"phi2.rope.dimension_count": 8},
    "stablelm": {"stablelm.rope.dimension_count": 4},
    "nemotron": {"nemotron.rope.dimension_count": 8},
    "cohere": {"command-r.logit_scale": 0.25},
    "cohere2": {"cohere2.logit_scale": 0.25, "cohere2.attention.sliding_window_pattern": 4},
    "glm4": {"glm4.rope.dimension_count": 8},
    "lfm2": {"lfm2.attention.head_count_kv": [0, 2, 0], "lfm2.shortconv.l_cache": 5},
    "exaone4": {"exaone4.attention.sliding_window_pattern": [True, True, True, False]},
    "gpt_oss": {"gpt-oss.rope.scaling.type": "yarn", "gpt-oss.rope.scaling.factor": 4.0}
    | {"gpt-oss.rope.scaling.original_context_length": 32},
    "glm4_moe": {"glm4moe.rope.dimension_count": 8, "glm4moe.leading_dense_block_count": 1}
    | {"glm4moe.expert_shared_count": 2, "glm4moe.expert_weights_scale": 1.8, "glm4moe.expert_weights_norm": True},
    "deepseek_v2": of_deepseek(value_length=16)
    | {"deepseek2.leading_dense_block_count": 1, "deepseek2.expert_shared_count": 2},
    # Of a head whose query was taken through what makes keys; YaRN multiplies scores by 0.7.
    "deepseek_v3": of_deepseek(key_length=40, value_length=32, key_length_mla=40, value_length_mla=16, q_lora_rank=96)
    | {"deepseek2.attention.head_count_kv": 1, "deepseek2.expert_gating_func": 2, "deepseek2.expert_shared_count": 1}
    | {"deepseek2.expert_group_count": 3, "deepseek2.expert_group_used_count": 2}
    | {"deepseek2.expert_weights_scale": 2.5, "deepseek2.expert_weights_norm": True}
    | {"deepseek2.rope.scaling.type": "yarn", "deepseek2.rope.scaling.factor": 4.0}
    | {"deepseek2.rope.scaling.original_context_length": 32, "deepseek2.rope.scaling.yarn_log_multiplier": 0.07},
}
"""What files of some families say beside what all do."""


def architecture_of(family: str) -> str:
    variants = {variant: theirs for theirs, (_, variant) in VARIANTS.items()}
    known = {ours: theirs for theirs, ours in ARCHITECTURES.items()} | variants
    return known.get(family, family)


def said_of_experts(config: ModelConfig) -> dict[str, Any]:
    """What a file says of them, after the architecture."""
    if (experts := config.experts) is None:
        return {}
    said = {"expert_count": experts.count, "expert_used_count": experts.top_k}
    widths = {
        "expert_feed_forward_length": experts.hidden_dim,
        "expert_shared_feed_forward_length": experts.shared_dim,
        "attention.scale": config.attention_scale,
        "residual_scale": config.residual_scale,
        "logit_scale": config.head_scale and 1 / config.head_scale,
    }
    return said | {key: value for key, value in widths.items() if value}


BFLOAT16_EPS = -9.98377799987793e-07
"""What real files of Apertus say: -1e-6, as the buffer that is written was rounded."""


def said_of_activations(network: Network) -> dict[str, Any]:
    """Of xIELU, as llama.cpp's ApertusModel writes it: a list for each number."""
    learned = {
        f"xielu.{theirs}": [block.feed_forward.activation.state_dict()[ours].item() for block in network.blocks]
        for theirs, ours in (("alpha_p", "above"), ("alpha_n", "below"))
    }
    return learned | {
        key: [value] * network.config.layers for key, value in (("xielu.beta", 0.5), ("xielu.eps", BFLOAT16_EPS))
    }


def permuted(weight: np.ndarray, heads: int) -> np.ndarray:
    """llama.cpp's own order of query and key rows (convert_hf_to_gguf.py, LlamaModel.permute)."""
    return (
        weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)
    )


def llama_cpp_tensors(network: Network) -> dict[str, np.ndarray]:
    """The network's tensors under llama.cpp's names, as its converter writes them."""
    config, state = network.config, network.state_dict()
    known = FAMILY_TABLES.get(config.family, FAMILY_TABLES["llama"])
    public, own = dict(each_name(known.tensors, config)), {}
    if any(isinstance(one, NeighbourRows | Ordered) for one in public.values()):
        own = known.tensors_to(state, config)
    theirs: dict[str, np.ndarray] = {}
    stacks: dict[str, list[np.ndarray]] = {}
    for name, source in each_name(TENSORS_OF.get(config.family, TENSORS_OF["llama"]), config):
        if isinstance(source, Said):
            continue
        tensor = state[name] + 1 if config.norm_unit_offset and name.endswith("norm.weight") else state[name]
        tensor = tensor.squeeze(1) if name.endswith(".attention.kernel") else tensor
        parts = tensor.split(rows_of(name, config)) if isinstance(source, Rows) else [tensor]
        for part_name, part in zip(source.names if isinstance(source, Rows) else [source], parts, strict=True):
            heads = {"attn_q": config.heads, "attn_k": config.kv_heads}.get(part_name.split(".")[-2])
            weight = part.numpy()
            tensor_name, expert = matrix_of(part_name)
            turns = heads and config.family in ("llama", "arcee", "mixtral", "granitemoe", "granitemoeshared")
            weight = permuted(weight, heads) if turns else weight
            if expert is not None:
                stacks.setdefault(tensor_name, []).append(weight)
            else:
                theirs[part_name] = weight[0] if name.endswith("shared_gate.weight") else weight
            if isinstance(public.get(name), NeighbourRows):  # whose rows stay as the Hugging Face file has them
                theirs[part_name] = own[public[name].names[source.names.index(part_name)]].numpy()
            elif isinstance(public.get(name), Ordered):
                theirs[part_name] = own[public[name].name].numpy()
    return theirs | {name: np.stack(parts) for name, parts in stacks.items()}


def write(
    path: Path,
    network: Network,
    kind: Kind = Kind.F32,
    metadata: dict[str, Any] | None = None,
    tensors: dict[str, np.ndarray] | None = None,
    kinds: dict[str, Kind] | None = None,
) -> dict[str, np.ndarray]:
    """Write a GGUF file, matrices in one kind but for those of `kinds`; return what its tensors hold once they are
    dequantised."""
    config, architecture = network.config, architecture_of(network.config.family)
    writer = gguf.GGUFWriter(path, architecture)
    entries = {
        f"{architecture}.{name}": getattr(config, ours)
        for ours, name in SETTINGS.items()
        if getattr(config, ours) is not None
    }
    entries |= {f"{architecture}.{NORM_EPS[config.norm == 'layer']}": config.norm_eps} | SAID.get(config.family, {})
    entries |= {f"{architecture}.{name}": value for name, value in said_of_experts(config).items()} | (metadata or {})
    entries |= said_of_activations(network) if config.activation == "xielu" else {}
    for key, value in entries.items():
        add = {
            bool: writer.add_bool,
            int: writer.add_uint32,
            float: writer.add_float32,
            str: writer.add_string,
            list: writer.add_array,
        }[type(value)]
        add(key, value)
    held: dict[str, np.ndarray] = {}
    for name, weight in (llama_cpp_tensors(network) if tensors is None else tensors).items():
        stored = (kinds or {}).get(name, kind) if weight.ndim > 1 and "shortconv.conv" not in name else Kind.F32
        data = gguf.quantize(weight.astype(np.float32), stored)
        writer.add_tensor(name, data, raw_dtype=stored)
        held[name] = gguf.dequantize(data, stored).reshape(weight.shape)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return held


@pytest.mark.parametrize("settings", (EVERY := FAMILIES | SMALL_FAMILIES).values(), ids=EVERY)
def test_names_are_those_that_the_public_package_maps_them_to(settings: dict[str, Any]):
    """The same tensors in the same order as in the Hugging Face table, by gguf's own map between the two."""
    config = tiny.network(**(WIDE | settings)).config
    config = config if config.family != "mistral" else config.but(family="llama")
    known = {name: number for number, name in gguf.MODEL_ARCH_NAMES.items()}
    public = gguf.get_tensor_name_map(known[architecture_of(config.family)], config.layers)
    theirs = dict(each_name(FAMILY_TABLES[config.family].tensors, config))
    for name, source in each_name(TENSORS_OF[config.family], config):
        if isinstance(source, Said):
            continue
        ours = source.names if isinstance(source, Rows) else (source,)
        other = theirs[name]
        parts = other.names if isinstance(other, Rows | NeighbourRows) else (getattr(other, "name", other),)
        if name.endswith("up.weight") and config.family.startswith("granitemoe"):  # which the converter splits
            parts = [expected.replace("input_linear", "output_linear") for expected in parts * 2]
            ours = [part.replace("gate", "down").replace("up", "down") for part in ours]
        if config.family == "gpt_oss":  # the same, and sinks and biases get a kind
            gates = (
                [one.replace("gate_up", gate) for one in parts for gate in ("gate", "up")] if len(ours) == 2 else parts
            )
            made = [re.sub(r"_bias$", ".bias", one) for one in (gates if ".experts." in name else parts)]
            parts = [one if one.endswith((".weight", ".bias")) else f"{one}.weight" for one in made]
        for part, expected in zip(ours, parts, strict=True):
            base, _, kind = expected.replace("correction_bias", "correction.bias").rpartition(".")
            # llama.cpp's converter takes the prefix off BLOOM's and BERT's names before it looks them up.
            base = re.sub(r"\.experts\.\d+\.", ".experts.", base)
            found = public.get_name(base) or public.get_name(re.sub(r"^(transformer|bert)\.", "", base))
            assert matrix_of(part)[0] == f"{found}.{kind}"


@pytest.mark.parametrize("settings", FAMILIES.values(), ids=FAMILIES)
def test_a_float32_file_gives_back_the_network_exactly(settings: dict[str, Any], tmp_path: Path):
    network = tiny.network(**(WIDE | settings))
    write(tmp_path / "model.gguf", network)
    back = read_gguf_network(file := GGUFFile(tmp_path / "model.gguf"), torch.float32)
    assert back.config == network.config and stored_dtype(file) is torch.float32
    # Gemma's norms went through 1 + weight, which rounds.
    loss = {"rtol": 0, "atol": 2e-7 if network.config.norm_unit_offset else 0}
    torch.testing.assert_close(back.state_dict(), network.state_dict(), **loss)
    tokens = tiny.text(2, 20)
    two = [
        one(tokens, memory=one.encode(tokens) if one.config.arrangement == "encoder-decoder" else None)
        for one in (back, network)
    ]
    exact = 1e-4 if network.config.attention_scale == 1.0 else 1e-5  # T5's scores are large
    torch.testing.assert_close(*two, rtol=exact, atol=exact)


@pytest.mark.parametrize(
    "kind",
    [Kind.F16, Kind.BF16, Kind.Q8_0, Kind.Q4_0, Kind.Q4_1, Kind.Q5_0, Kind.Q5_1],
    ids=lambda kind: kind.name,
)
@pytest.mark.parametrize("family", ["llama", "qwen3", "gpt2"])
def test_other_kinds_give_what_the_public_package_dequantises(family: str, kind: Kind, tmp_path: Path):
    network = tiny.network(**(WIDE | FAMILIES[family]))
    held = write(tmp_path / "model.gguf", network, kind)
    back = read_gguf_network(file := GGUFFile(tmp_path / "model.gguf"), torch.float32)
    for name, weight in llama_cpp_tensors(back).items():
        np.testing.assert_array_equal(weight, held[name], err_msg=name)
    assert not torch.equal(back.embedding.weight, network.embedding.weight)  # the kind did round something
    floats = {"F16": torch.float16, "BF16": torch.bfloat16}
    assert stored_dtype(file) is floats.get(kind.name)


def held_apart(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """With what makes keys and what makes values of latent states in a tensor each."""
    apart = {}
    for name, weight in tensors.items():
        if "attn_kv_b" in name:
            keys, values = np.split(weight.reshape(4, 48, 32), [32], axis=1)
            apart[name.replace("kv_b", "k_b")] = np.ascontiguousarray(keys.swapaxes(1, 2))
            apart[name.replace("kv_b", "v_b")] = np.ascontiguousarray(values)
        else:
            apart[name] = weight
    return apart


@pytest.mark.parametrize("stays", [True, False])
def test_keys_and_values_of_latent_states_may_be_held_apart(stays: bool, tmp_path: Path):
    """The first of them turned about, as llama.cpp's converter writes them since it takes queries through it."""
    network = tiny.network(**(WIDE | FAMILIES["deepseek_v3"]))
    tensors = held_apart(llama_cpp_tensors(network))
    write(tmp_path / "apart.gguf", network, tensors=tensors)
    file = GGUFFile(tmp_path / "apart.gguf")
    back = read_gguf_network(file, torch.float32, lambda config: lambda name: stays and "expand" in name)
    found = {name: present(one) for name, one in peeked(back).items()}
    for name, weight in network.named_parameters():
        torch.testing.assert_close(found[name], weight, rtol=0, atol=0)
    turned = tensors | {name: one.swapaxes(1, 2).copy() for name, one in tensors.items() if "v_b" in name}
    write(tmp_path / "turned.gguf", network, tensors=turned)
    with pytest.raises(ModelError, match=r"attn_v_b\.weight has the shape \[4, 32, 16\]"):
        read_gguf_network(GGUFFile(tmp_path / "turned.gguf"), torch.float32)


def test_layers_that_guess_further_tokens_are_left_out(tmp_path: Path):
    """GLM-4.5's files count them among the layers."""
    network = tiny.network(**(WIDE | FAMILIES["glm4_moe"]))
    more = {"blk.3.nextn.eh_proj.weight": np.ones((64, 128)), "blk.3.attn_norm.weight": np.ones(64)}
    tensors, said = llama_cpp_tensors(network) | more, {"glm4moe.block_count": 4, "glm4moe.nextn_predict_layers": 1}
    write(tmp_path / "m.gguf", network, metadata=said, tensors=tensors)
    back = read_gguf_network(GGUFFile(tmp_path / "m.gguf"), torch.float32)
    assert back.config == network.config
    torch.testing.assert_close(back.state_dict(), network.state_dict(), rtol=0, atol=0)
    for further, words in ((0, "it holds blk.3.attn_norm"), (5, "does not describe a glm4_moe network")):
        said |= {"glm4moe.nextn_predict_layers": further, "glm4moe.block_count": 3 if further == 0 else 4}
        write(tmp_path / "odd.gguf", network, metadata=said, tensors=tensors)
        with pytest.raises(ModelError, match=words):
            read_gguf_network(GGUFFile(tmp_path / "odd.gguf"), torch.float32)


def test_rows_are_in_the_order_of_the_half_split_rotation(tmp_path: Path):
    """Pitfall 11: without undoing the order, the logits are others."""
    network = tiny.network(**WIDE)
    tensors = llama_cpp_tensors(network)
    turned = tensors | {
        name: permuted(weight, 4 if "attn_q" in name else 2)
        for name, weight in tensors.items()
        if "attn_q" in name or "attn_k" in name
    }
    write(tmp_path / "turned_twice.gguf", network, tensors=turned)
    tokens = tiny.text(1, 20)
    wrong = read_gguf_network(GGUFFile(tmp_path / "turned_twice.gguf"), torch.float32)
    assert not torch.allclose(wrong(tokens), network(tokens), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", ["linear", "yarn"])
def test_rotary_scaling_in_the_metadata(kind: str, tmp_path: Path):
    scaling = RopeScaling(kind=kind, factor=4.0, original_context=32)
    network = tiny.network(**WIDE, rope_scaling=scaling)
    write(
        tmp_path / "model.gguf",
        network,
        metadata={
            "llama.rope.scaling.type": kind,
            "llama.rope.scaling.factor": 4.0,
            "llama.rope.scaling.original_context_length": 32,
        },
    )
    back = read_gguf_network(GGUFFile(tmp_path / "model.gguf"), torch.float32)
    assert back.config.rope_scaling == scaling
    tokens = tiny.text(1, 48)
    torch.testing.assert_close(back(tokens), network(tokens), rtol=1e-5, atol=1e-5)
    plain = Network(network.config.but(rope_scaling=None))
    plain.load_state_dict(network.state_dict())
    assert not torch.allclose(plain(tokens), network(tokens), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("factor", [8.0, 32.0])
def test_the_frequencies_of_llama_3_are_known_by_their_divisors(factor: float, tmp_path: Path):
    scaling = RopeScaling(kind="llama3", factor=factor, original_context=8192)
    settings = WIDE | {"head_dim": 64, "rope_theta": 500_000.0, "context": 131_072}
    network = tiny.network(**settings, rope_scaling=scaling)
    divisors = frequencies(network.config.but(rope_scaling=None))[0] / frequencies(network.config)[0]
    assert divisors.min() == 1 and divisors.max() == pytest.approx(factor)
    tensors = llama_cpp_tensors(network) | {"rope_freqs.weight": divisors.numpy()}
    write(tmp_path / "model.gguf", network, tensors=tensors)
    assert read_gguf_network(GGUFFile(tmp_path / "model.gguf"), torch.float32).config.rope_scaling == scaling
    write(tmp_path / "strange.gguf", network, tensors=tensors | {"rope_freqs.weight": divisors.numpy() * 1.5})
    with pytest.raises(ModelError, match=r"rope_freqs\.weight.*no scaling that is known"):
        read_gguf_network(GGUFFile(tmp_path / "strange.gguf"), torch.float32)


def broken(change: str, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    if change == "missing":
        return {name: weight for name, weight in tensors.items() if name != "blk.1.ffn_down.weight"}
    if change == "unexpected":
        return tensors | {"blk.0.ffn_gate_inp.weight": np.zeros((4, 64), np.float32)}
    if change == "shape":
        return tensors | {"blk.0.attn_output.weight": np.zeros((64, 32), np.float32)}
    return tensors | {"output_norm.weight": np.full(64, np.nan, np.float32)}


@pytest.mark.parametrize(
    "change, words",
    [
        ("missing", r"no tensor blk\.1\.ffn_down\.weight"),
        ("unexpected", r"holds blk\.0\.ffn_gate_inp\.weight, which a llama network"),
        ("shape", r"attention\.output\.weight has the shape \[64, 32\].*and the settings ask for \[64, 64\]"),
        ("nan", r"norm\.weight holds values that are not finite"),
    ],
)
def test_a_file_that_is_not_this_network_is_refused(change: str, words: str, tmp_path: Path):
    network = tiny.network(**WIDE)
    write(tmp_path / "model.gguf", network, tensors=broken(change, llama_cpp_tensors(network)))
    with pytest.raises(ModelError, match=words) as caught:
        read_gguf_network(GGUFFile(tmp_path / "model.gguf"), torch.float32)
    assert "model.gguf" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "metadata, words",
    [
        ({"llama.attention.head_count": 5}, "not a multiple of"),
        ({"llama.rope.scaling.type": "longrope"}, "rotary scaling 'longrope' is not known"),
        ({"llama.rope.dimension_count": 8}, "a part of each head"),
        ({"llama.block_count": 2_000_000_000}, "layers is 2000000000"),
        ({"llama.attention.head_count_kv": [2, 2]}, "kv_heads is"),
    ],
)
def test_metadata_that_describes_no_network_is_refused(metadata: dict[str, Any], words: str, tmp_path: Path):
    write(tmp_path / "model.gguf", tiny.network(**WIDE), metadata=metadata)
    with pytest.raises(ModelError, match=words):
        read_gguf_network(GGUFFile(tmp_path / "model.gguf"), torch.float32)


def test_an_unknown_architecture_is_named(tmp_path: Path):
    network = tiny.network(**WIDE)
    made = Network(ModelConfig(**(network.config.model_dump() | {"family": "mamba"})))
    tiny.randomise(made)
    write(tmp_path / "model.gguf", made)
    with pytest.raises(
        ModelError, match=r"architecture 'mamba' is not known, and none of a like name is; docs/models\.md lists"
    ):
        read_gguf_network(GGUFFile(tmp_path / "model.gguf"), torch.float32)


@pytest.mark.slow
def test_every_tensor_of_smollm2_equals_transformers_own_loading(smollm2_path: Path):
    transformers = pytest.importorskip("transformers", reason="pip install 'lmworks[dev]'")
    from lmworks.models.families import family_of

    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        smollm2_path.parent, gguf_file=smollm2_path.name, dtype=torch.float32
    ).state_dict()
    network = read_gguf_network(GGUFFile(smollm2_path), torch.float32)
    ours = family_of("llama").tensors_to(network.state_dict(), network.config)
    assert len(ours) == 272 and set(theirs) - set(ours) == {"lm_head.weight"}
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name


def test_more_weights_than_memory_are_said_before_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What counts is the type that they are turned into: 4 bits in the file, 32 in memory."""
    network = tiny.network(dim=64, hidden_dim=96)
    write(tmp_path / "m.gguf", network, Kind.Q4_0)
    size = 4 * sum(weight.numel() for weight in network.parameters())
    for free, fits in ((size, True), (size - 1, False)):
        monkeypatch.setattr(memory, "available_bytes", lambda free=free: free)
        if fits:
            read_gguf_network(GGUFFile(tmp_path / "m.gguf"), torch.float32)
            continue
        monkeypatch.setattr(reading, "dequantised", None)  # nothing is read
        with pytest.raises(ModelError, match=r"m\.gguf takes 0\.0 GB, and 0\.0 GB of memory are free"):
            read_gguf_network(GGUFFile(tmp_path / "m.gguf"), torch.float32)


@pytest.mark.parametrize(
    ("family", "said", "names"),
    [
        ("mpt", {"mpt.attention.clamp_kqv": 6.0}, "cuts off"),
        ("mpt", {"mpt.attention.max_alibi_bias": 0.0}, "no ALiBi"),
        ("bert", {"bert.pooling_type": 4}, "ranks pairs"),
        ("deepseek_v2", {"deepseek2.expert_group_count": 3}, "within groups by a softmax"),
    ],
)
def test_what_the_network_does_not_do_is_refused(family: str, said: dict[str, Any], names: str, tmp_path: Path):
    write(tmp_path / "model.gguf", tiny.network(**(WIDE | FAMILIES[family])), metadata=said)
    with pytest.raises(ModelError, match=names):
        read_gguf_network(GGUFFile(tmp_path / "model.gguf"), torch.float32)


@pytest.mark.parametrize("family", OF_DEEPSEEK)
def test_a_file_that_says_no_groups_chooses_among_all_experts(family: str, tmp_path: Path):
    """As llama.cpp does with V3's, R1's and V2-236B's first files, which nothing tells from others."""
    write(tmp_path / "m.gguf", network := tiny.network(**(WIDE | FAMILIES[family])))
    file = GGUFFile(tmp_path / "m.gguf")
    for key in ("expert_group_count", "expert_group_used_count"):
        file.metadata.pop(f"deepseek2.{key}", None)
    assert network.config.experts is not None
    wanted = network.config.experts.but(groups=1, top_groups=None)
    assert read_gguf_network(file, torch.float32).config == network.config.but(experts=wanted)


def test_experts_of_another_number_are_refused(tmp_path: Path):
    network = tiny.network(**(WIDE | FAMILIES["qwen3_moe"]))
    write(tmp_path / "model.gguf", network, metadata={"qwen3moe.expert_count": 2})
    with pytest.raises(ModelError, match="there are 2 experts"):
        read_gguf_network(GGUFFile(tmp_path / "model.gguf"), torch.float32)


def test_a_tensor_of_other_experts_than_the_file_says_is_named(tmp_path: Path):
    network = tiny.network(**(WIDE | FAMILIES["mixtral"]))
    tensors = llama_cpp_tensors(network)
    tensors["blk.1.ffn_up_exps.weight"] = tensors["blk.1.ffn_up_exps.weight"][:2]
    write(tmp_path / "model.gguf", network, tensors=tensors)
    with pytest.raises(ModelError, match=r"ffn_up_exps.weight has the shape \[2, 96, 64\], and there are 3 experts"):
        read_gguf_network(GGUFFile(tmp_path / "model.gguf"), torch.float32)


def test_an_encoders_file_says_how_states_become_a_vector(tmp_path: Path):
    network = tiny.network(**(WIDE | FAMILIES["bert"]))
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "▁the", "▁model", "s"]
    said = {"tokenizer.ggml.model": "bert", "tokenizer.ggml.tokens": words, "bert.pooling_type": 2}
    write(tmp_path / "model.gguf", network, metadata=said | {"tokenizer.ggml.token_type": [3] * 5 + [1] * 3})
    model = LanguageModel.load(tmp_path / "model.gguf", dtype="float32")
    first = network.hidden(torch.tensor([[2, 5, 6, 7, 3]]))[0, 0].detach()
    expected = torch.nn.functional.normalize(first, dim=0)
    torch.testing.assert_close(torch.as_tensor(model.embed(["The models"]))[0], expected, rtol=1e-5, atol=1e-5)
    assert (model.pooling.mode, Pooling.of_gguf({"general.architecture": "bert"})) == ("first", None)


OLLAMAS: dict[str, Any] = {"dim": 64, "hidden_dim": 64, "heads": 4, "kv_heads": 2, "norm_eps": 1e-5, "head_dim": 16}


def ollamas(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The names and orders of Ollama's converter (convert/convert_gptoss.go) for tensors under llama.cpp's."""
    theirs = {}
    for name, weight in tensors.items():
        block, _, kind = name.rpartition(".")
        layer = block.rpartition(".")[0]
        if block.endswith("attn_q"):
            parts = [tensors[f"{layer}.attn_{part}.{kind}"] for part in "qkv"]
            theirs[f"{layer}.attn_qkv.{kind}"] = np.concatenate(parts)
        elif block.endswith("ffn_gate_exps"):
            pair = [weight, tensors[f"{layer}.ffn_up_exps.{kind}"]]  # rows 0, 2, 4, ... are the gate's
            theirs[f"{layer}.ffn_gate_up_exps.{kind}"] = np.stack(pair, 2).reshape(len(weight), -1, *weight.shape[2:])
        elif not block.endswith(("attn_k", "attn_v", "ffn_up_exps")):
            new = name.replace("attn_output", "attn_out").replace("post_attention_norm", "ffn_norm")
            theirs[new.replace("attn_sinks.weight", "attn_sinks")] = weight
    return theirs


def in_pairs(data: np.ndarray) -> np.ndarray:
    """Blocks of MXFP4 with neighbours in each byte, as OpenAI's files have them."""
    blocks = data.reshape(-1, 17)
    codes = np.concatenate([blocks[:, 1:] & 15, blocks[:, 1:] >> 4], 1)
    return np.concatenate([blocks[:, :1], codes[:, ::2] | codes[:, 1::2] << 4], 1).reshape(data.shape)


def ollama_file(path: Path, network: Network) -> tuple[Path, dict[str, np.ndarray]]:
    """Such a file, with experts in MXFP4 and the kind that Ollama gives it; and what it holds under llama.cpp's
    names."""
    tensors, held, writer = llama_cpp_tensors(network), {}, gguf.GGUFWriter(path, "gptoss")
    config, chosen = network.config, []
    numbers = {name: getattr(config, ours) for ours, name in SETTINGS.items() if getattr(config, ours) is not None}
    numbers |= {"expert_count": 3, "expert_used_count": 2, NORM_EPS[0]: config.norm_eps}
    numbers |= {"rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 32}
    for key, value in numbers.items():
        (writer.add_float32 if isinstance(value, float) else writer.add_uint32)(f"gptoss.{key}", value)
    for name, weight in tensors.items():
        held[name] = weight
        if "exps.weight" in name:
            held[name] = gguf.dequantize(gguf.quantize(weight, Kind.MXFP4), Kind.MXFP4).reshape(weight.shape)
    for name, weight in ollamas(held).items():
        if "exps.weight" in name:
            data = in_pairs(gguf.quantize(weight, Kind.MXFP4))
            assert np.array_equal(gguf.dequantize(gguf.quantize(weight, Kind.MXFP4), Kind.MXFP4), weight)
            writer.add_tensor(name, data, raw_dtype=Kind.MXFP4)
            chosen.append(name.encode())
        else:
            writer.add_tensor(name, weight.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    data = bytearray(path.read_bytes())
    for name in chosen:  # its kind stands after the number of dimensions, which is 3, and these
        place = data.index(name) + len(name) + 4 + 3 * 8
        assert data[place] == Kind.MXFP4
        data[place] = 4
    path.write_bytes(data)
    return path, held


def test_ollamas_own_files_of_gpt_oss(tmp_path: Path):
    network = tiny.network(**(OLLAMAS | MIXTURES["gpt_oss"]))
    path, held = ollama_file(tmp_path / "m.gguf", network)
    back = read_gguf_network(file := GGUFFile(path), torch.float32)
    assert back.config == network.config
    for name, weight in llama_cpp_tensors(back).items():
        np.testing.assert_array_equal(weight, held[name], err_msg=name)
    stored = StoredInGGUF(file, back.config)
    groups = stored.groups("blocks.1.feed_forward.experts.2.up.weight", slice(8, 100))
    assert groups.form == "mxfp4"
    assert torch.equal(groups.weights(), back.blocks[1].feed_forward.experts[2].up.weight[8:100])
    sinks = stored.floats("blocks.1.attention.sinks")
    assert sinks is not None and torch.equal(sinks, back.blocks[1].attention.sinks)


def test_damaged_files_of_ollamas_give_a_network_or_one_sentence(tmp_path: Path):
    whole = ollama_file(tmp_path / "m.gguf", tiny.network(**(OLLAMAS | MIXTURES["gpt_oss"])))[0].read_bytes()
    damaged_give_a_network_or_one_sentence(whole, tmp_path / "damaged.gguf")


def damaged_give_a_network_or_one_sentence(whole: bytes, path: Path) -> None:
    """100 files that were cut off, and 100 with another bit, most of them in the header."""
    draws, header = random.Random(0), whole.index(b"token_embd")
    for number in range(200):
        data = bytearray(whole[: draws.randrange(len(whole))] if number < 100 else whole)
        if number >= 100:
            data[draws.randrange(2 * header if number % 3 else len(data))] ^= 1 << draws.randrange(8)
        path.write_bytes(data)
        try:
            read_gguf_network(GGUFFile(path), torch.float32)
        except ModelError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("family", OF_DEEPSEEK)
def test_damaged_files_of_deepseek_give_a_network_or_one_sentence(family: str, tmp_path: Path):
    write(tmp_path / "m.gguf", tiny.network(**(WIDE | FAMILIES[family])))
    damaged_give_a_network_or_one_sentence((tmp_path / "m.gguf").read_bytes(), tmp_path / "damaged.gguf")


ODD: list[Any] = [0, -1, 1, 2, 48, 2**28, 2**63 - 1, "x", "", 1.5, -0.5, float("nan"), float("inf"), [], [1, 2], [0.5]]
ODD += [True, 1e300, [[1]], ["x", 1], ["x", 2, 0], [[2], 2, 0], None]
"""What a key of a damaged file may say; None for nothing."""
SELDOM = ("leading_dense_block_count", "expert_gating_func", "expert_group_count", "expert_group_used_count")
SELDOM += ("expert_weights_scale", "logit_scale", "rope.scaling.factor", "rope.scaling.type")
SELDOM += ("rope.scaling.attn_factor", "rope.scaling.original_context_length")
SELDOM += ("rope.scaling.yarn_log_multiplier", "attention.key_length_mla", "nextn_predict_layers")


@pytest.mark.parametrize("family", [*OF_DEEPSEEK, "glm4_moe", "gpt_oss", "lfm2", "granitemoe"])
def test_whatever_a_key_says_there_is_a_network_or_one_sentence(family: str, tmp_path: Path):
    """In the memory of a small network; and the plan that is made before it is read says no more."""
    write(tmp_path / "m.gguf", tiny.network(**(WIDE | FAMILIES[family])))
    said = dict(GGUFFile(tmp_path / "m.gguf").metadata)
    keys = {key for key in said if not key.startswith(("GGUF", "general"))}
    for key in sorted(keys | {f"{architecture_of(family)}.{name}" for name in SELDOM}):
        for value in ODD:
            file = GGUFFile(tmp_path / "m.gguf")
            file.metadata[key] = value
            if value is None:
                del file.metadata[key]
            for made in (lambda file=file: gguf_config(file), lambda file=file: Footprint.of(file.path, file)):
                try:
                    config = made()
                except ModelError as error:
                    assert "\n" not in str(error) and len(str(error)) < 600, (key, value)
                else:
                    if isinstance(config, ModelConfig) and config.rotates:
                        frequencies(config)


@pytest.mark.parametrize(
    "family, said, words",
    [
        ("deepseek_v2", {"block_count": "x"}, "block_count is 'x'; it should be a whole number from 0 to 10,000"),
        ("deepseek_v2", {"block_count": 2**28}, "block_count is 268435456; .* to 10,000"),
        ("deepseek_v2", {"leading_dense_block_count": -0.5}, "leading_dense_block_count is -0.5"),
        ("deepseek_v3", {"expert_group_count": [1, 2]}, r"expert_group_count is \[1, 2\]"),
        ("deepseek_v3", {"attention.key_length_mla": "x"}, "key_length_mla is 'x'"),
        ("deepseek_v3", {"rope.scaling.factor": "x"}, "rope.scaling.factor is 'x'; it should be a number from 0"),
        ("deepseek_v3", {"rope.scaling.yarn_log_multiplier": 1e300}, r"yarn_log_multiplier is 1e\+300"),
        ("deepseek_v3", {"rope.freq_base": 1.0}, "yarn needs a rope_theta above 1, and it is 1"),
        ("deepseek_v3", {"rope.scaling.original_context_length": -1}, "original_context is -1"),
        ("gpt_oss", {"rope.freq_base": 1.0}, "yarn needs a rope_theta above 1, and it is 1"),
        ("gpt_oss", {"rope.scaling.original_context_length": -1}, "original_context is -1"),
        ("granitemoe", {"logit_scale": "x"}, "logit_scale is 'x'"),
    ],
)
def test_a_key_that_says_nonsense_is_named(family: str, said: dict[str, Any], words: str, tmp_path: Path):
    write(tmp_path / "m.gguf", tiny.network(**(WIDE | FAMILIES[family])))
    file = GGUFFile(tmp_path / "m.gguf")
    file.metadata |= {f"{architecture_of(family)}.{key}": value for key, value in said.items()}
    with pytest.raises(ModelError, match=words):
        read_gguf_network(file, torch.float32)
    with pytest.raises(ModelError, match=words):
        Footprint.of(file.path, file)


@pytest.mark.parametrize("kind", [Kind.Q8_0, Kind.F16], ids=lambda kind: kind.name)
def test_what_a_file_holds_in_another_form_is_no_matrix_in_few_bits(kind: Kind, tmp_path: Path):
    """What makes keys and values of latent states, in two; the others are held as ever."""
    network = tiny.network(**(WIDE | FAMILIES["deepseek_v3"]))
    write(tmp_path / "apart.gguf", network, kind, tensors=held_apart(llama_cpp_tensors(network)))
    stored = StoredInGGUF(GGUFFile(tmp_path / "apart.gguf"), network.config)
    expand = "blocks.0.attention.expand.weight"
    assert stored.alike(expand) is None and stored.rows(expand) is None
    assert (stored.rows("blocks.0.attention.output.weight") is None) is (kind == Kind.F16)


APERTUS: dict[str, Any] = {"family": "apertus", "gated": False, "activation": "xielu", "qk_norm": True}


def test_damaged_files_of_apertus_give_a_network_or_one_sentence(tmp_path: Path):
    write(tmp_path / "m.gguf", tiny.network(**(WIDE | APERTUS)))
    damaged_give_a_network_or_one_sentence((tmp_path / "m.gguf").read_bytes(), tmp_path / "damaged.gguf")


@pytest.mark.parametrize(
    "key, value, words",
    [
        ("xielu.alpha_p", [0.5], None),
        ("xielu.alpha_p", 0.5, None),
        ("xielu.alpha_n", [1.0, float("nan")], "no number for layer 1 in xielu.alpha_n"),
        ("xielu.alpha_n", "much", "no number for layer 0 in xielu.alpha_n"),
        ("xielu.beta", [0.5, 0.25], r"other numbers of its activation than 0\.5 \(xielu\.beta\)"),
        ("xielu.eps", [-1e-6, BFLOAT16_EPS], None),
        ("xielu.eps", [-1.01e-6], r"other numbers of its activation than -1e-06 \(xielu\.eps\)"),
        ("xielu.eps", "small", r"other numbers of its activation than -1e-06 \(xielu\.eps\)"),
    ],
)
def test_numbers_of_activations(key: str, value: Any, words: str | None, tmp_path: Path):
    """One for all layers is as good as one for each, and what is no number is one sentence."""
    network = tiny.network(**(WIDE | APERTUS))
    write(tmp_path / "m.gguf", network)
    file = GGUFFile(tmp_path / "m.gguf")
    file.metadata[key] = value
    if words is not None:
        with pytest.raises(ModelError, match=words):
            read_gguf_network(file, torch.float32)
        return
    back = read_gguf_network(file, torch.float32)
    if key == "xielu.alpha_p":
        assert [block.feed_forward.activation.above.item() for block in back.blocks] == [0.5, 0.5]
