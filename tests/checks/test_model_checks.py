"""`lmworks check` on models that are sound, and on one broken on purpose for each check."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import tiny
import torch
from tokenizers import pre_tokenizers
from tokens.small import byte_level, sentencepiece
from tokens.templates import TEMPLATES

from lmworks.adaptation.lora import LoRAConfig, LoRALinear, add_lora, lora_layers
from lmworks.adaptation.peft_format import write_adapter
from lmworks.basics.declared import declared
from lmworks.checks import adapters, answers, files, network, templates, tokenizers
from lmworks.checks.result import Check, CheckResult, Difference, checks_of
from lmworks.checks.run import SUBJECTS, check_model
from lmworks.generation.chooser import Chooser
from lmworks.generation.distribution import RandomStream
from lmworks.generation.strategies import Sample
from lmworks.language_model import LanguageModel
from lmworks.loading import load
from lmworks.models.cache import Cache
from lmworks.models.masks import Visibility, visibility
from lmworks.models.relatives.recurrent import RecurrentNetwork
from lmworks.models.relatives.recurrent_config import RecurrentConfig
from lmworks.tokens.stream import StreamDecoder
from lmworks.tokens.tokenizer import Tokenizer

OPEN_ENDED = (
    "{% for m in messages %}{{ m.role + ': ' + m.content }}{% if m.role == 'user' %}<|im_end|>{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
)
SHOUTING = (
    "{% for m in messages %}{{ m.content if loop.last else m.content | upper }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}{% endif %}"
)


def model_with(tokenizer: Tokenizer, **settings: object) -> LanguageModel:
    return LanguageModel(tiny.network(**({"vocab_size": tokenizer.vocab_size} | settings)), tokenizer)


@pytest.fixture
def model() -> LanguageModel:
    return tiny.language_model(seed=2)


@pytest.fixture
def adapted(tmp_path: Path) -> LanguageModel:
    """A model with an adapter that was saved and loaded."""
    base = tiny.language_model(seed=2)
    base.save(tmp_path / "base")
    add_lora(base.network, LoRAConfig(rank=3))
    for layer in lora_layers(base.network).values():
        tiny.randomise(layer.up)
    (tmp_path / "adapter").mkdir()
    write_adapter(tmp_path / "adapter", base.network, str(tmp_path / "base"))
    return load(tmp_path / "adapter")


def failed(result: CheckResult, words: str = "") -> None:
    assert result.status == "FAILED", result
    assert words in result.detail, result.detail


LEARNED = {
    "positions": "learned",
    "norm": "layer",
    "gated": False,
    "family": "gpt2",
    "kv_heads": 4,
    "qkv_bias": True,
    "output_bias": True,
    "feed_forward_bias": True,
    "activation": "gelu_tanh",
}
BOTH = {"family": "lmworks", "arrangement": "encoder-decoder"}


def recurrent() -> LanguageModel:
    shape = {"vocab_size": 259, "dim": 24, "layers": 2, "context": 128, "arrangement": "encoder-decoder"}
    network = RecurrentNetwork(RecurrentConfig(**shape)).eval()
    tiny.randomise(network)
    return LanguageModel(network, tiny.byte_tokenizer())


SOUND = {
    "plain": tiny.language_model,
    "a window shorter than the text": lambda: tiny.language_model(window=6, family="mistral"),
    "a window on some layers": lambda: tiny.language_model(window=6, window_layers=(1,), qkv_bias=True, family="qwen2"),
    "learned positions": lambda: tiny.language_model(**LEARNED),
    "dropout": lambda: tiny.language_model(dropout=0.2),
    "an untied head": lambda: tiny.language_model(tied=False),
    "BOS": lambda: model_with(byte_level(TEMPLATES["Llama 3"].replace("<|eot_id|>", "<|im_end|>"), adds_bos=True)),
    "an encoder-decoder": lambda: tiny.language_model(**BOTH, positions="relative"),
    "an encoder-decoder with dropout": lambda: tiny.language_model(**BOTH, positions="learned", dropout=0.2),
    "a recurrent encoder-decoder": recurrent,
    "no template": lambda: model_with(byte_level(None, adds_bos=True)),
    "SentencePiece": lambda: model_with(sentencepiece(TEMPLATES["Mistral"])),
}


@pytest.mark.parametrize("kind", SOUND)
def test_a_sound_model_passes_and_is_left_as_it_was(kind: str):
    model = SOUND[kind]()
    before = {name: weight.clone() for name, weight in model.network.state_dict().items()}
    state = torch.get_rng_state()
    results = check_model(model)
    assert [(one.name, one.detail) for one in results if one.status == "FAILED"] == []
    assert all(one.detail for one in results if one.status == "not applicable")
    after = model.network.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    assert getattr(model.network, "attention_kernel", "fused") == "fused" and not model.network.training
    assert torch.equal(state, torch.get_rng_state())


def test_a_model_in_bfloat16_is_checked_in_float32_too():
    model = tiny.language_model(window=9, family="mistral")
    model.network.bfloat16()
    by_name = {one.name: one for one in check_model(model)}
    assert [name for name, one in by_name.items() if one.status == "FAILED"] == []
    units = [one.unit for one in by_name["a cache changes nothing"].worst()]
    assert units == ["of the logits, bfloat16", "of the logits, float32"]


def test_a_sound_adapter_passes(adapted: LanguageModel):
    results = {one.name: one for one in check_model(adapted)}
    assert [(one.name, one.detail) for one in results.values() if one.status == "FAILED"] == []
    assert results["adapter is loaded whole"].status == results["merged is unmerged"].status == "ok"


def test_a_compiled_model_is_checked_in_pytorch():
    """Weights in few bits would fail what is exact to the last digits, and are no fault of the model."""
    pytest.importorskip("numba")
    model = tiny.language_model(dim=64, heads=4, head_dim=16, hidden_dim=96)
    model.network.requires_grad_(False)
    model.choose_runner("int8")
    runner = model.runner
    assert [(one.name, one.detail) for one in check_model(model) if one.status == "FAILED"] == []
    assert runner.name == "compiled" and model.runner is runner


# One broken model, template or tokenizer for each check


def test_1_a_template_that_rewrites_earlier_turns():
    failed(templates.template_prefix(model_with(byte_level(SHOUTING))), "differently for training and for answering")


def test_1_training_that_renders_in_another_way(model, monkeypatch):
    honest = templates.encode_conversation
    monkeypatch.setattr(templates, "encode_conversation", lambda *given: tuple(part[1:] for part in honest(*given)))
    failed(templates.template_prefix(model), "token 0")


def test_2_a_template_that_closes_no_turn():
    failed(templates.template_closing(model_with(byte_level(OPEN_ENDED))), "no token at which the model stops")


def test_2_a_closing_token_without_loss(model, monkeypatch):
    honest = templates.encode_conversation

    def without(tokenizer, *rest):
        ids, supervised = honest(tokenizer, *rest)
        stops = tokenizer.stop_ids
        return ids, [carries and number not in stops for number, carries in zip(ids, supervised, strict=True)]

    monkeypatch.setattr(templates, "encode_conversation", without)
    failed(templates.template_closing(model), "closing tokens that carry loss")


def test_4_a_template_that_forgets_bos():
    failed(templates.entrances(model_with(byte_level(adds_bos=True))), "BOS as chat reads it")


def test_4_a_bos_twice(monkeypatch):
    model = model_with(byte_level(None, adds_bos=True))
    honest = Tokenizer.encode
    monkeypatch.setattr(
        Tokenizer,
        "encode",
        lambda self, text, special=True, **rest: [self.bos] * special + honest(self, text, special, **rest),
    )
    failed(templates.entrances(model), "generate")


def test_6_half_characters_counted_as_three_bytes(model, monkeypatch):
    honest = Tokenizer.token_bytes
    monkeypatch.setattr(
        Tokenizer, "token_bytes", lambda self, number: honest(self, number).decode("utf-8", "replace").encode()
    )
    failed(tokenizers.bytes_add_up(model))


def test_7_labels_shifted_twice(model, monkeypatch):
    def shifted(rows):
        batch = honest(rows)
        return dataclasses.replace(batch, labels=batch.labels.roll(-1, dims=1))

    honest = templates.stack
    monkeypatch.setattr(templates, "stack", shifted)
    failed(templates.loss_by_hand(model), "the training loss and the formula")


def test_8_a_tokenizer_that_reloads_with_another_split(model, monkeypatch):
    other = byte_level()
    monkeypatch.setattr(Tokenizer, "load", lambda folder: other)
    failed(tokenizers.saved_tokenizer(model), "ids before and after saving")


def test_10_a_tokenizer_that_eats_white_space():
    tokenizer = tiny.byte_tokenizer()
    backend = tokenizer.vocabulary.backend
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    broken = model_with(Tokenizer(tokenizer.vocabulary))
    failed(tokenizers.comes_back(broken), "becomes 'a'")
    failed(tokenizers.bytes_add_up(broken))


def test_12_a_cache_that_is_off_by_one(model, monkeypatch):
    honest = Cache.advance
    monkeypatch.setattr(Cache, "advance", lambda self, tokens, real: honest(self, tokens[:, :-1], real))
    failed(network.cache(model), "cached")


def test_12_a_truncation_that_forgets_nothing(model, monkeypatch):
    monkeypatch.setattr(Cache, "truncate", lambda self, length: None)
    failed(network.cache(model), "a truncated cache")


def test_13_positions_that_count_padding(monkeypatch):
    model = tiny.language_model(**LEARNED)  # rotary positions are relative: an offset alone does not show
    honest = model.network.positions_of
    monkeypatch.setattr(model.network, "positions_of", lambda tokens, real, *rest: honest(tokens, None, *rest))
    failed(network.padding(model))


def test_14_padding_rows_that_see_nothing(model, monkeypatch):
    def blind(queries, keys, window, real=None, documents=None, device="cpu", *rest):
        sees = visibility(queries, keys, window, real, documents, device)
        return sees if real is None else Visibility(sees.mask & real[:, None, None, :], causal=False)

    monkeypatch.setattr("lmworks.models.stack.visibility", blind)
    model.network.attention_kernel = "explicit"
    failed(network.padding_rows(model), "padding and finite numbers")


def test_5_packed_documents_that_see_each_other(model, monkeypatch):
    monkeypatch.setattr(
        "lmworks.models.stack.visibility",
        lambda queries, keys, window, real, documents, *rest: visibility(queries, keys, window, real, None, *rest),
    )
    failed(network.packing(model), "document 2 packed and alone")


def test_17_a_kernel_with_another_scale(model, monkeypatch):
    honest = torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        torch.nn.functional,
        "scaled_dot_product_attention",
        lambda query, *rest, **named: honest(query * 0.9, *rest, **named),
    )
    failed(network.attention(model), "fused attention and the formula")


def test_18_dropout_that_stays_on(monkeypatch):
    model = tiny.language_model(dropout=0.3)
    monkeypatch.setattr(model.network, "eval", lambda: model.network.train(True))
    failed(network.dropout(model), "two evaluation passes")


def test_18_dropout_that_never_comes_on(monkeypatch):
    model = tiny.language_model(dropout=0.3)
    monkeypatch.setattr(model.network, "train", lambda mode=True: model.network)
    failed(network.dropout(model), "two training passes")


def test_15_a_tie_that_came_apart(model, monkeypatch):
    monkeypatch.setattr(type(model.network), "head_weight", property(lambda self: self.embedding.weight.clone()))
    failed(files.tie(model), "the loaded model")


def test_saving_that_rounds(model, monkeypatch):
    honest = LanguageModel.load

    def rounded(reference, **rest):
        again = honest(reference, **rest)
        again.network.bfloat16().float()
        return again

    monkeypatch.setattr(LanguageModel, "load", rounded)
    failed(files.round_trip(model), "before saving and after loading")


def test_a_weight_that_is_no_number(model):
    with torch.no_grad():
        model.network.blocks[1].attention.qkv.weight[3, 4] = math.nan
    failed(files.finite(model), "blocks.1.attention.qkv.weight")
    failed(network.cache(model))  # and NaN is not within any tolerance


def test_files_cut_off_or_changed(model, tmp_path, monkeypatch):
    model.save(tmp_path / "model")
    loaded = LanguageModel.load(tmp_path / "model")
    assert files.files(loaded).status == "ok"
    weights = tmp_path / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    failed(files.files(loaded), "ends 100 bytes early")
    alias = dataclasses.replace(files.ALIASES["smollm2"], name="mine", member_sha256="0" * 64)
    monkeypatch.setitem(files.ALIASES, "mine", alias)
    failed(files.files(LanguageModel(model.network, model.tokenizer, weights, "mine")), "model.safetensors")


def test_a_weight_that_was_changed_after_saving(model, tmp_path):
    """It is finite and in its place: only the SHA-256 in lmworks.json knows."""
    model.save(tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-4] ^= 1  # the lowest bit of a float32
    weights.write_bytes(content)
    found = files.files(LanguageModel.load(tmp_path / "model"))
    failed(found, "model.safetensors")
    assert "the SHA-256 in lmworks.json" in found.compared
    (tmp_path / "model" / "lmworks.json").unlink()
    assert files.files(LanguageModel.load(tmp_path / "model")).status == "ok"


def test_an_adapter_on_another_base(adapted, tmp_path):
    record = tmp_path / "adapter" / "lmworks.json"
    record.write_text('{"base": {"sha256": "%s"}}' % ("0" * 64))
    failed(files.files(adapted), "the base model's weights")


def test_21_an_adapter_that_was_loaded_in_part(adapted):
    layer = next(iter(lora_layers(adapted.network).values()))
    with torch.no_grad():
        layer.up[0].zero_()
    failed(adapters.loaded_whole(adapted), "the values of the file and of the network")


def test_22_a_second_merge_that_adds_twice(adapted, monkeypatch):
    def merge(self):
        if self._unmerged is None:
            self._unmerged = self.base.weight.detach().clone()
        self.base.weight.copy_(self.base.weight.float() + self.delta())

    monkeypatch.setattr(LoRALinear, "merge", torch.no_grad()(merge))
    failed(adapters.merged(adapted), "merged twice and once")


def test_32_a_stream_that_cuts_characters(model, monkeypatch):
    monkeypatch.setattr(
        StreamDecoder,
        "push",
        lambda self, number: self._shown(self._tokenizer.token_bytes(number).decode("utf-8", "replace")),
    )
    failed(answers.stream(model), "text streamed token by token")


def test_31_a_stop_string_that_leaks(model, monkeypatch):
    monkeypatch.setattr(StreamDecoder, "_first_possible", lambda self: len(self._held))
    failed(answers.stream(model), "stop string")


def test_33_a_seed_that_reproduces_nothing(model, monkeypatch):
    monkeypatch.setattr(Sample, "new_seed", lambda self: int(torch.randint(0, 1000, ())))
    failed(answers.seeds(model))


def test_33_requests_that_share_their_random_numbers(model, monkeypatch):
    honest, shared = Chooser.__init__, RandomStream(0)

    def coupled(self, strategy, seed, *said):
        honest(self, strategy, seed, *said)
        if seed is not None:
            shared.__init__(seed)
            self.random = shared

    monkeypatch.setattr(Chooser, "__init__", coupled)
    assert answers.seeds(model).status == "ok"  # alone nothing is to be seen
    failed(answers.neighbours(model), "a drawn answer in a batch and alone")


def test_a_difference_that_is_no_number_is_outside_and_null_in_json():
    broken = Difference("a and b", math.nan, 0.1, "logits")
    assert not broken.within
    assert CheckResult("x", (), "", "FAILED", (broken,)).to_json()["differences"][0]["value"] is None


def test_every_declared_check_has_a_subject_and_a_sentence():
    declared_checks = declared("lmworks.checks", Check)
    assert len(declared_checks) > 40
    for one in declared_checks.values():
        assert set(one.of) <= set(SUBJECTS) and one.compare.__doc__
    assert {one.name for one in checks_of("model")} > {"weights are finite", "a cache changes nothing"}
