"""Model directories from outside and in bad times: damaged, foreign, contradictory, on a full disk."""

from __future__ import annotations

import json
import os
import signal
import struct
import sys
from pathlib import Path
from typing import Any

import hearing
import pytest
import tiny
import torch
from forked import forked
from full_disk import full_disk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from lmworks.basics import memory
from lmworks.basics.errors import LmworksError, ModelError
from lmworks.language_model import LanguageModel
from lmworks.models.config import ModelConfig
from lmworks.models.families import FAMILIES
from lmworks.models.files import directory
from lmworks.models.files.compressed import Compression
from lmworks.models.files.directory import must_be_read, must_make, read_network, write_network
from lmworks.models.files.model_folder import INDEX, read_config, refuse_foreign_files
from lmworks.models.hearing.config import SoundConfig
from lmworks.models.network import Network
from lmworks.models.network_class import network_class
from lmworks.models.relatives.recurrent_config import RecurrentConfig, network_config
from lmworks.models.vision.config import ImageConfig, as_model_config
from lmworks.models.vision.resnet_config import ResNetConfig
from lmworks.models.vision.towers_config import TowersConfig, clip_config


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small untied llama on disk."""
    (tmp_path / "model").mkdir()
    write_network(tmp_path / "model", tiny.network(tied=False))
    return tmp_path / "model"


def change_config(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def change_tensors(folder: Path, **changes: torch.Tensor | None) -> None:
    file = folder / "model.safetensors"
    tensors = load_file(file) | {name.replace("__", "."): tensor for name, tensor in changes.items()}
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, file)


def refusal(folder: Path) -> str:
    """The one sentence that reading a directory ends with; it names the directory. Unless it is about values, it is
    told before anything is read, too."""
    with pytest.raises(ModelError) as caught:
        read_network(folder)
    sentence = str(caught.value)
    if "not finite" not in sentence:
        with pytest.raises(ModelError) as foreseen:
            must_be_read(folder)
        assert str(foreseen.value) == sentence
    assert str(folder) in sentence and "\n" not in sentence and len(sentence) < 400
    return sentence


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"model_type": "mamba"}, "'mamba' is not known, and none of a like name is; docs/models.md lists the "),
        (
            {"model_type": "jamba"},
            "that are: decoders (llama), encoders (bert), encoder-decoders (t5), of images (vit), of",
        ),
        ({"model_type": "camembert"}, "the nearest that is known is 'bert'"),
        ({"model_type": "deberta-v2"}, "the nearest that is known is 'bert'"),
        ({"model_type": "chatglm"}, "the nearest that is known is 'glm'"),
        ({"model_type": "longt5"}, "the nearest that is known is 't5'"),
        ({"model_type": "umt5"}, "the nearest that is known is 'mt5'"),
        ({"model_type": "dolphin"}, "'dolphin' is not known, and none of a like name is"),
        ({"model_type": "bert2"}, "the architecture 'bert2' is not known; the nearest that is known is 'bert'; docs/"),
        ({"model_type": "qwen_2"}, "the nearest that is known is 'qwen2'"),
        ({"model_type": None}, "its files name no architecture (model_type in config.json)"),
        ({"model_type": ["llama"]}, "is not known"),
        ({"num_attention_heads": 5}, "not a multiple of"),
        ({"num_key_value_heads": 3}, "heads (4) is not a multiple of kv_heads (3)"),
        ({"head_dim": 7}, "is odd"),
        ({"hidden_size": -32}, "dim is -32"),
        ({"hidden_size": "wide"}, "hidden_size is 'wide', and it should be a number"),
        (
            {"architectures": ["LlamaForSequenceClassification"]},
            "a llama with another head (LlamaForSequenceClassification) is not read here",
        ),
        ({"hidden_size": "32"}, "hidden_size is '32', and it should be a number"),
        ({"rms_norm_eps": None}, "rms_norm_eps is None, and it should be a number"),
        ({"num_hidden_layers": 2_000_000_000}, "layers is 2000000000"),
        ({"vocab_size": 10**18}, "vocab_size is"),
        ({"num_hidden_layers": None}, "layers is missing"),
        ({"hidden_act": "swiglu"}, "the activation 'swiglu' is not known; known are silu"),
        ({"hidden_act": ["silu"]}, "is not known"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor = 0.5 is not supported"),
        (
            {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}},
            "partial_rotary_factor",
        ),
        (
            {"rope_scaling": {"rope_type": "ntk", "factor": 4.0}},
            "rotary scaling of type 'ntk' is not known",
        ),
        ({"rope_scaling": {"rope_type": "linear", "factor": -1}}, "rope_scaling.factor is -1"),
        ({"rope_scaling": {"rope_type": "linear"}}, "rope_scaling.factor is missing"),
        ({"rope_scaling": "linear"}, "rope_scaling is not a table"),
        (
            {"rope_parameters": {"full_attention": {"rope_type": "default"}}},
            "the rotary settings are not one table",
        ),
        ({"rope_theta": "NaN"}, "rope_theta is"),
        (
            {"model_type": "gemma3_text", "rope_scaling": {"factor": 2.0}, "rope_parameters": {"rope_theta": 1e4}},
            "config.json holds rope_scaling and rope_parameters",
        ),
    ],
)
def test_a_config_that_asks_for_what_there_is_not(folder: Path, changes: dict[str, Any], words: str):
    change_config(folder, **changes)
    assert words in refusal(folder)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"layer_types": ["sliding_attention"]}, "kind for each of the 2 layers"),
        ({"layer_types": "sliding"}, "kind for each of the 2 layers"),
        ({"max_window_layers": "all"}, "kind for each of the 2 layers"),
        ({"sliding_window": "wide"}, "window is 'wide'"),
        ({"num_hidden_layers": 2_000_000_000}, "layers is 2000000000"),
    ],
)
def test_windows_that_name_no_layers(folder: Path, changes: dict[str, Any], words: str):
    change_config(
        folder,
        **{"model_type": "qwen2", "use_sliding_window": True, "sliding_window": 4, "max_window_layers": 0} | changes,
    )
    assert words in refusal(folder)


KINDS = (ModelConfig, RecurrentConfig, TowersConfig, ResNetConfig)

values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_any_json_gives_a_config_or_one_error(data: st.DataObject):
    family = data.draw(st.sampled_from(sorted(FAMILIES)))
    theirs = FAMILIES[family].config_to(tiny_config(family))
    keys = [*theirs, "rope_scaling", "rope_parameters", "layer_types", "sliding_window", "use_sliding_window"]
    theirs |= data.draw(st.dictionaries(st.sampled_from(keys), values, max_size=3))
    try:
        assert isinstance(
            FAMILIES[family].config_from(theirs), ModelConfig | RecurrentConfig | TowersConfig | ResNetConfig
        )
    except ModelError as error:
        assert str(error)


ROUTED = {"scores": "sigmoid", "choice_bias": True, "shared_dim": 16, "hidden_dim": 16}
EXPERTS: dict[str, dict[str, Any]] = {
    "qwen2_moe": {"shared_dim": 16, "shared_gate": True},
    "gpt_oss": {"router_bias": True},
    "deepseek_v3": ROUTED,
    "deepseek_v2": ROUTED | {"scores": "softmax", "choice_bias": False, "normalised": False},
    "glm4_moe": ROUTED,
}
MORE: dict[str, dict[str, Any]] = {
    "gpt_oss": {"gate_limit": 7.0},
    "deepseek_v3": {"latent": {"rank": 8, "value_dim": 8}, "rotary_dim": 4},
    "deepseek_v2": {"latent": {"rank": 8, "value_dim": 8}, "rotary_dim": 4},
}
"""What a family's network has beside what is fixed."""


IMAGE = {"image_size": 16, "patch_size": 8, "dim": 32, "layers": 1, "heads": 4}


def tiny_config(family: str) -> ModelConfig:
    if family in ("clip", "siglip"):
        return as_model_config(clip_config(96, 95, **IMAGE, sigmoid=family == "siglip"))
    if family == "resnet":
        return as_model_config(ResNetConfig(labels=("a", "b")))
    if family == "vit":
        return ImageConfig(family=family, **IMAGE, **FAMILIES[family].fixed, qkv_bias=True, pooler=True)
    if family == "whisper":
        return SoundConfig(**(hearing.SMALL | {"sound_places": 16}))
    if family == "lmworks-recurrent":
        return network_config({"kind": "recurrent", "vocab_size": 96, "dim": 32, "context": 64})
    more = {"pooler": True} if family == "bert" else {}
    if "experts" in FAMILIES[family].told and family != "granitemoehybrid":  # which has them or not
        more["experts"] = {"count": 4} | EXPERTS.get(family, {})
    more |= MORE.get(family, {})
    if family == "cohere2":  # which rotates under windows alone
        more["rope_layers"] = ()
    if "position_offset" in FAMILIES[family].told:
        more["position_offset"] = 2
    fixed = dict(FAMILIES[family].fixed) | more
    return ModelConfig(
        **({"family": family, "vocab_size": 96, "dim": 32, "layers": 2, "heads": 4, "context": 64} | fixed)
    )


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_pointer_in_place_of_a_file_is_said_with_what_fetches_it(folder: Path, name: str):
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
    (folder / name).write_text(pointer)
    assert f"{name} is a Git LFS pointer in place of the file; fetch it with: git lfs pull" in refusal(folder)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_directory_of_each_family_is_whole_without_its_values(family: str, tmp_path: Path):
    """Not even constants and copies are looked into, which files hold twice."""
    with torch.device("meta"):
        network = network_class(config := tiny_config(family))(config)
    known = FAMILIES[family]
    theirs = known.tensors_to(network.state_dict(), config)
    must_make(config, known.tensors_from(theirs, config))


@pytest.mark.parametrize(
    "config, words",
    [
        (
            ModelConfig(vocab_size=8, dim=8, layers=1, heads=2, context=8, window=4),
            "a llama model cannot have window = 4",
        ),
        (
            ModelConfig(vocab_size=8, dim=8, layers=1, heads=2, context=8, qk_norm=True),
            "cannot have qk_norm = True",
        ),
        (
            ModelConfig(vocab_size=8, dim=8, layers=1, heads=2, context=8, qkv_bias=True),
            "one setting, attention_bias",
        ),
        (tiny_config("qwen2").but(qkv_bias=False), "cannot have qkv_bias = False"),
        (tiny_config("gpt2").but(kv_heads=2), "cannot have kv_heads = 2"),
        (tiny_config("gemma").but(activation="gelu"), "cannot have the activation 'gelu'"),
        (tiny_config("mistral").but(window=4, window_layers=(0,)), "a window on some layers"),
    ],
)
def test_a_family_that_cannot_express_a_network_is_not_written(config: ModelConfig, words: str, tmp_path: Path):
    with pytest.raises(ModelError, match=words):
        write_network(tmp_path, Network(config))
    assert not list(tmp_path.iterdir())


def test_a_config_that_is_not_json(folder: Path):
    file = folder / "config.json"
    for content in (b"{", b"\xff\xfe", b"[" * 100_000, b"", b"[1]"):
        file.write_bytes(content)
        assert "config.json" in refusal(folder)
    file.unlink()
    assert "config.json does not exist" in refusal(folder)
    (folder / "adapter_config.json").write_text("{}")
    assert refusal(folder).endswith(f"its base, or what `lmworks merge {folder}` writes")


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"model__norm__weight": None}, "the tensor model.norm.weight is missing from the weights"),
        (
            {"model__layers__1__self_attn__k_proj__weight": None},
            "model.layers.1.self_attn.k_proj.weight is missing",
        ),
        (
            {"model__layers__2__mlp__up_proj__weight": torch.zeros(48, 32)},
            "hold model.layers.2.mlp.up_proj.weight, which a llama",
        ),
        (
            {"model__norm__weight": torch.zeros(31)},
            "norm.weight has the shape [31], and the settings ask for [32]",
        ),
        (
            {"model__layers__0__self_attn__q_proj__weight": torch.zeros(30, 32)},
            "qkv.weight has the shape [62, 32]",
        ),
        ({"model__layers__0__self_attn__q_proj__weight": torch.zeros(32, 31)}, "q_proj.weight"),
        (
            {"model__norm__weight": torch.full((32,), float("nan"))},
            "norm.weight holds values that are not finite",
        ),
        (
            {"lm_head__weight": torch.full((96, 32), float("-inf"))},
            "head.weight holds values that are not finite",
        ),
        (
            {"model__norm__weight": torch.zeros(32, dtype=torch.int64)},
            "is stored in whole numbers (torch.int64), and config.json has no",
        ),
    ],
)
def test_weights_that_do_not_belong_to_the_config(folder: Path, changes: dict[str, torch.Tensor | None], words: str):
    change_tensors(folder, **changes)
    assert words in refusal(folder)


def test_a_safetensors_file_cut_off_anywhere(folder: Path):
    file = folder / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-4096])
    assert "ends 4,096 bytes early (cut off while copying?)" in refusal(folder)
    for size in (0, 4, 8, 100, len(whole) // 2):
        file.write_bytes(whole[:size])
        assert "model.safetensors" in refusal(folder)


def test_more_tensors_than_any_file_has_are_refused_before_one_is_read(tmp_path, monkeypatch):
    header = json.dumps(
        {f"{at}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for at in range(directory.MOST_TENSORS + 1)}
    )
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header.encode())
    monkeypatch.setattr(directory, "safe_open", None)
    with pytest.raises(ModelError, match=r"model.safetensors lists 50,001 tensors, and no such file has more than"):
        directory.read_safetensors(path)


def test_a_flipped_bit_in_the_header_is_noticed_or_harmless(folder: Path):
    """Either the file is refused, or the weights are the same: never others without a word."""
    file = folder / "model.safetensors"
    whole, network = file.read_bytes(), read_network(folder)
    header = 8 + struct.unpack("<Q", whole[:8])[0]
    refused = 0
    for position in range(0, header, 37):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << position % 8
        file.write_bytes(flipped)
        try:
            read = read_network(folder)
        except ModelError:
            refused += 1
        else:
            torch.testing.assert_close(read.state_dict(), network.state_dict(), rtol=0, atol=0)
    assert refused > 20


def test_a_pickle_is_never_opened(folder: Path):
    (folder / "model.safetensors").unlink()
    assert "holds no model.safetensors" in refusal(folder)
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    assert "only pytorch_model.bin, a pickle, which can run code" in refusal(folder)
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    "index",
    [
        {"weight_map": {"model.norm.weight": "../outside.safetensors"}},
        {"weight_map": {"model.norm.weight": "/etc/passwd"}},
        {"weight_map": {"model.norm.weight": ".."}},
        {"weight_map": {"model.norm.weight": ["a"]}},
        {"weight_map": []},
        {"weight_map": {}},
        {},
        {"weight_map": {"model.norm.weight": "model-00001-of-00002.safetensors"}},
    ],
)
def test_an_index_that_names_files_elsewhere_or_none(folder: Path, index: dict[str, Any]):
    (folder / "model.safetensors").rename(folder.parent / "outside.safetensors")
    (folder / INDEX).write_text(json.dumps(index))
    assert refusal(folder)


def test_somebodys_folder_is_not_replaced(tmp_path: Path):
    model, work = tiny.language_model(), tmp_path / "work"
    work.mkdir()
    (work / "thesis.docx").write_text("years of work")
    with pytest.raises(ModelError, match=r"holds thesis\.docx and is not a model directory"):
        model.save(work)
    assert (work / "thesis.docx").read_text() == "years of work"
    (work / "thesis.docx").rename(work / "notes.md")  # may lie in a model directory, but this is none
    with pytest.raises(ModelError, match=r"holds notes\.md"):
        model.save(work)
    with pytest.raises(ModelError, match="is a file"):
        refuse_foreign_files(work / "notes.md")


def test_a_model_directory_is_replaced_as_a_whole(tmp_path: Path):
    tiny.language_model(seed=1).save(tmp_path / "model")
    (tmp_path / "model" / "README.md").write_text("the first")
    (tmp_path / "model" / ".DS_Store").write_bytes(b"Bud1")  # as a desktop leaves it
    second = tiny.language_model(seed=2)
    second.save(tmp_path / "model")
    back = LanguageModel.load(tmp_path / "model")
    assert torch.equal(back.network.embedding.weight, second.network.embedding.weight)
    assert not (tmp_path / "model" / "README.md").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_full_disk_while_saving_leaves_the_earlier_model(tmp_path: Path):
    tiny.language_model(seed=1).save(tmp_path / "model")
    before = {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}
    larger = tiny.language_model(seed=2, dim=128, hidden_dim=256)
    with full_disk(200_000), pytest.raises(LmworksError, match=r"File too large|disk is full") as caught:
        larger.save(tmp_path / "model")
    assert "model" in str(caught.value) and "\n" not in str(caught.value)
    assert {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("deaths", [0, 1, 2], ids=["in the middle", "before the exchange", "between the two renames"])
def test_a_killed_save_leaves_the_earlier_model_whole(deaths: int, tmp_path: Path):
    first = tiny.language_model(seed=1)
    first.save(tmp_path / "model")
    other, renames = tiny.language_model(seed=2), 0

    def die(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal renames
        if event == "os.rename" and os.fspath(arguments[0]).startswith(f"{tmp_path}/"):
            inside = Path(arguments[0]).parent != tmp_path
            renames += not inside  # those of the whole directory; each file inside is renamed too
            if renames == deaths or (deaths == 0 and inside):
                os.kill(os.getpid(), signal.SIGKILL)

    def saving() -> None:
        sys.addaudithook(die)
        other.save(tmp_path / "model")

    assert forked(saving) == (-signal.SIGKILL, "")
    back = LanguageModel.load(tmp_path / "model")
    assert torch.equal(back.network.embedding.weight, first.network.embedding.weight)
    assert read_config(tmp_path / "model") == first.config
    tiny.language_model(seed=3).save(tmp_path / "model")  # and it can be saved again
    assert torch.equal(
        LanguageModel.load(tmp_path / "model").network.embedding.weight,
        tiny.network(seed=3, vocab_size=first.config.vocab_size).embedding.weight,
    )


@pytest.mark.parametrize(
    ("dtype", "compression", "bytes_"),
    [(None, None, 4), (torch.bfloat16, None, 2), (None, Compression(4), 2), (torch.float32, Compression(4), 4)],
    ids=["as it is", "in 16 bits", "packed", "packed, in 32 bits"],
)
def test_more_weights_than_memory_are_said_before_they_are_read(
    dtype: torch.dtype | None, compression: Compression | None, bytes_: int, tmp_path: Path, monkeypatch
):
    network = tiny.network(dim=64, hidden_dim=96)
    write_network(tmp_path, network, compression=compression)
    size = bytes_ * sum(weight.numel() for weight in network.parameters())
    monkeypatch.setattr(memory, "available_bytes", lambda: size + 10_000)  # the file has a header
    read_network(tmp_path, dtype)
    monkeypatch.setattr(memory, "available_bytes", lambda: size - 1)
    monkeypatch.setattr(directory, "read_safetensors", None)  # nothing is read
    with pytest.raises(ModelError, match=r"takes 0\.0 GB, and 0\.0 GB of memory are free; close other programs"):
        read_network(tmp_path, dtype)
