"""A model written as GGUF reads back as the same network and tokenizer; what cannot is refused in one sentence."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import tiny
import torch
from tokenizers import pre_tokenizers

import lmworks as lm
from jobs.small_files import FAMILIES, ROUTED, TEXTS, language_model, tokenizer
from lmworks.adaptation.lora import LoRAConfig, add_lora, lora_layers
from lmworks.adaptation.peft_format import write_adapter
from lmworks.basics.errors import LmworksError, ModelError
from lmworks.cli import main
from lmworks.jobs.export import PROBES, export
from lmworks.lab.site.benches.stories import missing, stories
from lmworks.models.config import RopeScaling
from lmworks.models.files.gguf import read_gguf_network
from lmworks.models.files.gguf_file import GGUFFile
from lmworks.models.files.gguf_vocabulary_writing import NAMES, vocabulary_entries
from lmworks.models.files.gguf_writing import exported_config, network_entries, network_tensors, write_gguf
from lmworks.tokens.tokenizer import Tokenizer
from lmworks.tokens.trainer import TokenizerConfig, train_tokenizer
from lmworks.tokens.vocabulary import Vocabulary

Kind = gguf.GGMLQuantizationType


def written(tmp_path: Path, kind: str = "f16", **changes: Any) -> tuple[lm.LanguageModel, Path]:
    """A small model saved and exported, and the file."""
    model = language_model(**changes)
    folder = model.save(tmp_path / "model")
    return model, export(folder, tmp_path / "model.gguf", kind=kind).file


@pytest.mark.parametrize("family", FAMILIES)
def test_the_file_reads_back_as_the_model_with_its_matrices_rounded_to_float16(family: str, tmp_path: Path):
    model, file = written(tmp_path, family=family)
    back = lm.load(file, dtype="float32")
    assert back.config.family == ("llama" if family == "mistral" else model.config.family)
    rounded = language_model(family)
    for name, weight in rounded.network.named_parameters():
        if weight.ndim == 2 and not name.endswith(("router.weight", "shared_gate.weight")):  # nor are kernels rounded
            weight.data = weight.data.half().float()
    ids = [model.tokenizer.encode(text)[:40] for text in PROBES[:1]]
    assert torch.equal(back.logits(ids), rounded.logits(ids))
    assert not torch.equal(back.logits(ids), model.logits(ids))
    for text in (*PROBES, "<|im_start|>user"):
        assert back.tokenizer.encode(text) == model.tokenizer.encode(text)
    chat = [{"role": "user", "content": "Hi <|im_end|>"}]
    assert back.encode_prompt(chat) == model.encode_prompt(chat)
    assert back.tokenizer.stop_ids == model.tokenizer.stop_ids
    assert lm.load(file).network.dtype == torch.float16  # as the file has it


def test_a_file_in_bfloat16_holds_a_model_in_bfloat16_unchanged(tmp_path: Path):
    model = language_model("gpt2", hidden_dim=80)  # rows that are not whole groups, too
    for weight in model.network.parameters():
        weight.data = weight.data.bfloat16().float()
    file = export(model.save(tmp_path / "model"), tmp_path / "m.gguf", kind="bf16").file
    kinds = {tensor.name: tensor.tensor_type for tensor in gguf.GGUFReader(file).tensors}
    assert kinds["blk.1.ffn_down.weight"] == kinds["token_embd.weight"] == Kind.BF16
    assert kinds["blk.1.ffn_down.bias"] == Kind.F32
    back = lm.load(file, dtype="float32")
    for name, weight in model.network.state_dict().items():
        assert torch.equal(back.network.state_dict()[name], weight), name


@pytest.mark.parametrize("kind", ["f16", "q8_0", "q4_0"])
def test_tensor_by_tensor_it_holds_what_the_public_package_makes_of_the_weights(kind: str, tmp_path: Path):
    model, file = written(tmp_path, kind, family="qwen2")
    theirs = {tensor.name: tensor for tensor in gguf.GGUFReader(file).tensors}
    weight = model.network.state_dict()
    query = weight["blocks.1.attention.qkv.weight"][:64].numpy()
    stored = {"f16": Kind.F16, "q8_0": Kind.Q8_0, "q4_0": Kind.Q4_0}[kind]
    assert theirs["blk.1.attn_q.weight"].tensor_type == stored
    held = theirs["blk.1.attn_q.weight"].data
    if stored == Kind.F16:
        assert np.array_equal(held, query.astype(np.float16))
    else:
        assert np.array_equal(held, gguf.quantize(query, stored))
    assert theirs["output_norm.weight"].tensor_type == Kind.F32
    assert np.array_equal(theirs["output_norm.weight"].data, weight["norm.weight"].numpy())
    assert theirs["token_embd.weight"].tensor_type == (Kind.Q8_0 if kind == "q4_0" else stored)
    assert "output.weight" not in theirs  # tied
    loose = {"f16": 3e-3, "q8_0": 0.06, "q4_0": 0.8}[kind]
    ids = [model.tokenizer.encode(PROBES[0])]
    away = (lm.load(file, dtype="float32").logits(ids) - model.logits(ids)).std() / model.logits(ids).std()
    assert 0 < away < loose


def test_rows_that_are_not_whole_groups_stay_float16_and_are_named(tmp_path: Path):
    model = language_model(hidden_dim=80)
    made = export(model.save(tmp_path / "model"), tmp_path / "m.gguf", kind="q4_0")
    assert made.unquantised == ("blk.0.ffn_down.weight", "blk.1.ffn_down.weight")
    kinds = {tensor.name: tensor.tensor_type for tensor in gguf.GGUFReader(made.file).tensors}
    assert kinds["blk.0.ffn_down.weight"] == Kind.F16 and kinds["blk.0.ffn_up.weight"] == Kind.Q4_0
    assert lm.load(made.file, dtype="float32").logits([[1, 2, 3]]).isfinite().all()


def test_an_adapter_is_merged_and_the_base_untouched(tmp_path: Path):
    base = language_model()
    folder = base.save(tmp_path / "base")
    adapted = lm.load(folder)
    add_lora(adapted.network, LoRAConfig(rank=2))
    for layer in lora_layers(adapted.network).values():
        for one in layer.trained():
            one.data = torch.full_like(one, 0.05)
    (tmp_path / "adapter").mkdir()
    write_adapter(tmp_path / "adapter", adapted.network, str(folder))
    adapted.write_tokenizer(tmp_path / "adapter")
    made = export(tmp_path / "adapter", tmp_path / "m.gguf")
    assert made.merged
    as_file = export(folder, tmp_path / "base.gguf").file
    with pytest.raises(ModelError, match=r"base\.gguf is the base of .*adapter, which it cannot be used without"):
        export(tmp_path / "adapter", as_file, base=as_file)
    write_adapter(tmp_path / "adapter", adapted.network, str(as_file))
    with pytest.raises(ModelError, match=r"base\.gguf is the base of"):
        export(tmp_path / "adapter", as_file)
    ids = [adapted.tokenizer.encode(PROBES[0])]
    back = lm.load(made.file, dtype="float32").logits(ids)
    torch.testing.assert_close(back, adapted.logits(ids), rtol=0.05, atol=0.05)
    assert (back - base.logits(ids)).abs().max() > 0.1


@pytest.mark.parametrize("rule", NAMES)
def test_the_name_of_the_rule_that_splits_words_is_found(rule: str):
    assert vocabulary_entries(tokenizer(rule), 400)["tokenizer.ggml.pre"] == rule


def test_a_pattern_may_hold_ends_of_lines_as_they_are():
    """As DeepSeek-V3's tokenizer.json does."""
    made = tokenizer("deepseek-v3").vocabulary
    state = made.backend.to_str().replace("\\\\r\\\\n", "\\r\\n")
    words = Tokenizer(Vocabulary(type(made.backend).from_str(state), name="other"))
    assert state != made.backend.to_str()
    assert vocabulary_entries(words, 400)["tokenizer.ggml.pre"] == "deepseek-v3"


def strange(change: str) -> Tokenizer:
    made = tokenizer().vocabulary
    backend = type(made.backend).from_str(made.backend.to_str())
    if change == "rule":
        backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Punctuation(), pre_tokenizers.ByteLevel()])
    if change == "order":
        backend.model.ignore_merges = True
    if change == "space":
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    return Tokenizer(Vocabulary(backend, name="strange"))


@pytest.mark.parametrize("change", ["rule", "order", "space"])
def test_a_tokenizer_that_llama_cpp_has_no_name_for_is_refused(change: str):
    with pytest.raises(ModelError, match=r"strange splits words by a rule of its own \(known are gpt-2, smollm"):
        vocabulary_entries(strange(change), 400)


def test_other_kinds_of_tokenizer_are_refused():
    words = train_tokenizer(TEXTS, TokenizerConfig(kind="unigram", vocab_size=310))
    with pytest.raises(ModelError, match=r"neither byte-level BPE nor SentencePiece's BPE \(its model is Unigram\)"):
        vocabulary_entries(words, 310)
    bytes_ = train_tokenizer(TEXTS, TokenizerConfig(kind="byte"))
    with pytest.raises(ModelError, match="has no merges"):
        vocabulary_entries(bytes_, 257)


PIECES = {"llama": "pieces", "mistral": "pieces", "mixtral": "pieces", "phi3": "pieces"} | dict.fromkeys(
    ("gemma", "gemma2", "gemma3"), "pieces as they are"
)
"""Families whose real models have SentencePiece's BPE."""


@pytest.mark.parametrize("kind", ["q8_0", "q4_k_m"])
@pytest.mark.parametrize("family", PIECES)
def test_a_model_with_sentencepieces_bpe_is_written_and_read_back(family: str, kind: str, tmp_path: Path):
    more = {"dim": 256, "hidden_dim": 512, "heads": 4, "kv_heads": 4}
    model, file = written(tmp_path, kind, family=family, rule=PIECES[family], **more)
    back = lm.load(file, dtype="float32")
    assert back.config.family == ("llama" if family == "mistral" else model.config.family)
    for text in (*PROBES, *TEXTS[:5], "a</s>b"):
        assert back.tokenizer.encode(text) == model.tokenizer.encode(text), text
    chat = [{"role": "user", "content": "lists </s> of\n\n things"}]
    assert back.encode_prompt(chat) == model.encode_prompt(chat)
    once_more = export(file, tmp_path / "again.gguf", kind=kind).file
    ours, theirs = GGUFFile(file).metadata, GGUFFile(once_more).metadata
    for key, value in ours.items():
        assert key == "general.name" or theirs[key] == value, key


@pytest.mark.parametrize("kind", ["f16", "q8_0", "q4_k_m"])
def test_stories_go_on_with_the_same_tokens_from_a_file(kind: str, tmp_path: Path):
    if missing():
        pytest.skip(missing())
    model = stories(fetch=False)
    file = export(model.save(tmp_path / "model"), tmp_path / "m.gguf", kind=kind).file
    ids = model.tokenizer.encode("Once upon a time")
    written = model.generate(ids, max_new_tokens=40).tokens
    assert len(written) == 40 and lm.load(file, dtype="float32").generate(ids, max_new_tokens=40).tokens == written


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"family": "mistral", "window": 16}, "a sliding window, which llama.cpp does not use"),
        ({"activation": "gelu"}, "the activation gelu"),
        ({"rope_scaling": RopeScaling(kind="dynamic", factor=2.0)}, "rotary scaling of the kind dynamic"),
        ({"rope_scaling": RopeScaling(kind="yarn", factor=2.0, fast_turns=16.0)}, "yarn settings of its own"),
        ({"family": "qwen3", "qkv_bias": True, "output_bias": True}, "biases in its attention"),
        ({"family": "gemma", "tied": False}, "a head of its own"),
    ],
)
def test_networks_that_a_file_cannot_describe_are_refused(changes: dict[str, Any], words: str, tmp_path: Path):
    folder = language_model(**changes).save(tmp_path / "model")
    with pytest.raises(ModelError, match=words) as caught:
        export(folder, tmp_path / "m.gguf")
    assert "\n" not in str(caught.value) and ",:" not in str(caught.value) and ",;" not in str(caught.value)
    assert not list(tmp_path.glob("*m.gguf*"))


def test_other_families_are_refused(tmp_path: Path):
    folder = tiny.language_model(family="lmworks", qk_norm=True).save(tmp_path / "own")
    with pytest.raises(ModelError, match="a lmworks network cannot be written as GGUF here"):
        export(folder, tmp_path / "m.gguf")


@pytest.mark.parametrize("value, words", [(float("nan"), "not finite"), (1e6, "more than float16 can hold")])
@pytest.mark.parametrize("kind", ["f16", "q4_0"])
def test_weights_that_cannot_be_stored_are_named_and_nothing_is_left(
    value: float, words: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    model = language_model()
    model.network.state_dict()["blocks.1.feed_forward.down.weight"][3, 5] = value * 2000
    monkeypatch.setattr("lmworks.jobs.export.load", lambda *arguments, **settings: model)
    file, folder = tmp_path / "out" / "m.gguf", language_model().save(tmp_path / "model")
    file.parent.mkdir()
    file.write_bytes(b"GGUF earlier")
    with pytest.raises(ModelError, match=rf"blk\.1\.ffn_down\.weight holds .*{words}"):
        export(folder, file, kind=kind)
    assert [path.name for path in file.parent.iterdir()] == ["m.gguf"]
    assert file.read_bytes() == b"GGUF earlier"


@pytest.mark.parametrize("given", [0, 1])
def test_no_part_of_the_split_model_that_is_read_is_replaced(given: int, tmp_path: Path):
    model = language_model()
    entries = network_entries(model.config) | vocabulary_entries(model.tokenizer, model.config.vocab_size)
    tensors = list(network_tensors(model.network).items())
    files = [tmp_path / f"m-0000{number}-of-00002.gguf" for number in (1, 2)]
    for number, (file, held) in enumerate(zip(files, (tensors[:3], tensors[3:]), strict=True)):
        write_gguf(file, entries | {"split.no": number, "split.count": 2}, dict(held), Kind.F16)
    before = [file.read_bytes() for file in files]
    for file in files:
        with pytest.raises(ModelError, match=f"{file.name} is the model itself; give another name"):
            export(files[given], file)
    assert [file.read_bytes() for file in files] == before
    assert export(files[given], tmp_path / "other.gguf").bytes


def test_what_lies_there_is_replaced_only_if_it_is_such_a_file(tmp_path: Path):
    folder = language_model().save(tmp_path / "model")
    (tmp_path / "old.gguf").write_bytes(b"GGUF and more")
    assert lm.load(export(folder, tmp_path / "old.gguf").file, dtype="float32").config.family == "llama"
    (tmp_path / "mine.gguf").write_text("my notes")
    (tmp_path / "folder.gguf").mkdir()
    for name, words in (
        ("mine.gguf", "no GGUF file and would be replaced"),
        ("folder.gguf", "is a directory"),
        ("model.bin", "does not end in .gguf"),
    ):
        with pytest.raises(ModelError, match=words):
            export(folder, tmp_path / name)
    with pytest.raises(ModelError, match="is the model itself"):
        export(tmp_path / "old.gguf", tmp_path / "old.gguf")
    with pytest.raises(LmworksError, match="'q2_k' is not a type of GGUF file"):
        export(folder, tmp_path / "m.gguf", kind="q2_k")
    assert (tmp_path / "mine.gguf").read_text() == "my notes"


LARGEST_KL = {"q4_k_m": 1.5, "q5_k_m": 0.8, "q6_k": 0.3}
"""Nats, of a random network, which any rounding changes much."""
TEXT = "\n\n".join(
    f"Lists hold things in order; number {n} of them is written here, and {n + 1} follows." for n in range(60)
)


@pytest.mark.parametrize(
    "kind, expected", [("q4_k_m", {"Q4_K", "Q6_K"}), ("q5_k_m", {"Q5_K", "Q6_K"}), ("q6_k", {"Q6_K"})]
)
def test_k_quants_are_rounded_for_a_text_and_say_what_they_cost(kind: str, expected: set[str], tmp_path: Path):
    for number in range(12):
        (tmp_path / f"{number}.txt").write_text(TEXT[number * 300 : number * 300 + 900])
    model = language_model(dim=256, hidden_dim=512, heads=4, kv_heads=2)
    folder, text = model.save(tmp_path / "model"), str(tmp_path)
    made = export(folder, tmp_path / "m.gguf", kind=kind, text=text, tokens=400)
    plain = export(folder, tmp_path / "plain.gguf", kind=kind)
    file = GGUFFile(made.file)
    assert {one.kind.name for one in file.tensors.values() if len(one.shape) > 1} == expected
    assert made.before is not None and made.after is not None and made.change is not None and plain.change is None
    assert made.after.value == pytest.approx(made.before.value, rel=0.05) and made.after.value != made.before.value
    ids = [model.tokenizer.encode(TEXT)[:64]]
    exact, *others = (
        lm.load(one, dtype="float32").logits(ids).log_softmax(-1) for one in (folder, made.file, plain.file)
    )
    weighted, unweighted = (float((exact.exp() * (exact - one)).sum(-1).mean()) for one in others)
    assert weighted != unweighted and weighted < LARGEST_KL[kind]


def test_of_one_short_file_several_pieces_are_held_out_so_that_the_cost_has_an_interval(tmp_path: Path):
    (tmp_path / "notes.txt").write_text(TEXT)
    folder = language_model(dim=64, hidden_dim=96).save(tmp_path / "model")
    made = export(folder, tmp_path / "m.gguf", kind="q8_0", text=str(tmp_path / "notes.txt"))
    assert made.change is not None and made.change.n >= 4 and made.change.interval is not None


def test_a_text_that_is_too_short_for_an_interval_says_what_to_give(tmp_path: Path, monkeypatch, capsys):
    (tmp_path / "notes.txt").write_text(TEXT[:900])
    folder = language_model(dim=64, hidden_dim=96, context=2048).save(tmp_path / "model")
    given = ("export", str(folder), "--out", str(tmp_path / "m.gguf"), "--text", str(tmp_path / "notes.txt"))
    monkeypatch.setattr(sys, "argv", ["lmworks", *given, "--tokens", "50"])
    with pytest.raises(SystemExit) as ended:
        main()
    shown = capsys.readouterr().out
    assert not ended.value.code and "too few to tell" in shown and "--text" in shown and "20 KB" in shown, shown


def test_rows_that_are_no_whole_blocks_take_the_next_larger_type(tmp_path: Path):
    made = export(language_model(dim=64, hidden_dim=96).save(tmp_path / "model"), tmp_path / "m.gguf", kind="q4_k_m")
    kinds = {one.kind.name for one in GGUFFile(made.file).tensors.values() if len(one.shape) > 1}
    assert kinds == {"Q5_0", "Q8_0"}


@pytest.mark.parametrize("kind", ["q8_0", "q4_0", "q4_k_m"])
def test_matrices_of_experts_stand_one_after_another_as_the_public_package_rounds_them(kind: str, tmp_path: Path):
    model, file = written(tmp_path, kind, family="qwen2_moe")
    theirs = {tensor.name: tensor for tensor in gguf.GGUFReader(file).tensors}
    layer = model.network.blocks[1].feed_forward
    experts = np.stack([one.down.weight.detach().numpy() for one in layer.experts])
    held = theirs["blk.1.ffn_down_exps.weight"]
    stored = {"q8_0": Kind.Q8_0, "q4_0": Kind.Q4_0, "q4_k_m": Kind.Q8_0}[kind]  # rows of 32 in the place of Q6_K
    assert held.tensor_type == stored and np.array_equal(held.data, gguf.quantize(experts, stored))
    assert held.shape.tolist() == [32, 64, 3]  # ggml's order
    for name, tensor in theirs.items():
        if "ffn_gate_inp" in name:
            assert tensor.tensor_type == Kind.F32
    router = model.network.blocks[0].feed_forward.router.weight.detach().numpy()
    assert np.array_equal(theirs["blk.0.ffn_gate_inp.weight"].data, router)
    assert theirs["blk.0.ffn_gate_inp_shexp.weight"].shape.tolist() == [64]
    back = lm.load(file, dtype="float32")
    assert back.config == model.config.but(dropout=0.0)
    ids = [model.tokenizer.encode(PROBES[0])[:40]]
    away = (back.logits(ids) - model.logits(ids)).std(-1).median() / model.logits(ids).std()
    assert away < (0.06 if kind == "q8_0" else 1.0)


WIDER: dict[str, Any] = {"dim": 256, "hidden_dim": 512}
"""Rows of whole blocks of 256."""


@pytest.mark.parametrize("kind", ["bf16", "q8_0", "q4_k_m"])
@pytest.mark.parametrize("family", ["glm4_moe", "deepseek_v2", "deepseek_v3"])
def test_experts_that_are_chosen_as_deepseek_does_read_back_as_the_public_package_has_them(
    family: str, kind: str, tmp_path: Path
):
    sizes = WIDER | {"head_dim": 64} if kind == "q4_k_m" and family == "glm4_moe" else {}
    model, file = written(tmp_path, kind, family=family, **sizes)
    back = lm.load(file, dtype="float32")
    assert back.config == exported_config(model.config)
    tensors, exact = network_tensors(back.network), network_tensors(model.network)
    held = {one.name: one for one in gguf.GGUFReader(file).tensors}
    assert held.keys() == tensors.keys()
    for name, weight in tensors.items():
        one, own = held[name], exact[name]
        ours, before = (torch.stack(part) if isinstance(part, tuple) else part for part in (weight, own))
        theirs = gguf.dequantize(one.data, one.tensor_type).reshape(ours.shape)
        assert np.array_equal(theirs, ours.detach().numpy()), name
        assert (ours - before).abs().max() <= {"bf16": 2**-8, "q8_0": 0.01, "q4_k_m": 0.1}[kind] * before.abs().max()
        assert one.tensor_type == Kind.F32 or (ours.ndim > 1 and "gate_inp" not in name)
    if family != "glm4_moe":
        assert "blk.0.attn_kv_b.weight" not in held
        assert held["blk.1.attn_k_b.weight"].shape.tolist() == [32, 32, 4]  # ggml's order


@pytest.mark.parametrize("family", ["gpt_oss", "qwen2_moe", "qwen3_moe", "mixtral"])
@pytest.mark.parametrize("said", [None, 96], ids=["unsaid", "said"])
def test_a_file_says_how_wide_its_experts_are_where_they_are_as_wide_as_a_feed_forward(
    family: str, said: int | None, tmp_path: Path
):
    """Without it llama.cpp reads none of the first three."""
    experts = language_model(family).config.experts
    assert experts is not None
    network = language_model(family, hidden_dim=96, experts=experts.but(hidden_dim=said)).network
    entries = network_entries(network.config)
    architecture = entries["general.architecture"]
    assert entries[f"{architecture}.expert_feed_forward_length"] == entries[f"{architecture}.feed_forward_length"] == 96
    write_gguf(tmp_path / "m.gguf", entries, network_tensors(network), Kind.F16)
    wanted = network.config.but(experts=experts.but(hidden_dim=None))
    assert read_gguf_network(GGUFFile(tmp_path / "m.gguf"), torch.float32).config == wanted
    assert exported_config(network.config) == wanted


def test_experts_are_rounded_for_a_text(tmp_path: Path):
    (tmp_path / "one.txt").write_text(TEXT)
    (tmp_path / "two.txt").write_text(TEXT[200:] + TEXT[:900])
    model = language_model("mixtral", dim=256, hidden_dim=512)
    folder = model.save(tmp_path / "model")
    made = export(folder, tmp_path / "m.gguf", kind="q4_k_m", text=str(tmp_path / "two.txt"), tokens=400)
    plain = export(folder, tmp_path / "plain.gguf", kind="q4_k_m")
    assert made.after is not None and made.change is not None
    one, two = (GGUFFile(exported.file).raw("blk.0.ffn_up_exps.weight") for exported in (made, plain))
    assert len(one) == len(two) and not np.array_equal(one, two)


SOFT = ROUTED | {"scores": "softmax", "choice_bias": False, "normalised": False}


@pytest.mark.parametrize(
    "family, changes, words",
    [
        ("qwen3_moe", {"experts": {"count": 3, "hidden_dim": 32, "normalised": False}}, r"experts\.normalised = False"),
        ("qwen2_moe", {"experts": {"count": 3, "hidden_dim": 32, "layers": (1,)}}, "layers without experts"),
        ("olmoe", {"tied": True}, "the embedding as its head"),
        ("olmoe", {"kv_heads": 2}, "fewer heads of keys than of queries"),
        ("glm4_moe", {"experts": ROUTED | {"groups": 2, "top_groups": 2}}, "a choice within all its groups of experts"),
        ("deepseek_v2", {"layers": 3, "experts": SOFT}, "3 layers and no rank of queries, which llama.cpp knows of 26"),
        ("deepseek_v3", {"layers": 26}, "26 layers and a rank of queries"),
        ("deepseek_v3", {"attention_scale": None}, "yarn that does not multiply its scores"),
        ("gpt_oss", {"gate_limit": 5.0}, "a gate that is cut off elsewhere than at 7"),
        ("gpt_oss", {"window_layers": (1, 3)}, r"window_layers = \(1, 3\), where llama.cpp knows \(0, 2\)"),
    ],
)
def test_experts_that_a_file_cannot_describe_are_refused(
    family: str, changes: dict[str, Any], words: str, tmp_path: Path
):
    if "experts" in changes and family == "qwen2_moe":
        changes["experts"] |= {"shared_dim": 64, "shared_gate": True, "normalised": False}
    folder = language_model(family, **changes).save(tmp_path / "model")
    with pytest.raises(ModelError, match=words) as caught:
        export(folder, tmp_path / "m.gguf")
    assert "\n" not in str(caught.value) and ",:" not in str(caught.value) and ",;" not in str(caught.value)
    assert not list(tmp_path.glob("*m.gguf*"))
