"""Files of weights with torchvision's names: which are read, and the one sentence for what is wrong with the others."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from reference.as_torchvision import BasicBlock, Bottleneck, VisionTransformer
from reference.as_torchvision import ResNet as TheirResNet
from safetensors.torch import load_file, save_file

import lmworks as lm
from lmworks.basics.errors import ConfigError, LmworksError, ModelError
from lmworks.checks.subjects import kind_of
from lmworks.cli import main
from lmworks.jobs.export import export
from lmworks.models.files.references import resolve
from lmworks.models.vision.config import BLOCKS, ImageConfig
from lmworks.models.vision.image_network import ImageNetwork
from lmworks.models.vision.preprocessing import Preprocessing
from lmworks.models.vision.resnet import ResNet
from lmworks.models.vision.resnet_config import ResNetConfig
from lmworks.vision_model import VisionModel

pytestmark = pytest.mark.filterwarnings("ignore:.*taken for granted.*:UserWarning")
Weights = dict[str, torch.Tensor]


def basic() -> Weights:
    """A narrow ResNet of basic blocks."""
    return dict(TheirResNet(BasicBlock, [1, 1, 1, 1], 3, wide=4).state_dict())


def bottleneck() -> Weights:
    return dict(TheirResNet(Bottleneck, [1, 1, 1, 1], 3, wide=4).state_dict())


def vit() -> Weights:
    return dict(VisionTransformer(8, 4, 2, 2, 16, 24, 3).state_dict())


def written(folder: Path, weights: Weights, **said: Any) -> Path:
    """A folder with these weights, and a config.json where something is said."""
    folder.mkdir(exist_ok=True)
    save_file({name: one.contiguous() for name, one in weights.items()}, folder / "weights.safetensors")
    if said:
        (folder / "config.json").write_text(json.dumps(said))
    return folder


def refusal(place: Path) -> str:
    with pytest.raises(LmworksError) as caught:
        lm.load(place)
    sentence = str(caught.value)
    assert str(place) in sentence and "\n" not in sentence and len(sentence) < 420
    return sentence


def without(*names: str) -> Callable[[Weights], Weights]:
    return lambda weights: {name: one for name, one in weights.items() if name not in names}


def changed(**shapes: tuple[int, ...]) -> Callable[[Weights], Weights]:
    return lambda weights: weights | {name.replace("__", "."): torch.zeros(shape) for name, shape in shapes.items()}


def renamed(old: str, new: str) -> Callable[[Weights], Weights]:
    return lambda weights: {name.replace(old, new): one for name, one in weights.items()}


BASIC: dict[str, tuple[Callable[[Weights], Weights], str]] = {
    "no stem": (without("conv1.weight"), "the tensor conv1.weight is missing"),
    "no norm": (without("layer3.0.bn2.running_var"), "the tensor layer3.0.bn2.running_var is missing"),
    "half a classifier": (without("fc.weight"), "the tensor fc.weight is missing"),
    "the other half": (without("fc.bias"), "the tensor fc.bias is missing"),
    "a name more": (
        changed(layer1__0__se__weight=(4,)),
        "hold layer1.0.se.weight, which torchvision's ResNet of these",
    ),
    "steps of nothing": (changed(bn7__num_batches_tracked=()), "hold bn7.num_batches_tracked, which"),
    "another classifier": (changed(fc__0__weight=(3, 32)), "hold fc.0.weight, which"),
    "a block left out": (renamed("layer2.0.", "layer2.1."), r"numbered one after another (layer2.0, layer2.1 ...)"),
    "a stage more": (renamed("layer4.", "layer5."), "numbered one after another (layer1, layer2 ...)"),
    "a long number": (renamed("layer4.", f"layer{'9' * 5000}."), "have 3 stages"),
    "another stem": (changed(conv1__weight=(4, 3, 3, 3)), "a convolution of 3 x 3, and a ResNet begins with 7 x 7"),
    "a flat stem": (
        changed(conv1__weight=(4, 147)),
        "conv1.weight has the shape [4, 147], and torchvision's has 4 sides",
    ),
    "shapes that differ": (
        changed(layer2__0__conv1__weight=(8, 5, 3, 3)),
        "layer2.0.conv1.weight has the shape [8, 5, 3, 3], and by the shapes of the others it is [8, 4, 3, 3]",
    ),
    "a norm too long": (
        changed(bn1__bias=(5,)),
        "bn1.bias has the shape [5], and by the shapes of the others it is [4]",
    ),
    "too many classes": (changed(fc__weight=(100_001, 1)), "tells at most 100,000 classes apart"),
    "not finite": (lambda weights: weights | {"bn1.bias": torch.full((4,), float("nan"))}, "not finite"),
}


@pytest.mark.parametrize("change, words", BASIC.values(), ids=BASIC)
def test_a_resnet_that_contradicts_itself(change: Any, words: str, tmp_path: Path):
    assert isinstance(lm.load(written(tmp_path / "whole", basic())), VisionModel)
    assert words in refusal(written(tmp_path / "model", change(basic())))


def test_networks_that_are_named_alike_are_refused(tmp_path: Path):
    grouped = changed(**{f"layer{stage}__0__conv2__weight": (4 * 2**stage // 2, 2, 3, 3) for stage in range(1, 5)})
    assert "in groups, as a ResNeXt has them, are not supported" in refusal(
        written(tmp_path / "resnext", grouped(bottleneck()))
    )
    wide = changed(layer1__0__conv2__weight=(8, 8, 3, 3))
    assert "works on 8 of 16 channels, as a wide ResNet's" in refusal(written(tmp_path / "wide", wide(bottleneck())))


VIT: dict[str, tuple[Callable[[Weights], Weights], dict[str, Any], str]] = {
    "heads that nobody knows": (dict, {}, "its shapes do not tell how many heads it has"),
    "heads that do not divide": (dict, {"num_attention_heads": 3}, "num_attention_heads is 3"),
    "heads that are no number": (dict, {"num_attention_heads": "two"}, "num_attention_heads is 'two'"),
    "an eps that is none": (dict, {"layer_norm_eps": "small", "num_attention_heads": 2}, "norm_eps"),
    "names that are none": (dict, {"id2label": ["a"], "num_attention_heads": 2}, "id2label is no table"),
    "names too few": (dict, {"id2label": {"0": "a"}, "num_attention_heads": 2}, "3 classes apart, and id2label"),
    "no patches": (without("conv_proj.weight"), {"num_attention_heads": 2}, "the tensor conv_proj.weight is missing"),
    "patches that are not square": (changed(conv_proj__weight=(16, 3, 4, 2)), {}, "cuts patches of 4 x 2"),
    "places of no square": (changed(encoder__pos_embedding=(1, 4, 16)), {}, "encoder.pos_embedding has 4 places"),
    "no places": (changed(encoder__pos_embedding=(1, 0, 16)), {}, "encoder.pos_embedding has 0 places"),
    "huge images": (changed(encoder__pos_embedding=(1, 3000**2 + 1, 1)), {"num_attention_heads": 2}, "image_size"),
    "a layer left out": (
        renamed("encoder_layer_1", "encoder_layer_7"),
        {},
        "numbered one after another (encoder_layer_0",
    ),
    "no last norm": (without("encoder.ln.bias"), {"num_attention_heads": 2}, "the tensor encoder.ln.bias is missing"),
    "a deeper head": (
        changed(heads__pre_logits__weight=(16, 16)),
        {"num_attention_heads": 2},
        "heads.pre_logits.weight",
    ),
    "one name twice": (
        changed(encoder__layers__encoder_layer_0__mlp__linear_1__bias=(24,)),
        {"num_attention_heads": 2},
        "hold encoder.layers.encoder_layer_0.mlp.0.bias twice",
    ),
    "shapes that differ": (
        changed(class_token=(1, 1, 8)),
        {"num_attention_heads": 2},
        "class_token has the shape [1, 1, 8], and by the shapes of the others it is [1, 1, 16]",
    ),
}


@pytest.mark.parametrize("change, said, words", VIT.values(), ids=VIT)
def test_a_vit_that_contradicts_itself(change: Any, said: dict[str, Any], words: str, tmp_path: Path):
    assert words in refusal(written(tmp_path / "model", change(vit()), **said))


def test_a_file_that_is_cut_off_or_of_something_else(tmp_path: Path):
    file = written(tmp_path, basic()) / "weights.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-10])
    assert "ends 10 bytes early" in refusal(file) and "ends 10 bytes early" in refusal(tmp_path)
    header = 8 + struct.unpack("<Q", whole[:8])[0]
    file.write_bytes(whole[:header])
    assert f"ends {len(whole) - header:,} bytes early" in refusal(file)
    for rest in (whole[: header - 60], b"", b"\0" * 100):
        file.write_bytes(rest)
        assert "is cut off, damaged, or has other names than torchvision's" in refusal(file)
        assert "holds no config.json" in refusal(tmp_path)
    save_file({"backbone.conv1.weight": torch.zeros(4, 3, 7, 7)}, file)
    assert "has other names than torchvision's ResNet and ViT" in refusal(file)


def test_a_pickle_is_refused_with_the_way_to_convert_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    weights = basic()
    torch.save(weights, tmp_path / "resnet.pth")
    said = "safetensors.torch.save_file(torch.load('resnet.pth', weights_only=True), '{}')"
    assert said.format("resnet.safetensors") in refusal(tmp_path / "resnet.pth")
    assert said.format("model.safetensors") in refusal(tmp_path)
    monkeypatch.chdir(tmp_path)
    import safetensors.torch

    eval(said.format("resnet.safetensors"), {"safetensors": safetensors, "torch": torch})
    assert isinstance(lm.load("resnet.safetensors"), VisionModel) and isinstance(lm.load(tmp_path), VisionModel)


def test_one_of_several_files_is_given_by_its_name(tmp_path: Path):
    for name in ("a", "b"):
        save_file(basic(), tmp_path / f"{name}.safetensors")
    assert "holds several models, a.safetensors and b.safetensors; give the file of one" in refusal(tmp_path)
    assert isinstance(lm.load(tmp_path / "b.safetensors"), VisionModel)


def test_a_config_of_another_layout_counts(tmp_path: Path):
    """That of timm names no model_type, and says how images are prepared in words of its own, which nobody reads."""
    folder = written(tmp_path / "timm", basic(), architecture="resnet18", pretrained_cfg={"crop_pct": 0.95})
    assert "its files name no architecture" in refusal(folder)


def test_what_is_taken_for_granted_is_said(tmp_path: Path):
    folder = written(tmp_path / "a", vit(), num_attention_heads=2)
    with pytest.warns(UserWarning, match="norms' eps 1e-06, classes called 0 to 2, images prepared as torchvision's"):
        lm.load(folder)
    folder = written(tmp_path / "b", basic(), id2label={"0": "cat", "1": "dog", "2": "ship"})
    with pytest.warns(
        UserWarning, match=r"granted are: images prepared as torchvision's default \(the shorter side 256"
    ):
        model = lm.load(folder)
    (told,) = model.classify([np.zeros((8, 8, 3), np.uint8)])
    assert set(told.probabilities) == {"cat", "dog", "ship"}
    Preprocessing.plain(16, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)).write(folder)
    again = lm.load(folder)  # nothing is left to be said
    assert isinstance(again, VisionModel) and again.preprocessing.size == 16


def test_a_file_is_a_model_wherever_one_is_asked_for(tmp_path: Path):
    file = written(tmp_path / "model", basic()) / "weights.safetensors"
    assert resolve(file) == file and resolve(tmp_path / "model") == tmp_path / "model"
    assert kind_of(str(file)) == kind_of(str(tmp_path / "model")) == "model"
    assert lm.load(file, dtype="bfloat16").network.dtype == torch.bfloat16
    from lmworks.loading import facts_of, identity

    facts = facts_of(str(file))
    assert facts.family == "resnet" and facts.parameters == sum(
        one.numel() for one in lm.load(file).network.parameters()
    )
    assert identity(str(file)) != identity(str(written(tmp_path / "other", bottleneck()) / "weights.safetensors"))


def saved(folder: Path, network: Any) -> Path:
    return VisionModel(network, Preprocessing()).save(folder)


RESNET = {"stem": 64, "widths": (64, 128, 256, 512), "depths": (1, 1, 1, 1), "block": "basic"}
VIT_SIZES: dict[str, Any] = {"image_size": 8, "patch_size": 4, "dim": 16, "layers": 1, "heads": 2, "hidden_dim": 24}
VIT_SIZES |= {"family": "vit", "activation": "gelu", "norm_eps": 1e-6, **BLOCKS}


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: ResNet(ResNetConfig(**(RESNET | {"activation": "gelu"}))), "no activation = 'gelu' (only 'relu')"),
        (lambda: ResNet(ResNetConfig(**(RESNET | {"halve_first": True}))), "no halve_first = True"),
        (lambda: ResNet(ResNetConfig(**(RESNET | {"channels": 1}))), "reads 3 channels, and this network 1"),
        (lambda: ResNet(ResNetConfig(**(RESNET | {"stem": 32}))), "has 64 channels after its stem"),
        (lambda: ResNet(ResNetConfig(stem=8, widths=(8, 16), depths=(1, 1), block="basic")), "ResNets have 4"),
        (lambda: ImageNetwork(ImageConfig(**VIT_SIZES, pooler=True)), "no pooler = True"),
        (lambda: ImageNetwork(ImageConfig(**(VIT_SIZES | {"qkv_bias": False}))), "no qkv_bias = False"),
        (lambda: ImageNetwork(ImageConfig(**(VIT_SIZES | {"activation": "relu"}))), "no activation = 'relu'"),
    ],
)
def test_what_torchvision_has_not_is_not_written(make: Any, words: str, tmp_path: Path):
    folder = saved(tmp_path / "model", make().eval())
    with pytest.raises(ModelError) as caught:
        export(folder, tmp_path / "out", to="torchvision")
    assert words in str(caught.value) and not (tmp_path / "out").exists()


def test_an_export_spoils_nothing(tmp_path: Path):
    folder = saved(tmp_path / "model", ResNet(ResNetConfig(**RESNET, labels=("a", "b"))).eval())
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(ModelError, match="is not a model directory"):
        export(folder, tmp_path / "mine", to="torchvision")
    with pytest.raises(ConfigError, match="is the model itself"):
        export(folder, folder, to="torchvision")
    with pytest.raises(ConfigError, match="as they are; leave type, text and tokens out"):
        export(folder, tmp_path / "out", to="torchvision", kind="f16")
    with pytest.raises(
        ConfigError, match="'onnx' is not a format that lmworks exports to; known are gguf, torchvision"
    ):
        export(folder, tmp_path / "out", to="onnx")
    import tiny

    with pytest.raises(ConfigError, match="is no ResNet or ViT"):
        export(tiny.language_model().save(tmp_path / "writer"), tmp_path / "out", to="torchvision")
    assert export(folder, tmp_path / "out", to="torchvision") == export(folder, tmp_path / "out", to="torchvision")


def test_the_command_line_exports_and_classifies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    image = pytest.importorskip("PIL.Image", reason="pip install 'lmworks[vision]'")
    image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "a.png")
    folder = saved(tmp_path / "model", ResNet(ResNetConfig(**RESNET, labels=("cat", "dog"))).eval())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["lmworks", "export", str(folder), "--to", "torchvision"])
    with pytest.raises(SystemExit) as end:
        main()
    shown = capsys.readouterr().out
    assert end.value.code == 0
    assert "models/model-torchvision/model.safetensors" in shown
    assert "torchvision.models.ResNet(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=2)" in shown
    assert len(load_file("models/model-torchvision/model.safetensors")["fc.weight"]) == 2
    monkeypatch.setattr("sys.argv", ["lmworks", "classify", "models/model-torchvision/model.safetensors", "a.png"])
    with pytest.raises(SystemExit) as end:
        main()
    told = capsys.readouterr()
    assert end.value.code == 0 and "a.png" in told.out and "classes called 0 to 1" in told.err
