"""GGUF: the same two tables for llama.cpp's file format.

Source: the GGUF specification and llama.cpp's tensor names.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Mapping
from typing import Any, Protocol

import numpy as np

from lmworks.basics.config import shortened
from lmworks.basics.errors import ModelError
from lmworks.models.config import MOST_LAYERS, ModelConfig
from lmworks.models.families.rotary import yarn_amplitude
from lmworks.models.families.sources import Chosen, Rows, Said, Source

WRITTEN = {
    **{name: name for name in ("llama", "qwen2", "qwen3", "gemma", "gpt2")},
    **{name: name for name in ("gemma2", "phi3", "smollm3", "granite", "olmo2", "lfm2")},
    "gemma3": "gemma3_text",
    "apertus": "apertus",
    **{"qwen2moe": "qwen2_moe", "qwen3moe": "qwen3_moe", "olmoe": "olmoe", "granitemoe": "granitemoe"},
    **{"gpt-oss": "gpt_oss", "glm4moe": "glm4_moe", "deepseek2": "deepseek_v2"},
}
"""`general.architecture` -> family, of those that are written too."""
WRITTEN_VARIANTS = ("mixtral", "granitemoeshared", "deepseek_v3")
"""Of VARIANTS, those that are written."""
ARCHITECTURES = (
    {"gptoss": "gpt_oss"}
    | WRITTEN
    | {
        **{"gptneox": "gpt_neox", "bloom": "bloom", "falcon": "falcon", "mpt": "mpt", "phi2": "phi"},
        **{name: name for name in ("starcoder2", "stablelm", "nemotron", "exaone4", "ernie4_5", "seed_oss", "arcee")},
        **{"command-r": "cohere", "cohere2": "cohere2", "glm4": "glm4", "hunyuan-dense": "hunyuan_v1_dense"},
        **{"bert": "bert", "t5": "t5"},
    }
)
"""The same of those that are read; Ollama has a word of its own for gpt-oss."""
VARIANTS = {  # architecture: the key that says so, and the family
    "llama": ("expert_count", "mixtral"),
    "granitemoe": ("expert_shared_feed_forward_length", "granitemoeshared"),
    "olmo2": ("attention.sliding_window", "olmo3"),
    "deepseek2": ("expert_gating_func", "deepseek_v3"),
}
"""Families that have another's architecture, and a setting more."""
WITH_ROUTES = ("deepseek2", "glm4moe")
"""Architectures whose files say how experts are chosen."""
SOFTMAX, SIGMOIDS = 1, 2
"""`expert_gating_func` of DeepSeek-V2, and of DeepSeek-V3 and GLM-4.5."""
FURTHER = "nextn_predict_layers"
"""How many of the layers guess further tokens; they are counted, and left out here."""
ACTIVATIONS = {
    "gpt2": "gelu_tanh",
    "gemma": "gelu_tanh",
    "gemma2": "gelu_tanh",
    "gemma3_text": "gelu_tanh",
    "bloom": "gelu_tanh",
    "phi": "gelu_tanh",
    "starcoder2": "gelu_tanh",
    "nemotron": "relu_squared",
    "arcee": "relu_squared",
    "gpt_neox": "gelu",
    "falcon": "gelu",
    "mpt": "gelu",
    "bert": "gelu",
    "gpt_oss": "quick_gelu",
    "apertus": "xielu",
}
"""Family -> non-linearity, which files do not say; silu for the others."""
GRANITES = ("granite", "granitemoe", "granitemoeshared")
NEIGHBOURS = ("llama", "mixtral", "smollm3", *GRANITES, "arcee", "cohere", "cohere2", "glm4", "ernie4_5")
"""Families of whose heads llama.cpp turns neighbours: as they do themselves, or as its converter changes the order of
query and key rows."""

SETTINGS = {  # ours             <- theirs, after "<architecture>."
    "layers": "block_count",
    "context": "context_length",
    "dim": "embedding_length",
    "hidden_dim": "feed_forward_length",
    "heads": "attention.head_count",
    "kv_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",
    "rope_theta": "rope.freq_base",
    "window": "attention.sliding_window",
}
NORM_EPS = ("attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon")

TENSORS: dict[str, Source] = {
    "embedding.weight": "token_embd.weight",
    "position.weight": "position_embd.weight",
    "blocks.{i}.attention_norm.weight": "blk.{i}.attn_norm.weight",
    "blocks.{i}.attention_norm.bias": "blk.{i}.attn_norm.bias",
    "blocks.{i}.attention.qkv.weight": Rows(
        ("blk.{i}.attn_q.weight", "blk.{i}.attn_k.weight", "blk.{i}.attn_v.weight")
    ),
    "blocks.{i}.attention.qkv.bias": Rows(("blk.{i}.attn_q.bias", "blk.{i}.attn_k.bias", "blk.{i}.attn_v.bias")),
    "blocks.{i}.attention.query_norm.weight": "blk.{i}.attn_q_norm.weight",
    "blocks.{i}.attention.key_norm.weight": "blk.{i}.attn_k_norm.weight",
    "blocks.{i}.attention.output.weight": "blk.{i}.attn_output.weight",
    "blocks.{i}.attention.output.bias": "blk.{i}.attn_output.bias",
    "blocks.{i}.feed_forward_norm.weight": "blk.{i}.ffn_norm.weight",
    "blocks.{i}.feed_forward_norm.bias": "blk.{i}.ffn_norm.bias",
    "blocks.{i}.feed_forward.up.weight": Rows(("blk.{i}.ffn_gate.weight", "blk.{i}.ffn_up.weight")),
    "blocks.{i}.feed_forward.up.bias": Rows(("blk.{i}.ffn_gate.bias", "blk.{i}.ffn_up.bias")),
    "blocks.{i}.feed_forward.down.weight": "blk.{i}.ffn_down.weight",
    "blocks.{i}.feed_forward.down.bias": "blk.{i}.ffn_down.bias",
    "norm.weight": "output_norm.weight",
    "norm.bias": "output_norm.bias",
    "head.weight": "output.weight",
}
TWO_NORMS: dict[str, Source] = {
    "blocks.{i}.attention_result_norm.weight": "blk.{i}.post_attention_norm.weight",
    "blocks.{i}.feed_forward_result_norm.weight": "blk.{i}.post_ffw_norm.weight",
}
GPT2_TENSORS = TENSORS | {  # GPT-2 has query, key and value in one matrix, and no gate
    "blocks.{i}.attention.qkv.weight": "blk.{i}.attn_qkv.weight",
    "blocks.{i}.attention.qkv.bias": "blk.{i}.attn_qkv.bias",
    "blocks.{i}.feed_forward.up.weight": "blk.{i}.ffn_up.weight",
    "blocks.{i}.feed_forward.up.bias": "blk.{i}.ffn_up.bias",
}
FALCON_TENSORS = GPT2_TENSORS | {  # of two norms the second is attention's
    f"blocks.{{i}}.{norm}.{kind}": Chosen(lambda config: not config.shared_norm, f"{two}.{kind}", f"{one}.{kind}")
    for norm, two, one in (
        ("attention_norm", "blk.{i}.attn_norm_2", "blk.{i}.attn_norm"),
        ("feed_forward_norm", "blk.{i}.attn_norm", "blk.{i}.attn_norm"),
    )
    for kind in ("weight", "bias")
}
BLOOM_TENSORS = GPT2_TENSORS | {f"embedding_norm.{kind}": f"token_embd_norm.{kind}" for kind in ("weight", "bias")}
ROUTER = "ffn_gate_inp.weight"
"""How the name of a router ends, which is F32 whatever the matrices are."""
EXPERTS: dict[str, Source] = {  # a number in brackets is the place of one expert's matrix in a tensor of all
    "blocks.{i}.feed_forward.router.weight": "blk.{i}.ffn_gate_inp.weight",
    "blocks.{i}.feed_forward.experts.{e}.up.weight": Rows(
        ("blk.{i}.ffn_gate_exps.weight[{e}]", "blk.{i}.ffn_up_exps.weight[{e}]")
    ),
    "blocks.{i}.feed_forward.experts.{e}.down.weight": "blk.{i}.ffn_down_exps.weight[{e}]",
    "blocks.{i}.feed_forward.shared.up.weight": Rows(("blk.{i}.ffn_gate_shexp.weight", "blk.{i}.ffn_up_shexp.weight")),
    "blocks.{i}.feed_forward.shared.down.weight": "blk.{i}.ffn_down_shexp.weight",
    "blocks.{i}.feed_forward.shared_gate.weight": "blk.{i}.ffn_gate_inp_shexp.weight",
}
NORM_AFTER_ATTENTION: dict[str, Source] = {"blocks.{i}.feed_forward_norm.weight": "blk.{i}.post_attention_norm.weight"}
"""The feed-forward's, named by what is before it."""
GPT_OSS_TENSORS: dict[str, Source] = (
    TENSORS
    | EXPERTS
    | NORM_AFTER_ATTENTION
    | {
        "blocks.{i}.attention.sinks": "blk.{i}.attn_sinks.weight",
        "blocks.{i}.feed_forward.router.bias": "blk.{i}.ffn_gate_inp.bias",
        "blocks.{i}.feed_forward.experts.{e}.up.bias": Rows(
            ("blk.{i}.ffn_gate_exps.bias[{e}]", "blk.{i}.ffn_up_exps.bias[{e}]")
        ),
        "blocks.{i}.feed_forward.experts.{e}.down.bias": "blk.{i}.ffn_down_exps.bias[{e}]",
    }
)
CHOICE: dict[str, Source] = {"blocks.{i}.feed_forward.router.choice_bias": "blk.{i}.exp_probs_b.bias"}
DEEPSEEK_TENSORS: dict[str, Source] = {
    **{name: source for name, source in TENSORS.items() if ".attention." not in name or ".output." in name},
    **EXPERTS,
    **CHOICE,
    "blocks.{i}.attention.query_down.weight": "blk.{i}.attn_q_a.weight",
    "blocks.{i}.attention.query_down_norm.weight": "blk.{i}.attn_q_a_norm.weight",
    "blocks.{i}.attention.query_up.weight": Chosen(
        lambda config: config.latent is not None and config.latent.query_rank,
        "blk.{i}.attn_q_b.weight",
        "blk.{i}.attn_q.weight",
    ),
    "blocks.{i}.attention.latent.weight": "blk.{i}.attn_kv_a_mqa.weight",
    "blocks.{i}.attention.latent_norm.weight": "blk.{i}.attn_kv_a_norm.weight",
    "blocks.{i}.attention.expand.weight": "blk.{i}.attn_kv_b.weight",
}
EXPAND, EXPANDS_TO = "attn_kv_b", ("attn_k_b", "attn_v_b")
"""What makes each head's keys and values of its state, and the two tensors of newer files in its place: [heads, rank,
plain] and [heads, value_dim, rank]."""
RESULT_NORMS: dict[str, Source] = {
    "blocks.{i}.attention_norm.weight": "blk.{i}.post_attention_norm.weight",
    "blocks.{i}.feed_forward_norm.weight": "blk.{i}.post_ffw_norm.weight",
}
KERNEL = "shortconv.conv.weight"
"""How the name of a short convolution's kernel ends, which is F32 whatever the matrices are."""
SHORT_CONVOLUTIONS: dict[str, Source] = {  # and a last norm with the name of the first
    **{
        f"blocks.{{i}}.attention.{ours}": f"blk.{{i}}.shortconv.{theirs}.weight"
        for ours, theirs in (("inward.weight", "in_proj"), ("kernel", "conv"), ("outward.weight", "out_proj"))
    },
    "norm.weight": "token_embd_norm.weight",
}
PLAIN: dict[str, Source] = {
    "blocks.{i}.feed_forward.up.weight": "blk.{i}.ffn_up.weight",
    "blocks.{i}.feed_forward.up.bias": "blk.{i}.ffn_up.bias",
}
"""Without a gate, or with gate and up in one matrix."""
BERT_TENSORS: dict[str, Source] = {  # of RoBERTa, too, whose positions the converter counts from 0
    name: source for name, source in TENSORS.items() if ".up." not in name and "norm" not in name
} | {
    "segment.weight": "token_types.weight",
    **{
        f"{ours}.{kind}": f"{theirs}.{kind}"
        for ours, theirs in (
            ("embedding_norm", "token_embd_norm"),
            ("blocks.{i}.attention_norm", "blk.{i}.attn_output_norm"),
            ("blocks.{i}.feed_forward.up", "blk.{i}.ffn_up"),
            ("blocks.{i}.feed_forward_norm", "blk.{i}.layer_output_norm"),
        )
        for kind in ("weight", "bias")
    },
}


def _stack_of_t5(theirs: str, ours: str) -> dict[str, Source]:
    """One of its two stacks; relative positions are the first layer's."""
    block, own = f"{theirs}.blk.{{i}}", f"{ours}blocks.{{i}}"
    return {
        f"{ours}relative.weight": f"{theirs}.blk.0.attn_rel_b.weight",
        f"{own}.attention_norm.weight": f"{block}.attn_norm.weight",
        f"{own}.attention.qkv.weight": Rows(tuple(f"{block}.attn_{part}.weight" for part in "qkv")),
        f"{own}.attention.output.weight": f"{block}.attn_o.weight",
        f"{own}.feed_forward_norm.weight": f"{block}.ffn_norm.weight",
        f"{own}.feed_forward.up.weight": Chosen(
            lambda config: config.gated,
            Rows((f"{block}.ffn_gate.weight", f"{block}.ffn_up.weight")),
            f"{block}.ffn_up.weight",
        ),
        f"{own}.feed_forward.down.weight": f"{block}.ffn_down.weight",
        f"{ours}norm.weight": f"{theirs}.output_norm.weight",
    }


T5_TENSORS: dict[str, Source] = {
    "embedding.weight": "token_embd.weight",
    **_stack_of_t5("dec", ""),
    "blocks.{i}.cross_norm.weight": "dec.blk.{i}.cross_attn_norm.weight",
    "blocks.{i}.cross_attention.query.weight": "dec.blk.{i}.cross_attn_q.weight",
    "blocks.{i}.cross_attention.kv.weight": Rows(tuple(f"dec.blk.{{i}}.cross_attn_{part}.weight" for part in "kv")),
    "blocks.{i}.cross_attention.output.weight": "dec.blk.{i}.cross_attn_o.weight",
    **_stack_of_t5("enc", "encoder."),
    "head.weight": "output.weight",
}
OF_FAMILIES = {
    "bert": BERT_TENSORS,
    "t5": T5_TENSORS,
    "gpt2": GPT2_TENSORS,
    "gpt_neox": GPT2_TENSORS,
    "mpt": GPT2_TENSORS,
    "bloom": BLOOM_TENSORS,
    "falcon": FALCON_TENSORS,
    "gemma2": TENSORS | TWO_NORMS,
    "gemma3_text": TENSORS | TWO_NORMS,
    "olmo2": TENSORS | RESULT_NORMS,
    "olmo3": TENSORS | RESULT_NORMS,
    "exaone4": TENSORS | RESULT_NORMS,
    "phi3": TENSORS | PLAIN | {"blocks.{i}.attention.qkv.weight": "blk.{i}.attn_qkv.weight"},
    "phi": TENSORS | PLAIN | {"head_bias": "output.bias"},
    "glm4": TENSORS | PLAIN | TWO_NORMS,
    **dict.fromkeys(("starcoder2", "nemotron", "arcee"), TENSORS | PLAIN),
    "apertus": TENSORS
    | PLAIN
    | {
        "blocks.{i}.feed_forward.activation.above": Said("xielu.alpha_p[{i}]"),
        "blocks.{i}.feed_forward.activation.below": Said("xielu.alpha_n[{i}]"),
    },
    "lfm2": TENSORS | SHORT_CONVOLUTIONS,
    "seed_oss": TENSORS | NORM_AFTER_ATTENTION,
    "glm4_moe": TENSORS | EXPERTS | CHOICE | NORM_AFTER_ATTENTION,
}
MIXTURES = ("mixtral", "qwen2_moe", "qwen3_moe", "olmoe", "granitemoe", "granitemoeshared")
OF_FAMILIES |= dict.fromkeys(MIXTURES, TENSORS | EXPERTS)
OF_FAMILIES |= {"gpt_oss": GPT_OSS_TENSORS, "deepseek_v2": DEEPSEEK_TENSORS, "deepseek_v3": DEEPSEEK_TENSORS}
TENSORS_OF = {
    family: OF_FAMILIES.get(family, TENSORS)
    for family in (*ARCHITECTURES.values(), *(variant for _, variant in VARIANTS.values()))
}
"""family -> its table."""
GATES_AND_UPS = "ffn_gate_up_exps"
"""Ollama's matrices of gpt-oss with gate and up in neighbouring rows."""
OTHER_NAMES: dict[str, dict[str, Source]] = {
    "gptoss": {  # Ollama's convert/convert_gptoss.go, by OpenAI's own files or by transformers'
        "blocks.{i}.attention.qkv.weight": "blk.{i}.attn_qkv.weight",
        "blocks.{i}.attention.qkv.bias": "blk.{i}.attn_qkv.bias",
        "blocks.{i}.attention.output.weight": "blk.{i}.attn_out.weight",
        "blocks.{i}.attention.output.bias": "blk.{i}.attn_out.bias",
        "blocks.{i}.attention.sinks": "blk.{i}.attn_sinks",
        "blocks.{i}.feed_forward_norm.weight": "blk.{i}.ffn_norm.weight",
        "blocks.{i}.feed_forward.experts.{e}.up.weight": f"blk.{{i}}.{GATES_AND_UPS}.weight[{{e}}]",
        "blocks.{i}.feed_forward.experts.{e}.up.bias": f"blk.{{i}}.{GATES_AND_UPS}.bias[{{e}}]",
    }
}
"""By the architecture, names that other programs give the tensors of a family."""
CONSTANTS = {"apertus": {"xielu.beta": 0.5, "xielu.eps": -1e-6}}
"""Of an architecture, what its files say and what no network of its family has otherwise."""
BFLOAT16 = 2**-8
"""How far, as a share of it, a number may be off that went through bfloat16, as llama.cpp's converter reads those."""


class WithNames(Protocol):
    """A GGUF file, as far as its table of names depends on it."""

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Which says the architecture."""

    @property
    def tensors(self) -> Container[str]:
        """The names that it has."""


def table_in(file: WithNames, config: ModelConfig) -> dict[str, Source]:
    """The table of a file of a known family: with other names, where the file has these."""
    others = OTHER_NAMES.get(str(file.metadata.get("general.architecture")), {})
    first = {ours: str(name).replace("{i}", "0").partition("[")[0] for ours, name in others.items()}
    return TENSORS_OF[config.family] | {ours: others[ours] for ours, name in first.items() if name in file.tensors}


def family_in(architecture: str, theirs: Mapping[str, Any]) -> str:
    """The family of a file of a known architecture."""
    key, variant = VARIANTS.get(architecture, ("", ""))
    said = theirs.get(f"{architecture}.{key}")
    is_so = said == SIGMOIDS if architecture in WITH_ROUTES else said
    return variant if variant and is_so else ARCHITECTURES[architecture]


MOST = 100_000_000
"""The largest whole number that any size of a network may be."""


def whole_number(theirs: Mapping[str, Any], key: str, otherwise: int = 0, most: int = MOST) -> int:
    """What a file says under a key, `otherwise` where that is nothing or 0; ModelError where it is no whole number from
    0 to `most`."""
    said = theirs.get(key, 0)
    if type(said) is not int or not 0 <= said <= most:
        raise ModelError(f"its {key} is {shortened(said)}; it should be a whole number from 0 to {most:,}")
    return said or otherwise


def number(theirs: Mapping[str, Any], key: str, otherwise: float) -> float:
    """What a file says under a key, `otherwise` where that is nothing or 0; ModelError where it is no number from 0 to
    MOST."""
    said = theirs.get(key, 0)
    if type(said) not in (int, float) or not 0 <= said <= MOST:  # NaN is no such number
        raise ModelError(f"its {key} is {shortened(said)}; it should be a number from 0 to {MOST:,}")
    return said or otherwise


OF_EXPERTS = {
    "count": "expert_count",
    "top_k": "expert_used_count",
    "hidden_dim": "expert_feed_forward_length",
    "shared_dim": "expert_shared_feed_forward_length",
}
"""Settings of experts <- theirs, after "<architecture>."; what is 0 or not said is left out."""


def _experts_from(architecture: str, theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Their number and width; that weights sum to 1, that a shared one has a gate or the router a bias, llama.cpp knows
    of a family."""
    said = {
        ours: theirs[f"{architecture}.{key}"] for ours, key in OF_EXPERTS.items() if theirs.get(f"{architecture}.{key}")
    }
    if said.get("hidden_dim") == theirs.get(f"{architecture}.feed_forward_length"):
        said.pop("hidden_dim", None)
    more = _routes(architecture, theirs) if architecture in WITH_ROUTES else known_of_experts(architecture)
    return {"experts": said | more}


def known_of_experts(architecture: str) -> dict[str, bool]:
    """What llama.cpp knows of an architecture's experts, and no file says."""
    return {
        "normalised": architecture not in ("qwen2moe", "olmoe"),
        "shared_gate": architecture == "qwen2moe",
        "router_bias": architecture in ("gpt-oss", "gptoss"),
    }


def _routes(architecture: str, theirs: Mapping[str, Any]) -> dict[str, Any]:
    """What a file says of them beside; ModelError for groups where they are chosen by a softmax, as V2's larger models
    take the best expert of each. A file from before llama.cpp wrote groups says none, and is read as it reads it:
    without any."""

    def whole(key: str, otherwise: int = 0, most: int = MOST) -> int:
        return whole_number(theirs, f"{architecture}.{key}", otherwise, most)

    dense, layers = whole("leading_dense_block_count", most=MOST_LAYERS), layers_in(architecture, theirs)
    unsaid = SIGMOIDS if architecture == "glm4moe" else SOFTMAX
    by_sigmoids = theirs.get(f"{architecture}.expert_gating_func", unsaid) == SIGMOIDS
    groups = whole("expert_group_count", 1)
    if groups > 1 and not by_sigmoids:
        raise ModelError("it chooses experts within groups by a softmax (DeepSeek-V2), which is not supported")
    return {
        "shared_dim": whole("expert_shared_count") * whole("expert_feed_forward_length"),
        "scale": as_written(number(theirs, f"{architecture}.expert_weights_scale", 1.0)),
        "normalised": theirs.get(f"{architecture}.expert_weights_norm", False),
        "scores": "sigmoid" if by_sigmoids else "softmax",
        "choice_bias": by_sigmoids,
        "layers": tuple(range(dense, layers)) if dense else None,
        **({"groups": groups, "top_groups": whole("expert_group_used_count")} if groups > 1 else {}),
    }


def layers_in(architecture: str, theirs: Mapping[str, Any]) -> int:
    """The layers of a file without those that guess further tokens; 0 where it has no others. ModelError where it says
    no number of them."""
    every, further = (
        whole_number(theirs, f"{architecture}.{key}", most=MOST_LAYERS) for key in ("block_count", FURTHER)
    )
    return max(every - further, 0)


def as_written(value: float) -> float:
    """A number that is float32 in the file: 9.999999747378752e-06 was written as 1e-05; a larger one is infinite."""
    with np.errstate(over="ignore"):
        return float(str(np.float32(value)))


def more_from(architecture: str, theirs: Mapping[str, Any], tensors: Container[str]) -> dict[str, Any]:
    """Ours that one architecture says in a way of its own; ModelError for what the network does not do."""
    own = OWN_WAYS.get(architecture)
    ours = {} if own is None else own(theirs, tensors)
    return ours | (_experts_from(architecture, theirs) if theirs.get(f"{architecture}.expert_count") else {})


def _mpt(theirs: Mapping[str, Any], tensors: Container[str]) -> dict[str, Any]:
    if theirs.get("mpt.attention.clamp_kqv", 0.0) or not theirs.get("mpt.attention.max_alibi_bias", 8.0):
        raise ModelError("it cuts off queries, keys and values, or has no ALiBi, which is not supported")
    return {"position_settings": {"flattest": theirs.get("mpt.attention.max_alibi_bias", 8.0)}}


def _stablelm(theirs: Mapping[str, Any], tensors: Container[str]) -> dict[str, Any]:
    return dict.fromkeys(("parallel", "shared_norm"), "blk.0.ffn_norm.weight" not in tensors)


def _gemma2_caps(theirs: Mapping[str, Any], tensors: Container[str]) -> dict[str, Any]:
    """Caps and window, which the first files leave out."""
    caps = {"attention_cap": ("attn_logit_softcapping", 50.0), "logit_cap": ("final_logit_softcapping", 30.0)}
    found = {ours: theirs.get(f"gemma2.{name}", usual) for ours, (name, usual) in caps.items()}
    return found | {"window": theirs.get("gemma2.attention.sliding_window", 4096)}


def _bert(theirs: Mapping[str, Any], tensors: Container[str]) -> dict[str, Any]:
    if theirs.get("bert.attention.causal", False) or theirs.get("bert.pooling_type") == RANKS:
        raise ModelError("it reads texts from the left alone, or ranks pairs, which is not read from such a file")
    return {}


def _lfm2(theirs: Mapping[str, Any], tensors: Container[str]) -> dict[str, Any]:
    """Layers without key heads have convolutions."""
    heads = theirs.get("lfm2.attention.head_count_kv")
    if not isinstance(heads, list):
        return {}
    if len(heads) != theirs.get("lfm2.block_count") or set(map(type, heads)) != {int} or len({0, *heads}) != 2:
        raise ModelError("it does not say for each of its layers how many key heads there are, or different numbers")
    chosen = tuple(layer for layer, count in enumerate(heads) if count == 0)
    width = theirs.get("lfm2.shortconv.l_cache", 3)
    return {"kv_heads": max(heads)} | ({"convolution": {"layers": chosen, "width": width}} if chosen else {})


def _apertus(theirs: Mapping[str, Any], tensors: Container[str]) -> dict[str, Any]:
    """Nothing; ModelError where constants of its activation are others."""
    for key, value in CONSTANTS["apertus"].items():
        said = theirs.get(key, value)
        each = said if isinstance(said, list) else [said]
        if not all(isinstance(one, float) and math.isclose(one, value, rel_tol=BFLOAT16) for one in each):
            raise ModelError(f"it says other numbers of its activation than {value} ({key}), which is not supported")
    return {}


def _deepseek(theirs: Mapping[str, Any], tensors: Container[str]) -> dict[str, Any]:
    """Widths of a head before its query is taken through what makes keys, which newer files name apart; scores are
    multiplied where YaRN says by how much, a tenth of which is written."""
    said = {key.removeprefix("deepseek2."): value for key, value in theirs.items()}
    width = whole_number(said, "attention.key_length_mla") or whole_number(said, "attention.key_length")
    multiplier, factor = number(said, YARN_MULTIPLIER, 0.0), number(said, "rope.scaling.factor", 1.0)
    ours: dict[str, Any] = {
        "kv_heads": said.get("attention.head_count"),
        "head_dim": width,
        "rotary_dim": said.get("rope.dimension_count"),
        "latent": {
            "rank": said.get("attention.kv_lora_rank"),
            "query_rank": said.get("attention.q_lora_rank"),
            "value_dim": said.get("attention.value_length_mla", said.get("attention.value_length")),
        },
    }
    if width and multiplier and said.get("rope.scaling.type") == "yarn":
        ours["attention_scale"] = scale_of_scores(width, multiplier, factor)
    return ours


def scale_of_scores(width: int, multiplier: float, factor: float) -> float:
    """Of heads this wide where YaRN says by how much."""
    return width**-0.5 * yarn_amplitude(factor, 10 * multiplier) ** 2


def _t5(theirs: Mapping[str, Any], tensors: Container[str]) -> dict[str, Any]:
    gated, layers = "enc.blk.0.ffn_gate.weight" in tensors, theirs.get("t5.block_count")
    return {
        "gated": gated,
        "activation": "gelu_tanh" if gated else "relu",
        "encoder_layers": layers,
        "layers": theirs.get("t5.decoder_block_count", layers),
        "relative_buckets": theirs.get("t5.attention.relative_buckets_count", 32),
    }


OWN_WAYS: dict[str, Callable[[Mapping[str, Any], Container[str]], dict[str, Any]]] = {
    "bert": _bert,
    "lfm2": _lfm2,
    "t5": _t5,
    "gptneox": lambda theirs, tensors: {"parallel": theirs.get("gptneox.use_parallel_residual", True)},
    "falcon": lambda theirs, tensors: {"parallel": True, "shared_norm": "blk.0.attn_norm_2.weight" not in tensors},
    "mpt": _mpt,
    "granite": lambda theirs, tensors: {"head_scale": 1 / number(theirs, "granite.logit_scale", 1.0)},
    "granitemoe": lambda theirs, tensors: {"head_scale": 1 / number(theirs, "granitemoe.logit_scale", 1.0)},
    "command-r": lambda theirs, tensors: {"head_scale": theirs.get("command-r.logit_scale", 1.0)},
    "cohere2": lambda theirs, tensors: {"head_scale": theirs.get("cohere2.logit_scale", 1.0)},
    "stablelm": _stablelm,
    "gemma2": _gemma2_caps,
    "gpt-oss": lambda theirs, tensors: {"gate_limit": 7.0},
    "gptoss": lambda theirs, tensors: {"gate_limit": 7.0, "output_bias": "blk.0.attn_out.bias" in tensors},
    "apertus": _apertus,
    "deepseek2": _deepseek,
    "glm4moe": lambda theirs, tensors: {"qk_norm": "blk.0.attn_q_norm.weight" in tensors},
}


POOLING = {1: "mean", 2: "first", 3: "last"}
"""`<architecture>.pooling_type` -> how states become one vector."""
RANKS = 4
"""The one of a cross-encoder."""
YARN_MULTIPLIER = "rope.scaling.yarn_log_multiplier"
"""Of DeepSeek: a tenth of what multiplies the logarithm in YaRN's factor of scores, whose cosines it leaves alone."""
NOT_READ = "dec.blk.0.cross_attn_rel_b.weight"
"""Positions between T5's stacks, which old files hold and no version uses."""
FACTORS = {"short_factors": "rope_factors_short.weight", "long_factors": "rope_factors_long.weight"}
"""Of longrope (Phi-3): ours <- the file's tensors."""

GRANITE = {
    "attention_scale": "attention.scale",
    "embedding_scale": "embedding_scale",
    "residual_scale": "residual_scale",
}
SCALARS: dict[str, dict[str, str]] = {
    "gemma2": {"attention_cap": "attn_logit_softcapping", "logit_cap": "final_logit_softcapping"},
    "gemma3_text": {"logit_cap": "final_logit_softcapping"},
    **dict.fromkeys(GRANITES, GRANITE),
}
"""Of a family, more of ours <- theirs, after "<architecture>."."""


def _gemma_scale(ours: Mapping[str, Any], largest: int) -> dict[str, Any]:
    """The largest Gemma 2 and 3, known by their layers, scale by the width a head would have had."""
    width = ours["dim"] // ours["heads"] if ours["layers"] == largest else ours["head_dim"]
    return {"attention_scale": width**-0.5}


def _windows(ours: Mapping[str, Any], every: int) -> dict[str, Any]:
    """All layers but every `every`th have the window."""
    if not ours.get("window"):
        return {"window": None, "window_layers": None}
    return {"window_layers": tuple(layer for layer in range(ours["layers"]) if (layer + 1) % every)}


def _gemma2(ours: Mapping[str, Any]) -> dict[str, Any]:
    return _gemma_scale(ours, 46) | _windows(ours, 2)


def _gemma3(ours: Mapping[str, Any]) -> dict[str, Any]:
    windows = _windows(ours, 6)
    base = {"window_theta": 10_000.0} if windows["window_layers"] else {}
    return _gemma_scale(ours, 62) | windows | base


def _olmo3(ours: Mapping[str, Any]) -> dict[str, Any]:
    return _windows(ours, 4) | {"window_theta": ours["rope_theta"]}


def _rotating_in_windows(ours: Mapping[str, Any]) -> dict[str, Any]:
    windows = _windows(ours, 4)
    return windows | {"rope_layers": windows["window_layers"]}


def _cohere2(ours: Mapping[str, Any]) -> dict[str, Any]:
    windows = _windows(ours, 4)
    return windows | {"rope_layers": windows["window_layers"] or ()}


def _smollm3(ours: Mapping[str, Any]) -> dict[str, Any]:
    return {"rope_layers": tuple(layer for layer in range(ours["layers"]) if (layer + 1) % 4)}


def _t5_scale(ours: Mapping[str, Any]) -> dict[str, Any]:
    """A tied head has its states scaled, as the first version has it; llama.cpp leaves that out."""
    return {"head_scale": ours["dim"] ** -0.5 if ours["tied"] else None}


IMPLIED: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "gemma2": _gemma2,
    "gemma3_text": _gemma3,
    "smollm3": _smollm3,
    "olmo3": _olmo3,
    "exaone4": _rotating_in_windows,
    "cohere2": _cohere2,
    "t5": _t5_scale,
    "gpt_oss": lambda ours: _windows(ours, 2),
}
"""Ours that llama.cpp does not read from a file, but knows of a family: from what it reads."""
