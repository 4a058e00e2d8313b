"""Small models of each family that llama.cpp has too, with a trained byte-level BPE tokenizer or SentencePiece's."""

from __future__ import annotations

import functools
import json
from typing import Any

import tiny
import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, trainers

from lmworks.language_model import LanguageModel
from lmworks.models.config import RopeScaling
from lmworks.models.files.gguf_vocabulary import composes, splitter, whole_words_first
from lmworks.tokens.tokenizer import Tokenizer
from lmworks.tokens.trainer import TokenizerConfig, train_tokenizer
from lmworks.tokens.vocabulary import Vocabulary, add_around

TEXTS = [f"{' '.join(tiny.WORDS[number % 5 :])}; don't 12 {number}\n" for number in range(40)]
WIDE: dict[str, Any] = {"dim": 64, "hidden_dim": 96, "heads": 4, "kv_heads": 2, "norm_eps": 1e-6}
GEMMA: dict[str, Any] = {"norm_place": "both", "norm_unit_offset": True, "scale_embedding": True, "head_dim": 32} | {
    "activation": "gelu_tanh",
    "attention_scale": 32**-0.5,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"tied": False},
    "llama with biases": {"qkv_bias": True, "output_bias": True, "feed_forward_bias": True},
    "llama, linear": {"rope_scaling": RopeScaling(kind="linear", factor=4.0)},
    "llama, yarn": {"rope_scaling": RopeScaling(kind="yarn", factor=4.0, original_context=32)},
    "llama 3": {
        "head_dim": 64,
        "rope_theta": 500_000.0,
        "rope_scaling": RopeScaling(kind="llama3", factor=8.0, original_context=8192),
    },
    "mistral": {"family": "mistral", "head_dim": 32, "kv_heads": 1},
    "qwen2": {"family": "qwen2", "qkv_bias": True, "rope_theta": 1e6},
    "qwen3": {"family": "qwen3", "qk_norm": True, "head_dim": 32},
    "gemma": {
        "family": "gemma",
        "norm_unit_offset": True,
        "scale_embedding": True,
        "activation": "gelu_tanh",
        "head_dim": 32,
    },
    "gemma2": {"family": "gemma2", "attention_cap": 50.0, "logit_cap": 30.0, "window": 20, "window_layers": (0,)}
    | GEMMA,
    "gemma3": {"family": "gemma3_text", "qk_norm": True, "layers": 6, "window": 20, "window_layers": (0, 1, 2, 3, 4)}
    | {"window_theta": 1e4, "rope_theta": 1e6, "rope_scaling": RopeScaling(kind="linear", factor=8.0)}
    | GEMMA,
    "phi3": {"family": "phi3", "tied": False, "rotary_dim": 12}
    | {
        "rope_scaling": RopeScaling(
            kind="longrope",
            factor=1.0,
            original_context=128,
            attention_factor=1.25,
            short_factors=(1.0, 1.1, 1.2, 1.3, 1.4, 1.5),
            long_factors=(1.0, 1.5, 2.0, 3.0, 4.0, 5.0),
        )
    },
    "smollm3": {"family": "smollm3", "layers": 4, "rope_layers": (0, 1, 2), "rope_theta": 2e6},
    "granite": {"family": "granite", "attention_scale": 0.125, "embedding_scale": 12.0, "residual_scale": 0.25}
    | {"head_scale": 0.125},
    "olmo2": {"family": "olmo2", "norm_place": "result", "qk_norm": True, "qk_norm_over": "row", "tied": False},
    "apertus": {"family": "apertus", "gated": False, "activation": "xielu", "qk_norm": True, "tied": False},
    "lfm2": {"family": "lfm2", "qk_norm": True, "layers": 3, "convolution": {"layers": (0, 2)}, "rope_theta": 1e6},
    "gpt2": {
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
    },
}

YARN = {"kind": "yarn", "factor": 4.0, "original_context": 32, "truncate": False}
MIXTURES: dict[str, dict[str, Any]] = {
    "mixtral": {"experts": {"count": 3}},
    "qwen2_moe": {"qkv_bias": True}
    | {"experts": {"count": 3, "hidden_dim": 32, "shared_dim": 64, "shared_gate": True, "normalised": False}},
    "qwen3_moe": {"experts": {"count": 3, "hidden_dim": 32}, "qk_norm": True, "head_dim": 32},
    "olmoe": {"experts": {"count": 3, "normalised": False}, "qk_norm": True, "qk_norm_over": "row", "kv_heads": 4},
    "granitemoe": {"experts": {"count": 3}, "attention_scale": 0.5, "residual_scale": 0.25, "head_scale": 0.125},
    "granitemoeshared": {"experts": {"count": 3, "shared_dim": 64}, "attention_scale": 0.5, "head_scale": 0.25},
    "gpt_oss": {"experts": {"count": 3, "router_bias": True}, "activation": "quick_gelu", "gate_limit": 7.0}
    | dict.fromkeys(("qkv_bias", "output_bias", "feed_forward_bias", "gate_shift", "sinks"), True)
    | {"window": 9, "window_layers": (0, 2), "layers": 4, "rope_scaling": YARN},
}
ROUTED = {"count": 4, "hidden_dim": 32, "shared_dim": 64, "scores": "sigmoid", "choice_bias": True, "scale": 1.8}
MIXTURES["glm4_moe"] = {"experts": ROUTED | {"layers": (1, 2)}, "layers": 3, "rotary_dim": 8, "qk_norm": True} | {
    "qkv_bias": True
}
MIXTURES = {family: {"family": family, "tied": False} | settings for family, settings in MIXTURES.items()}
LATENT = {"kv_heads": 4, "head_dim": 40, "rotary_dim": 8, "tied": False}
OF_DEEPSEEK: dict[str, dict[str, Any]] = {  # llama.cpp knows by 27 layers that queries come from no narrow state
    "deepseek_v2": {"family": "deepseek_v2", "layers": 27, "latent": {"rank": 32, "value_dim": 16}}
    | {"experts": ROUTED | {"scores": "softmax", "choice_bias": False, "normalised": False, "layers": range(1, 27)}},
    "deepseek_v3": {"family": "deepseek_v3", "latent": {"rank": 32, "query_rank": 96, "value_dim": 16}}
    | {"experts": ROUTED | {"count": 6, "groups": 3, "top_groups": 2}, "attention_scale": 0.19028975}
    | {"rope_scaling": {"kind": "yarn", "factor": 4.0, "original_context": 32, "attention_factor": 1.0}},
}
FAMILIES |= MIXTURES | {family: LATENT | settings for family, settings in OF_DEEPSEEK.items()}


@functools.cache
def tokenizer(rule: str = "gpt-2") -> Tokenizer:
    """A tokenizer of 400 tokens with ChatML whose words are split by a rule of llama.cpp's."""
    made = train_tokenizer(TEXTS, TokenizerConfig(vocab_size=340, chat_template="chatml"), name=rule)
    backend = made.vocabulary.backend
    backend.pre_tokenizer = splitter(rule)
    backend.model.ignore_merges = whole_words_first(rule)
    if composes(rule):
        backend.normalizer = normalizers.NFC()
    return Tokenizer(made.vocabulary)


@functools.cache
def pieces(in_front: bool = True, strips: bool = False) -> Tokenizer:
    """A tokenizer of SentencePiece's BPE as transformers writes it: every pair that makes a piece, best piece first.

    With a space in front as Llama 2 has it, or without as Gemma's; with Phi-3's tokens, which take space away.
    """
    learnt = tokenizers.Tokenizer(models.BPE())
    learnt.normalizer = normalizers.Replace(" ", "▁")
    alphabet = list("▁abcdefghijklmnopqrstuvwxyzABCIST0123456789.,;:'\n")
    learnt.train_from_iterator(
        [text + "▁▁▁▁▁▁▁▁ \n\n\n\n" for text in TEXTS],
        trainers.BpeTrainer(vocab_size=160, show_progress=False, initial_alphabet=alphabet),
    )
    made = json.loads(learnt.to_str())["model"]
    joined = ["".join(pair) for pair in made["merges"]]
    single = [token for token in made["vocab"] if len(token) == 1]
    control = ["<unk>", "<s>", "</s>"]
    tokens = [*control, *(f"<0x{byte:02X}>" for byte in range(256)), *dict.fromkeys(joined), *single]
    ids = {token: number for number, token in enumerate(tokens)}
    merges = [
        (token[:cut], token[cut:])
        for token in dict.fromkeys(joined)
        for cut in range(1, len(token))
        if token[:cut] in ids and token[cut:] in ids
    ]
    backend = tokenizers.Tokenizer(models.BPE(ids, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    steps: list[Any] = [normalizers.Prepend("▁")] * in_front + [normalizers.Replace(" ", "▁")]
    backend.normalizer = normalizers.Sequence(steps)
    after: list[Any] = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    backend.decoder = decoders.Sequence(after + [decoders.Strip(" ", 1, 0)] * in_front)
    further = ["<|endoftext|>", *("<|user|>", "<|end|>") * strips]
    for text in (*control, *further):
        strip = strips and text not in ("<unk>", "<s>", "<|endoftext|>")
        backend.add_special_tokens([AddedToken(text, special=True, normalized=False, rstrip=strip)])
    backend.add_tokens([AddedToken("<b>", normalized=False, rstrip=strips)])
    add_around(backend, 1, None)
    template = "{% for one in messages %}{{ '[INST] ' + one.content + '</s>' }}{% endfor %}"
    return Tokenizer(Vocabulary(backend, "pieces", bos=1, eos=2, unknown=0, chat_template=template))


def language_model(family: str = "llama", rule: str = "gpt-2", spare: int = 4, **settings: Any) -> LanguageModel:
    """A random model of a family, with `spare` rows that no token uses. The rule "pieces" is SentencePiece's, with a
    space in front; "pieces as they are" without."""
    words = pieces(rule == "pieces") if rule.startswith("pieces") else tokenizer(rule)
    chosen = WIDE | FAMILIES[family] | {"vocab_size": words.vocab_size + spare} | settings
    return LanguageModel(tiny.network(seed=3, **chosen), words)
