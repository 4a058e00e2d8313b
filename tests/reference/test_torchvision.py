"""ResNet and ViT under torchvision's names, both ways: against its networks written out in plain PyTorch, and against
torchvision itself where it is installed (`pip install torchvision`, of the release that fits torch)."""

from __future__ import annotations

import functools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import lmworks as lm
from lmworks.jobs.export import export
from lmworks.models.families.torchvision import config_from
from lmworks.models.vision.config import BLOCKS, ImageConfig
from lmworks.models.vision.image_network import ImageNetwork
from lmworks.models.vision.preprocessing import Preprocessing
from lmworks.models.vision.resnet import ResNet
from lmworks.models.vision.resnet_config import ResNetConfig
from lmworks.models.vision.torchvision_images import torchvision_preprocessing
from lmworks.vision_model import VisionModel
from reference import as_torchvision
from reference.test_vision import drawn

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
SIZES = {"image_size": 32, "patch_size": 16, "num_layers": 2, "num_heads": 12, "hidden_dim": 768, "mlp_dim": 96}
pytestmark = pytest.mark.filterwarnings("ignore:.*taken for granted.*:UserWarning")


def makers(kind: str) -> SimpleNamespace:
    """What makes torchvision's networks."""
    if kind == "written out":
        return SimpleNamespace(**vars(as_torchvision))
    models = pytest.importorskip("torchvision", reason="pip install torchvision").models
    return SimpleNamespace(
        ResNet=models.ResNet,
        VisionTransformer=models.VisionTransformer,
        BasicBlock=models.resnet.BasicBlock,
        Bottleneck=models.resnet.Bottleneck,
    )


NETWORKS: dict[str, Any] = {
    "resnet18": lambda make: make.ResNet(make.BasicBlock, [2, 2, 2, 2], num_classes=5),
    "resnet50, less deep": lambda make: make.ResNet(make.Bottleneck, [2, 1, 1, 2], num_classes=5),
    "vit_b_16, less deep": lambda make: make.VisionTransformer(**SIZES, num_classes=5),
}


@pytest.fixture(params=["written out", "torchvision's own"])
def make(request: pytest.FixtureRequest) -> SimpleNamespace:
    return makers(request.param)


def small(network: Any) -> Any:
    """The network with every weight drawn anew, matrices by what they read, so that no score is large."""
    network = drawn(network)
    with torch.no_grad():
        for one in network.parameters():
            if one.ndim > 1:
                one.mul_(3 * one[0].numel() ** -0.5)
    return network


def pixels(size: int = 32) -> torch.Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
@pytest.mark.parametrize("name", NETWORKS)
def test_their_weights_in_ours(name: str, make: SimpleNamespace, tmp_path: Path):
    theirs = small(NETWORKS[name](make))
    save_file(theirs.state_dict(), tmp_path / "theirs.safetensors")
    for place in (tmp_path / "theirs.safetensors", tmp_path):
        ours = lm.load(place)
        assert isinstance(ours, VisionModel) and ours.seeing.config.labels == ("0", "1", "2", "3", "4")
        torch.testing.assert_close(ours.seeing(pixels()), theirs(pixels()), **CLOSE)
    assert theirs(pixels()).abs().max() > 0.1


def resnet(block: str) -> ResNet:
    expansion = 1 if block == "basic" else 4
    widths = tuple(expansion * width for width in (64, 128, 256, 512))
    return ResNet(ResNetConfig(widths=widths, depths=(1, 2, 1, 1), block=block, labels=("cat", "dog")))


def vit(**changes: Any) -> ImageNetwork:
    sizes = {"image_size": 16, "patch_size": 8, "dim": 32, "layers": 2, "heads": 4, "hidden_dim": 48}
    sizes |= {"norm_eps": 1e-6, "activation": "gelu"}
    return ImageNetwork(ImageConfig(**({"family": "vit", **sizes, **BLOCKS, "labels": ("cat", "dog")} | changes)))


OURS: dict[str, tuple[Any, Any]] = {
    "basic": (
        lambda: resnet("basic"),
        lambda make: make.ResNet(make.BasicBlock, [1, 2, 1, 1], num_classes=2),
    ),
    "bottleneck": (
        lambda: resnet("bottleneck"),
        lambda make: make.ResNet(make.Bottleneck, [1, 2, 1, 1], num_classes=2),
    ),
    "vit": (
        vit,
        lambda make: make.VisionTransformer(16, 8, 2, 4, 32, 48, num_classes=2),
    ),
}


@torch.no_grad()
@pytest.mark.parametrize("name", OURS)
def test_our_weights_in_theirs(name: str, make: SimpleNamespace, tmp_path: Path):
    network, theirs = small(OURS[name][0]()), OURS[name][1](make).eval()
    prepared = Preprocessing.plain(16, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    folder = VisionModel(network, prepared).save(tmp_path / "ours")
    made = export(folder, tmp_path / "torchvision", to="torchvision")
    theirs.load_state_dict(load_file(made.file), strict=True)
    torch.testing.assert_close(theirs(pixels(16)), network(pixels(16)), **CLOSE)
    again = lm.load(tmp_path / "torchvision")  # nothing is lost on the way back
    assert isinstance(again, VisionModel) and again.preprocessing == prepared
    assert again.seeing.config == network.config
    torch.testing.assert_close(again.seeing.state_dict(), network.state_dict(), rtol=0, atol=0)


def test_what_export_says_makes_torchvisions_network(tmp_path: Path):
    torchvision = pytest.importorskip("torchvision", reason="pip install torchvision")
    ours = [make() for make, _ in OURS.values()] + [
        ResNet(ResNetConfig(labels=("a", "b", "c"))),
        vit(norm_eps=1e-12),
    ]
    for number, network in enumerate(ours):
        folder = VisionModel(small(network), Preprocessing()).save(tmp_path / f"{number}")
        made = export(folder, tmp_path / f"{number}-torchvision", to="torchvision")
        assert made.opened is not None
        names = {"torchvision": torchvision, "torch": torch, "functools": functools}
        theirs = eval(made.opened, names).eval()
        theirs.load_state_dict(load_file(made.file), strict=True)
        with torch.no_grad():
            torch.testing.assert_close(theirs(pixels(16)), network(pixels(16)), **CLOSE)
    assert made.opened.endswith("norm_layer=functools.partial(torch.nn.LayerNorm, eps=1e-12))")


@torch.no_grad()
@pytest.mark.parametrize("name", NETWORKS)
def test_the_networks_written_out_are_torchvisions(name: str):
    theirs, written = small(NETWORKS[name](makers("torchvision's own"))), NETWORKS[name](makers("written out")).eval()
    written.load_state_dict(theirs.state_dict(), strict=True)
    assert list(written.state_dict()) == list(theirs.state_dict())
    torch.testing.assert_close(written(pixels()), theirs(pixels()), rtol=1e-6, atol=1e-6)


@torch.no_grad()
def test_names_of_older_files(tmp_path: Path):
    """torchvision's published ViTs name the feed-forward otherwise, and its first ResNets count no steps."""
    for name in ("resnet18", "vit_b_16, less deep"):
        theirs = small(NETWORKS[name](makers("written out")))
        weights = {
            one.replace(".mlp.0.", ".mlp.linear_1.").replace(".mlp.3.", ".mlp.linear_2."): tensor
            for one, tensor in theirs.state_dict().items()
            if not one.endswith("num_batches_tracked")
        }
        assert set(weights) != set(theirs.state_dict())
        save_file(weights, tmp_path / "old.safetensors")
        torch.testing.assert_close(lm.load(tmp_path / "old.safetensors").seeing(pixels()), theirs(pixels()), **CLOSE)


@torch.no_grad()
def test_a_body_without_its_classifier_makes_vectors(tmp_path: Path):
    theirs = small(NETWORKS["resnet18"](makers("written out")))
    theirs.fc = torch.nn.Identity()
    save_file(theirs.state_dict(), tmp_path / "body.safetensors")
    ours = lm.load(tmp_path / "body.safetensors")
    assert isinstance(ours, VisionModel) and ours.seeing.classifier is None
    torch.testing.assert_close(ours.seeing.pooled(ours.seeing.hidden(pixels())), theirs(pixels()), **CLOSE)
    assert ours.embed(images=[np.zeros((20, 30, 3), np.uint8)]).shape == (1, 512)


def test_what_is_read_is_saved_for_transformers(tmp_path: Path):
    transformers = pytest.importorskip("transformers", reason="pip install 'lmworks[dev]'")
    for number, name in enumerate(NETWORKS):
        theirs = small(NETWORKS[name](makers("written out")))
        save_file(theirs.state_dict(), tmp_path / f"{number}.safetensors")
        folder = lm.load(tmp_path / f"{number}.safetensors").save(tmp_path / f"{number}")
        again = transformers.AutoModelForImageClassification.from_pretrained(folder).eval()
        with torch.no_grad():
            torch.testing.assert_close(again(pixels()).logits, theirs(pixels()), **CLOSE)


RESNETS = {
    "resnet18": ("BasicBlock", [2, 2, 2, 2], 256),
    "resnet34": ("BasicBlock", [3, 4, 6, 3], 256),
    "resnet50": ("Bottleneck", [3, 4, 6, 3], 232),
    "resnet101": ("Bottleneck", [3, 4, 23, 3], 232),
    "resnet152": ("Bottleneck", [3, 8, 36, 3], 232),
}
VITS = {
    "vit_b_16": ((224, 16, 12, 12, 768, 3072), 256),
    "vit_b_32": ((224, 32, 12, 12, 768, 3072), 256),
    "vit_l_16": ((224, 16, 24, 16, 1024, 4096), 242),
    "vit_l_32": ((224, 32, 24, 16, 1024, 4096), 256),
    "vit_h_14": ((518, 14, 32, 16, 1280, 5120), 518),
}


def derived(name: str) -> Any:
    """Our config by the shapes of a network of torchvision's, which is not made."""
    with torch.device("meta"):
        if name in RESNETS:
            block, depths, _ = RESNETS[name]
            network: Any = as_torchvision.ResNet(getattr(as_torchvision, block), depths)
        else:
            network = as_torchvision.VisionTransformer(*VITS[name][0])
    return config_from({one: tuple(tensor.shape) for one, tensor in network.state_dict().items()}, {})


@pytest.mark.parametrize("name", RESNETS)
def test_each_resnet_is_told_by_its_shapes(name: str):
    block, depths, shorter = RESNETS[name]
    config = derived(name)
    assert (config.block, list(config.depths)) == ("basic" if block == "BasicBlock" else "bottleneck", depths)
    assert (config.stem, config.widths[0], config.widths[-1]) == ((64, 64, 512) if shorter == 256 else (64, 256, 2048))
    prepared = torchvision_preprocessing(config)
    assert (prepared.size, prepared.crop, prepared.resample) == (shorter, (224, 224), "bilinear")


@pytest.mark.parametrize("name", VITS)
def test_each_vit_is_told_by_its_shapes(name: str):
    sizes, shorter = VITS[name]
    c = derived(name)
    assert (c.image_size, c.patch_size, c.layers, c.heads, c.dim, c.hidden_dim) == sizes
    assert (c.norm_eps, c.activation, len(c.labels)) == (1e-6, "gelu", 1000)
    prepared = torchvision_preprocessing(c)
    assert (prepared.size, prepared.crop) == (shorter, (sizes[0], sizes[0]))


@pytest.mark.parametrize("name", [*RESNETS, *VITS])
def test_images_are_prepared_as_torchvision_does_by_default(name: str):
    torchvision = pytest.importorskip("torchvision", reason="pip install torchvision")
    image = pytest.importorskip("PIL.Image", reason="pip install 'lmworks[vision]'")
    network = getattr(torchvision.models, name)
    default = torchvision.models.get_model_weights(network).DEFAULT
    photo = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    config = derived(name)
    found = torchvision_preprocessing(config)(photo)
    expected = default.transforms()(image.fromarray(photo))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("name", ["resnet18", "resnet50", "vit_b_16"])
def test_whole_networks_of_torchvision(name: str, tmp_path: Path):
    torchvision = pytest.importorskip("torchvision", reason="pip install torchvision")
    theirs = small(getattr(torchvision.models, name)())
    save_file(theirs.state_dict(), tmp_path / "theirs.safetensors")
    ours = lm.load(tmp_path / "theirs.safetensors")
    torch.testing.assert_close(ours.seeing(pixels(224)), theirs(pixels(224)), **CLOSE)
    again = getattr(torchvision.models, name)().eval()
    made = export(tmp_path / "theirs.safetensors", tmp_path / "made", to="torchvision")
    again.load_state_dict(load_file(made.file), strict=True)
    torch.testing.assert_close(again(pixels(224)), theirs(pixels(224)), rtol=0, atol=0)
