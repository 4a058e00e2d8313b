"""Encoders and encoder-decoders against transformers: equal outputs from random weights, both ways, every switch on."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from torch import Tensor

from lmworks.basics.errors import ModelError
from lmworks.models.files.directory import read_network, write_network
from lmworks.models.files.model_folder import read_config, read_json
from lmworks.models.network import Network

transformers = pytest.importorskip("transformers", reason="pip install 'lmworks[dev]'")
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
SMALL: dict[str, dict[str, Any]] = {
    "bert": {
        "vocab_size": 96,
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "max_position_embeddings": 64,
    },
    "gpt_neox": {
        "vocab_size": 96,
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "intermediate_size": 48,
        "max_position_embeddings": 64,
    },
    "t5": {
        "vocab_size": 96,
        "d_model": 32,
        "d_kv": 12,
        "d_ff": 48,
        "num_layers": 3,
        "num_decoder_layers": 2,
        "num_heads": 4,
        "relative_attention_num_buckets": 12,
        "relative_attention_max_distance": 17,
    },
}
SMALL["roberta"] = SMALL["xlm-roberta"] = SMALL["bert"] | {"pad_token_id": 3}
SMALL["mpnet"] = SMALL["bert"]
SMALL["electra"] = SMALL["bert"] | {"embedding_size": 20}
SMALL["distilbert"] = {
    "vocab_size": 96,
    "dim": 32,
    "n_layers": 3,
    "n_heads": 4,
    "hidden_dim": 48,
    "max_position_embeddings": 64,
}
SMALL["mt5"] = SMALL["t5"]
SMALL["modernbert"] = SMALL["bert"] | {
    "local_attention": 12,
    "num_hidden_layers": 4,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
    "cls_token_id": None,
    "sep_token_id": None,
}
SMALL["bart"] = SMALL["mbart"] = SMALL["marian"] = SMALL["pegasus"] = {
    "vocab_size": 96,
    "d_model": 32,
    "encoder_layers": 3,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "max_position_embeddings": 64,
    "pad_token_id": 95,
    "decoder_start_token_id": 95,
}
SMALL["m2m_100"] = SMALL["bart"] | {"pad_token_id": 3}
LIKE_BART = ("bart", "mbart", "marian", "pegasus", "m2m_100")


@dataclass(frozen=True)
class Variant:
    """One switch: transformers' class and settings, what our config must say, and its opposite."""

    kind: str
    name: str
    theirs: dict[str, Any] = field(default_factory=dict)
    ours: dict[str, Any] = field(default_factory=dict)
    off: dict[str, Any] = field(default_factory=dict)
    """Our settings without the switch: outputs must differ (pitfall 40)."""

    @property
    def family(self) -> str:
        return next(family for family, kind in KINDS.items() if self.kind in kind)

    def model(self) -> Any:
        config = transformers.AutoConfig.for_model(self.family, **(SMALL[self.family] | self.theirs))
        model = getattr(transformers, self.kind)._from_config(config, dtype=torch.float32)
        tiny.randomise(model)
        for part in model.modules():
            if hasattr(part, "create_weight"):  # Marian's sines are no parameters to be trained
                part.weight.data.copy_(part.create_weight())
        for stack in ("encoder", "decoder"):  # one embedding, also where it is not the head's
            if self.family in LIKE_BART:
                model.get_submodule(f"model.{stack}").embed_tokens.weight.data.copy_(model.model.shared.weight)
        for name, buffer in model.named_buffers():
            if name == "final_logits_bias":
                buffer.copy_(torch.randn(buffer.shape, generator=torch.Generator().manual_seed(5)))
        return model.eval()


WINDOWED = "sliding_attention"
ENCODERS = ("Model", "ForMaskedLM", "ForSequenceClassification", "ForTokenClassification")
KINDS = {
    "bert": (
        "BertModel",
        "BertForMaskedLM",
        "BertForPreTraining",
        "BertForSequenceClassification",
        "BertForTokenClassification",
    ),
    "roberta": tuple(f"Roberta{kind}" for kind in ENCODERS),
    "xlm-roberta": tuple(f"XLMRoberta{kind}" for kind in ENCODERS),
    "mpnet": tuple(f"MPNet{kind}" for kind in ENCODERS),
    "electra": (*(f"Electra{kind}" for kind in ENCODERS), "ElectraForPreTraining"),
    "distilbert": tuple(f"DistilBert{kind}" for kind in ENCODERS),
    "modernbert": tuple(f"ModernBert{kind}" for kind in ENCODERS),
    "gpt_neox": ("GPTNeoXForCausalLM",),
    "t5": ("T5ForConditionalGeneration",),
    "bart": ("BartForConditionalGeneration",),
    "mbart": ("MBartForConditionalGeneration",),
    "marian": ("MarianMTModel",),
    "mt5": ("MT5ForConditionalGeneration",),
    "pegasus": ("PegasusForConditionalGeneration",),
    "m2m_100": ("M2M100ForConditionalGeneration",),
}
NEOX, T5, BART, MBART, MARIAN, MT5, PEGASUS, M2M100 = (
    KINDS[family][0] for family in ("gpt_neox", "t5", "bart", "mbart", "marian", "mt5", "pegasus", "m2m_100")
)
WRITERS = [T5, BART, MBART, MARIAN, MT5, PEGASUS, M2M100]
UNTIED = {"tie_word_embeddings": False}
VARIANTS = [
    Variant("BertModel", "post-norm", ours={"norm_place": "after", "norm_eps": 1e-12}, off={"norm_place": "before"}),
    Variant("BertModel", "both directions", ours={"arrangement": "encoder"}, off={"arrangement": "decoder"}),
    Variant("BertModel", "segments", {"type_vocab_size": 3}, {"segments": 3}, {"segments": 0}),
    Variant("BertModel", "norm over embeddings", ours={"embedding_norm": "layer"}, off={"embedding_norm": None}),
    Variant("BertModel", "relu", {"hidden_act": "relu"}, {"activation": "relu"}, {"activation": "gelu"}),
    Variant("BertForMaskedLM", "transform", ours={"head_transform": True}, off={"head_transform": False}),
    Variant("BertForMaskedLM", "bias", ours={"head_bias": True, "tied": True}, off={"head_bias": False}),
    Variant("BertForMaskedLM", "untied", UNTIED, {"tied": False}, {"tied": True}),
    Variant("BertForPreTraining", "both heads, untied", UNTIED, {"tied": False}),
    Variant("BertForPreTraining", "both heads", ours={"labels": ("LABEL_0", "LABEL_1"), "pooler": True}),
    Variant(
        "BertForSequenceClassification",
        "names of classes",
        {"id2label": {0: "no", 1: "maybe", 2: "yes"}, "label2id": {"no": 0, "maybe": 1, "yes": 2}},
        {"labels": ("no", "maybe", "yes"), "labels_of": "texts"},
        {"pooler": False},
    ),
    Variant("BertForTokenClassification", "tokens", ours={"labels_of": "tokens", "pooler": False}),
    Variant(
        "RobertaModel",
        "positions after the padding's",
        ours={"position_offset": 4, "context": 60, "pooler": True},
        off={"position_offset": 1, "context": 63},
    ),
    Variant("RobertaModel", "no segments", {"type_vocab_size": 1}, {"segments": 1}),
    Variant("RobertaForMaskedLM", "head", ours={"head_bias": True, "head_transform": True}, off={"head_bias": False}),
    Variant("RobertaForMaskedLM", "untied", UNTIED, {"tied": False}, {"tied": True}),
    Variant("RobertaForSequenceClassification", "one score", {"num_labels": 1}, {"labels": ("LABEL_0",)}),
    Variant("RobertaForTokenClassification", "tokens", ours={"labels_of": "tokens", "pooler": False}),
    *(Variant(f"XLMRoberta{kind}", "as it is") for kind in ENCODERS),
    Variant(
        "MPNetModel",
        "both kinds of positions",
        ours={"relative_buckets": 32, "position_offset": 2, "context": 62, "segments": 0},
        off={"relative_distance": 30},
    ),
    Variant("MPNetForMaskedLM", "head", ours={"head_bias": True, "head_transform": True}, off={"head_bias": False}),
    Variant("MPNetForSequenceClassification", "pooler", ours={"pooler": True}, off={"pooler": False}),
    Variant("MPNetForTokenClassification", "tokens", ours={"labels_of": "tokens"}),
    Variant("ElectraModel", "narrow embeddings", ours={"embedding_dim": 20, "pooler": False}),
    Variant("ElectraModel", "wide embeddings", {"embedding_size": 32}, {"embedding_dim": None}),
    Variant("ElectraForMaskedLM", "generator", ours={"head_transform": True, "tied": True}),
    Variant("ElectraForMaskedLM", "untied", UNTIED, {"tied": False}),
    Variant(
        "ElectraForPreTraining",
        "discriminator",
        ours={"labels": ("replaced",), "labels_of": "tokens", "pooler_activation": "gelu"},
        off={"pooler_activation": "tanh"},
    ),
    Variant("ElectraForSequenceClassification", "gelu", ours={"labels_of": "texts"}, off={"pooler": False}),
    Variant("ElectraForTokenClassification", "tokens", ours={"pooler": False}),
    Variant("DistilBertModel", "no segments", ours={"segments": 0, "norm_eps": 1e-12}),
    Variant("DistilBertModel", "sines", {"sinusoidal_pos_embds": True}, {"positions": "learned"}),
    Variant("DistilBertForMaskedLM", "relu", {"activation": "relu"}, {"activation": "relu"}, {"activation": "gelu"}),
    Variant("DistilBertForMaskedLM", "untied", UNTIED, {"tied": False}, {"tied": True}),
    Variant(
        "DistilBertForSequenceClassification",
        "relu",
        ours={"pooler_activation": "relu"},
        off={"pooler_activation": "tanh"},
    ),
    Variant("DistilBertForTokenClassification", "tokens", ours={"labels_of": "tokens"}),
    Variant(
        "ModernBertModel",
        "windows to both sides",
        ours={"window": 7, "window_layers": (1, 2), "first_norm": False, "norm_bias": False},
        off={"window": 6},
    ),
    Variant("ModernBertModel", "whole layers by name", {"layer_types": [WINDOWED, *["full_attention"] * 3]}),
    Variant("ModernBertModel", "no windows", {"layer_types": ["full_attention"] * 4}, {"window": None}),
    Variant(
        "ModernBertModel",
        "two bases",
        ours={"rope_theta": 160_000.0, "window_theta": 10_000.0},
        off={"window_theta": None},
    ),
    Variant(
        "ModernBertModel",
        "biases",
        {"norm_bias": True, "attention_bias": True, "mlp_bias": True},
        {"norm_bias": True, "qkv_bias": True, "output_bias": True, "feed_forward_bias": True},
        {"qkv_bias": False},
    ),
    Variant("ModernBertModel", "no norm before the first attention", off={"first_norm": True}),
    Variant(
        "ModernBertForMaskedLM", "head", ours={"head_transform_bias": False, "tied": True}, off={"head_bias": False}
    ),
    Variant("ModernBertForMaskedLM", "untied", UNTIED, {"tied": False}, {"tied": True}),
    Variant(
        "ModernBertForSequenceClassification",
        "the mean of all tokens",
        {"classifier_pooling": "mean", "num_labels": 1},
        {"text_state": "mean", "classifier_transform": True, "labels": ("LABEL_0",)},
        {"text_state": "token"},
    ),
    Variant(
        "ModernBertForSequenceClassification",
        "the first token, a bias",
        {"classifier_bias": True},
        {"text_state": "token", "head_transform_bias": True},
        {"classifier_transform": False},
    ),
    Variant("ModernBertForTokenClassification", "tokens", ours={"labels_of": "tokens"}),
    Variant(NEOX, "partly turned", ours={"rotary_dim": 4}, off={"rotary_dim": None}),
    Variant(NEOX, "wholly turned", {"rotary_pct": 1.0}, {"rotary_dim": None}),
    Variant(NEOX, "base", {"rotary_emb_base": 300}, {"rope_theta": 300.0}, {"rope_theta": 10_000.0}),
    Variant(NEOX, "parallel", ours={"parallel": True}, off={"parallel": False}),
    Variant(NEOX, "sequential", {"use_parallel_residual": False}, {"parallel": False}, {"parallel": True}),
    Variant(NEOX, "no attention bias", {"attention_bias": False}, {"qkv_bias": False, "output_bias": False}),
    Variant(NEOX, "tied", {"tie_word_embeddings": True}, {"tied": True}),
    Variant(T5, "first version", ours={"tied": True, "head_scale": 32**-0.5}, off={"head_scale": None}),
    Variant(
        T5,
        "relative positions",
        ours={"relative_buckets": 12},
        off={"positions": "none", "relative_buckets": 32, "relative_distance": 128},
    ),
    Variant(T5, "far distances", ours={"relative_distance": 17}, off={"relative_distance": 128}),
    Variant(T5, "no scale", ours={"attention_scale": 1.0}, off={"attention_scale": None}),
    Variant(T5, "unequal stacks", ours={"layers": 2, "encoder_layers": 3}),
    Variant(
        T5,
        "version 1.1",
        {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
        {"gated": True, "activation": "gelu_tanh", "head_scale": None},
        {"activation": "gelu"},
    ),
    Variant(T5, "gated silu", {"feed_forward_proj": "gated-silu"}, {"activation": "silu"}, {"activation": "relu"}),
    Variant(BART, "positions from row 2", ours={"position_offset": 2}),
    Variant(BART, "norm over embeddings", ours={"embedding_norm": "layer"}, off={"embedding_norm": None}),
    Variant(BART, "bias on logits", ours={"head_bias": True}, off={"head_bias": False}),
    Variant(BART, "untied", UNTIED, {"tied": False}, {"tied": True}),
    Variant(BART, "scaled", {"scale_embedding": True}, {"scale_embedding": True}, {"scale_embedding": False}),
    Variant(MBART, "pre-norm", ours={"norm_place": "before"}, off={"norm_place": "after"}),
    Variant(MBART, "norm over embeddings", ours={"embedding_norm": "layer"}, off={"embedding_norm": None}),
    Variant(MBART, "untied", UNTIED, {"tied": False}, {"tied": True}),
    Variant(MBART, "scaled", {"scale_embedding": True}, {"scale_embedding": True}, {"scale_embedding": False}),
    Variant(MBART, "unequal stacks", ours={"layers": 2, "encoder_layers": 3}),
    Variant(MARIAN, "sines", ours={"positions": "sinusoidal"}, off={"positions": "none"}),
    Variant(MARIAN, "untied", UNTIED, {"tied": False}, {"tied": True}),
    Variant(
        MT5,
        "gated",
        ours={"gated": True, "activation": "gelu_tanh", "head_scale": None},
        off={"activation": "gelu"},
    ),
    Variant(MT5, "unscaled", off={"head_scale": 32**-0.5}),
    Variant(MT5, "plain", {"feed_forward_proj": "relu"}, {"gated": False, "activation": "relu"}),
    Variant(PEGASUS, "sines", ours={"positions": "sinusoidal"}, off={"positions": "none"}),
    Variant(PEGASUS, "pre-norm", ours={"norm_place": "before"}, off={"norm_place": "after"}),
    Variant(PEGASUS, "scaled", {"scale_embedding": True, "activation_function": "relu"}, off={"activation": "gelu"}),
    Variant(PEGASUS, "untied", UNTIED, {"tied": False, "head_bias": True}, {"tied": True}),
    Variant(M2M100, "positions after the padding's", ours={"position_offset": 4}, off={"position_offset": 0}),
    Variant(M2M100, "wavelengths", ours={"waves_include_end": True}, off={"waves_include_end": False}),
    Variant(M2M100, "scaled", ours={"scale_embedding": True, "norm_place": "before"}, off={"scale_embedding": False}),
    Variant(M2M100, "untied", UNTIED, {"tied": False, "head_bias": False}, {"tied": True}),
    Variant(MARIAN, "swish", {"activation_function": "swish"}, {"activation": "silu"}, {"activation": "gelu"}),
]
each_variant = pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: f"{variant.kind}: {variant.name}")
SOURCE, TARGET = (one.where(one != 3, 4).where(one != 1, 2) for one in (tiny.text(2, 40), tiny.text(2, 30, seed=1)))
"""Without the ids that RoBERTa's and MPNet's positions take for padding."""
REAL = torch.ones(2, 40, dtype=torch.bool)
REAL[1, 33:] = False
SEGMENTS = (torch.arange(40) > 20).long().expand(2, -1)


@torch.inference_mode()
def their_outputs(model: Any) -> dict[str, Tensor]:
    family = model.config.model_type
    if family == "gpt_neox":
        return {"logits": model(TARGET).logits}
    if model.config.is_encoder_decoder:
        return {"logits": model(input_ids=SOURCE, attention_mask=REAL, decoder_input_ids=TARGET).logits}
    has_segments = getattr(model.config, "type_vocab_size", 0) > 1
    out = model(SOURCE, attention_mask=REAL, **({"token_type_ids": SEGMENTS} if has_segments else {}))
    kinds = {
        "last_hidden_state": "hidden",
        "pooler_output": "pooled",
        "prediction_logits": "logits",
        "seq_relationship_logits": "classes",
        "logits": "logits" if type(model).__name__.endswith("ForMaskedLM") else "classes",
    }
    found = {kinds[name]: value for name, value in out.items() if name in kinds}
    if type(model).__name__ == "ElectraForPreTraining":  # it has one score for a token, and leaves its axis out
        found["classes"] = found["classes"][..., None]
    return found


@torch.inference_mode()
def our_outputs(network: Network, wanted: Any) -> dict[str, Tensor]:
    if network.encoder is not None:
        return {"logits": network(TARGET, memory=network.encode(SOURCE, REAL))}
    if "hidden" not in wanted and network.config.family == "gpt_neox":
        return {"logits": network(TARGET)}
    hidden = network.hidden(SOURCE, REAL, segments=SEGMENTS if network.config.segments > 1 else None)
    ways = {
        "hidden": lambda: hidden,
        "pooled": lambda: network.pooled(hidden, REAL),
        "logits": lambda: network.logits(hidden),
        "classes": lambda: network.classify(hidden, REAL),
    }
    return {name: ways[name]() for name in wanted}


def without_padding(outputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """What stands on padding means nothing, and the two need not agree on it."""
    return {name: value[REAL] if value.shape[:2] == REAL.shape else value for name, value in outputs.items()}


def same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    """To 1e-5 of the largest number of each output: products are summed in another order on another processor."""
    ours, theirs = without_padding(ours), without_padding(theirs)
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        largest = float(value.abs().max().clamp_min(1.0))
        torch.testing.assert_close(
            ours[name] / largest, value / largest, **CLOSE, msg=lambda said, name=name: name + said
        )


@each_variant
def test_a_model_that_transformers_saved_gives_equal_outputs(variant: Variant, tmp_path: Path):
    model = variant.model()
    model.save_pretrained(tmp_path)
    network = read_network(tmp_path)
    theirs = their_outputs(model)
    same(our_outputs(network, theirs), theirs)
    assert {key: getattr(network.config, key) for key in variant.ours} == variant.ours
    if variant.off:
        other = Network(network.config.but(**variant.off))
        tiny.randomise(other, seed=9)
        kept = other.state_dict()
        other.load_state_dict({name: one for name, one in network.state_dict().items() if name in kept}, strict=False)
        there = without_padding(our_outputs(network, theirs))
        off = without_padding(our_outputs(other.eval(), theirs))
        assert any(not torch.allclose(off[name], there[name], **CLOSE) for name in there)


@each_variant
def test_transformers_loads_what_we_write_with_equal_outputs(variant: Variant, tmp_path: Path):
    variant.model().save_pretrained(tmp_path / "theirs")
    network = Network(read_config(tmp_path / "theirs")).initialise().eval()
    tiny.randomise(network, seed=1)
    (tmp_path / "ours").mkdir()
    write_network(tmp_path / "ours", network)
    model, report = getattr(transformers, variant.kind).from_pretrained(
        tmp_path / "ours", dtype=torch.float32, output_loading_info=True
    )
    missing = {name for name in report["missing_keys"] if not name.endswith("embed_positions.weight")}  # its own sines
    assert not missing and not any(report[kind] for kind in ("unexpected_keys", "mismatched_keys")), report
    assert read_json(tmp_path / "ours" / "config.json")["architectures"] == [variant.kind]
    theirs = their_outputs(model.eval())
    same(our_outputs(network, theirs), theirs)
    assert read_network(tmp_path / "ours").config == network.config


@pytest.mark.parametrize("kind", [T5, MT5])
def test_transformers_loads_an_untied_t5_of_ours_with_equal_outputs(kind: str, tmp_path: Path):
    """It calls every T5 tied, and leaves a head alone that the file has."""
    Variant(kind, "").model().save_pretrained(tmp_path / "theirs")
    config = read_config(tmp_path / "theirs").but(tied=False, head_scale=None)
    network = Network(config).eval()
    tiny.randomise(network, seed=1)
    (tmp_path / "ours").mkdir()
    write_network(tmp_path / "ours", network)
    theirs = their_outputs(getattr(transformers, kind).from_pretrained(tmp_path / "ours"))
    same(our_outputs(network, theirs), theirs)
    assert read_network(tmp_path / "ours").config == config


@pytest.mark.parametrize("kind", WRITERS)
def test_token_by_token_with_a_cache_gives_the_logits_of_the_whole(kind: str, tmp_path: Path):
    Variant(kind, "").model().save_pretrained(tmp_path)
    network = read_network(tmp_path)
    with torch.inference_mode():
        memory = network.encode(SOURCE, REAL)
        whole = network(TARGET, memory=memory)
        cache = network.new_cache(2, memory=memory)
        parts = [network(TARGET[:, at : at + 1], cache=cache) for at in range(TARGET.shape[1])]
        torch.testing.assert_close(torch.cat(parts, dim=1), whole, **CLOSE)
        cache.keep([1, 1, 0])
        cache.truncate(10)
        again = network(TARGET[[1, 1, 0], 10:12], cache=cache)
        torch.testing.assert_close(again, whole[[1, 1, 0], 10:12], **CLOSE)


@pytest.mark.parametrize("kind", WRITERS)
def test_padding_of_the_source_changes_nothing(kind: str, tmp_path: Path):
    Variant(kind, "").model().save_pretrained(tmp_path)
    network = read_network(tmp_path)
    with torch.inference_mode():
        alone = network(TARGET[1:], memory=network.encode(SOURCE[1:, :33]))
        right = network(TARGET, memory=network.encode(SOURCE, REAL))[1:]
        left = network.encode(torch.cat([SOURCE[1:, 33:], SOURCE[1:, :33]], dim=1), REAL[1:].flip(1))
        largest = {"rtol": 1e-5, "atol": 1e-5 * float(alone.abs().max())}
        torch.testing.assert_close(right, alone, **largest)
        torch.testing.assert_close(network(TARGET[1:], memory=left), alone, **largest)


def test_a_file_whose_tied_head_is_another_matrix_is_refused(tmp_path: Path):
    from safetensors.torch import load_file, save_file

    Variant(BART, "").model().save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    save_file(tensors | {"lm_head.weight": tensors["model.shared.weight"] + 1}, file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lm_head\.weight holds a different one"):
        read_network(tmp_path)


@pytest.mark.parametrize("stack", ["encoder", "decoder"])
def test_a_file_with_an_embedding_of_its_own_for_a_stack_is_refused(stack: str, tmp_path: Path):
    """transformers reads one from the file where the head is another matrix than the embedding."""
    model = Variant(BART, "", UNTIED).model()
    model.get_submodule(f"model.{stack}").embed_tokens.weight.data[3] += 1
    model.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=rf"hold another model\.{stack}\.embed_tokens\.weight than model\.shared"):
        read_network(tmp_path)


@pytest.mark.parametrize("kind", LIKE_BART)
def test_a_file_of_the_body_alone_is_read(kind: str, tmp_path: Path):
    """Its names lack what begins them in a file with a head; the bias on the logits is zero."""
    variant = next(one for one in VARIANTS if one.family == kind)
    whole = variant.model()
    if kind != "m2m_100":
        whole.final_logits_bias.zero_()
    whole.save_pretrained(tmp_path / "whole")
    whole.model.save_pretrained(tmp_path / "body")
    ours, body = (read_network(tmp_path / name).state_dict() for name in ("whole", "body"))
    assert ours.keys() == body.keys() and all(torch.equal(one, body[name]) for name, one in ours.items())


def test_two_stacks_that_differ_in_heads_are_refused():
    from lmworks.models.families import family_of

    with pytest.raises(ModelError, match=r"encoder_attention_heads \(2\) and decoder_attention_heads \(4\) differ"):
        family_of("bart").config_from(SMALL["bart"] | {"encoder_attention_heads": 2})


@pytest.mark.parametrize("kind", ["BertForSequenceClassification", "BertForTokenClassification"])
def test_classes_that_are_counted_and_not_named_are_numbered(kind: str, tmp_path: Path):
    model = Variant(kind, "", {"num_labels": 3}).model()
    model.save_pretrained(tmp_path)
    said = read_json(tmp_path / "config.json")
    counted = {name: value for name, value in said.items() if name not in ("id2label", "label2id")}
    (tmp_path / "config.json").write_text(json.dumps(counted | {"num_labels": 3}))
    network = read_network(tmp_path)
    assert network.config.labels == ("LABEL_0", "LABEL_1", "LABEL_2") == tuple(model.config.id2label.values())
    theirs = their_outputs(model)
    same(our_outputs(network, theirs), theirs)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("family", [*SMALL, "gpt2"])
def test_transformers_reads_our_dropout_for_attention_too(family: str, dropout: float, tmp_path: Path):
    from lmworks.models.families import family_of

    small = SMALL.get(family, {"vocab_size": 96, "n_embd": 32, "n_layer": 1, "n_head": 4, "n_inner": 48})
    config = family_of(family).config_from(small).but(dropout=dropout)
    (tmp_path / "config.json").write_text(json.dumps(family_of(family).config_to(config)))
    theirs = transformers.AutoConfig.from_pretrained(tmp_path).to_dict()
    elsewhere = (
        "classifier_dropout",
        "activation_dropout",
        "summary_first_dropout",
        "summary_last_dropout",
        "qa_dropout",
    )  # not in these classes, or not ours
    found = {key: value for key, value in theirs.items() if "drop" in key and key not in elsewhere}
    layers = {key: found.pop(key) for key in list(found) if key.endswith("layerdrop")}
    assert set(found.values()) == {dropout} and set(layers.values()) <= {0.0}, theirs


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"problem_type": "multi_label_classification"}, "one class of several"),
        ({"problem_type": "regression", "id2label": {"0": "stars"}}, "one class of several"),
        ({"id2label": {"0": "no", "2": "yes"}}, "2 classes 0, 2; number them from 0"),
        ({"num_labels": 10**12}, "num_labels is 1000000000000; give the number of classes, at most 100,000"),
        ({"num_labels": "three"}, "num_labels is 'three'"),
    ],
)
def test_a_classifier_that_tells_something_else_is_refused(said: dict[str, Any], why: str):
    from lmworks.models.families import family_of

    with pytest.raises(ModelError, match=why):
        family_of("bert").config_from(SMALL["bert"] | {"architectures": ["BertForSequenceClassification"]} | said)
