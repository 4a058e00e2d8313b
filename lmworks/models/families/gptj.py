"""GPT-J (Wang and Komatsuzaki 2021): parallel parts that share one norm, heads turned in part, a bias on the logits.

Its files turn neighbouring dimensions against each other, and the network halves: query and key rows change places.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmworks.basics.errors import ModelError
from lmworks.models.config import ModelConfig
from lmworks.models.families.sources import NeighbourRows
from lmworks.models.families.tables import Family

THETA = 10_000.0
LAYER = "transformer.h.{i}"


def _more_from(theirs: Mapping[str, Any], layers: int) -> dict[str, Any]:
    turned, whole = theirs["rotary_dim"], theirs["n_embd"] // theirs["n_head"]
    return {"rotary_dim": None if turned == whole else turned, "rope_theta": THETA, "rope_scaling": None}


def _more_to(config: ModelConfig) -> dict[str, Any]:
    if config.rope_theta != THETA or config.rope_scaling is not None:
        raise ModelError(
            f"a gptj model has rope_theta = {THETA:g} and no rope_scaling; choose another family to save it as"
        )
    return {
        "rotary_dim": config.rotary_dim or config.head_dim,
        "attn_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
    }


GPTJ = Family(
    name="gptj",
    architecture="GPTJForCausalLM",
    examples=("EleutherAI/gpt-j-6b",),
    settings={  # ours             <- theirs
        "vocab_size": "vocab_size",
        "dim": "n_embd",
        "layers": "n_layer",
        "heads": "n_head",
        "hidden_dim": "n_inner",
        "context": "n_positions",
        "norm_eps": "layer_norm_epsilon",
        "activation": "activation_function",
        "tied": "tie_word_embeddings",
        "dropout": "resid_pdrop",
    },
    tensors={
        "embedding.weight": "transformer.wte.weight",
        "blocks.{i}.attention_norm.weight": f"{LAYER}.ln_1.weight",
        "blocks.{i}.attention_norm.bias": f"{LAYER}.ln_1.bias",
        "blocks.{i}.attention.qkv.weight": NeighbourRows(
            (f"{LAYER}.attn.q_proj.weight", f"{LAYER}.attn.k_proj.weight", f"{LAYER}.attn.v_proj.weight")
        ),
        "blocks.{i}.attention.output.weight": f"{LAYER}.attn.out_proj.weight",
        "blocks.{i}.feed_forward.up.weight": f"{LAYER}.mlp.fc_in.weight",
        "blocks.{i}.feed_forward.up.bias": f"{LAYER}.mlp.fc_in.bias",
        "blocks.{i}.feed_forward.down.weight": f"{LAYER}.mlp.fc_out.weight",
        "blocks.{i}.feed_forward.down.bias": f"{LAYER}.mlp.fc_out.bias",
        "norm.weight": "transformer.ln_f.weight",
        "norm.bias": "transformer.ln_f.bias",
        "head.weight": "lm_head.weight",
        "head_bias": "lm_head.bias",
    },
    fixed={
        "norm": "layer",
        "parallel": True,
        "shared_norm": True,
        "gated": False,
        "feed_forward_bias": True,
        "head_bias": True,
    },
    defaults={
        "n_positions": 2048,
        "rotary_dim": 64,
        "layer_norm_epsilon": 1e-5,
        "activation_function": "gelu_new",
        "tie_word_embeddings": False,
        "resid_pdrop": 0.0,
    },
    more_from=_more_from,
    more_to=_more_to,
    told=("rotary_dim",),
    ignored=(".attn.bias", ".attn.masked_bias"),
)
