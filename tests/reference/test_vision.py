"""Networks that read images against transformers: equal states, vectors and scores from random weights, both ways."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lmworks.basics.errors import ModelError
from lmworks.models.files.directory import read_network, write_network
from lmworks.models.files.references import resolve
from lmworks.models.vision.config import ImageConfig
from lmworks.models.vision.image_network import ImageNetwork
from lmworks.models.vision.resnet import BatchNorm, ResNet
from lmworks.models.vision.towers import Towers
from lmworks.models.vision.towers_config import TowersConfig, clip_config

transformers = pytest.importorskip("transformers", reason="pip install 'lmworks[dev]'")

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
SEES = SMALL | {"image_size": 16, "patch_size": 8}
READS = SMALL | {"vocab_size": 96, "max_position_embeddings": 12}
END = 95
LABELS = {"id2label": {0: "cat", 1: "dog", 2: "ship"}}


def drawn(network: Any, seed: int = 0) -> Any:
    """The network with every weight drawn anew, so that no part is zero or one; norms' variances stay positive."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, one in network.state_dict().items():
            if one.is_floating_point() and "logit" not in name:
                one.copy_(torch.randn(one.shape, generator=generator) * 0.3)
                if name.endswith("running_var"):
                    one.abs_().add_(0.5)
    return network.eval()


def images(channels: int = 3, size: int = 16) -> torch.Tensor:
    return torch.randn(3, channels, size, size, generator=torch.Generator().manual_seed(1))


def texts() -> torch.Tensor:
    """Three texts that end at different places, the id of their end after it too, as CLIP pads."""
    tokens = torch.randint(3, END, (3, 12), generator=torch.Generator().manual_seed(2))
    for row, end in enumerate((4, 11, 7)):
        tokens[row, end:] = END
    return tokens


def both(theirs: Any, folder: Path) -> tuple[Any, Any]:
    """Ours read from what transformers wrote; and theirs read from what we then wrote."""
    theirs.save_pretrained(folder / "theirs")
    ours = read_network(folder / "theirs")
    (folder / "ours").mkdir()
    write_network(folder / "ours", ours)
    again = type(theirs).from_pretrained(folder / "ours").eval()
    assert {name: one.tolist() for name, one in theirs.state_dict().items()} == {
        name: one.tolist() for name, one in again.state_dict().items()
    }
    return ours, again


@torch.no_grad()
@pytest.mark.parametrize("size", [224, 97], ids=["its own size", "an odd size"])
def test_efficientnet_is_equal_with_its_published_weights(efficientnet: str, size: int):
    public = pytest.importorskip("efficientnet_lite_pytorch", reason="pip install 'lmworks[dev]'")
    theirs = public.EfficientNet.from_name("efficientnet-lite0", image_size=size).eval()
    weights = next(resolve(efficientnet).glob("*.pth"))
    theirs.load_state_dict(torch.load(weights, weights_only=True))
    ours = read_network(resolve(efficientnet))
    pixels = images(size=size)
    torch.testing.assert_close(ours.hidden(pixels)[-1], theirs.extract_features(pixels), rtol=1e-5, atol=2e-5)
    torch.testing.assert_close(ours(pixels), theirs(pixels), rtol=1e-5, atol=2e-5)


@torch.no_grad()
@pytest.mark.parametrize(
    "more",
    [{}, {"qkv_bias": False}, {"num_channels": 1, "hidden_act": "relu", "layer_norm_eps": 0.1, "patch_size": 4}],
    ids=["plain", "no biases", "other sizes"],
)
def test_vit_is_equal(more: dict[str, Any], tmp_path: Path):
    theirs = drawn(transformers.ViTModel(transformers.ViTConfig(**(SEES | more))))
    ours, again = both(theirs, tmp_path)
    assert isinstance(ours, ImageNetwork)
    pixels = images(more.get("num_channels", 3))
    expected, states = again(pixels), ours.hidden(pixels)
    torch.testing.assert_close(states, expected.last_hidden_state, **CLOSE)
    torch.testing.assert_close(ours.pooled(states), expected.pooler_output, **CLOSE)


@torch.no_grad()
def test_a_classifier_of_images_is_equal(tmp_path: Path):
    theirs = drawn(transformers.ViTForImageClassification(transformers.ViTConfig(**SEES, **LABELS)))
    ours, again = both(theirs, tmp_path)
    assert ours.config.labels == ("cat", "dog", "ship") and again.config.id2label == LABELS["id2label"]
    torch.testing.assert_close(ours(images()), again(images()).logits, **CLOSE)


RESNETS: dict[str, dict[str, Any]] = {
    "bottlenecks": {"downsample_in_bottleneck": True, "hidden_sizes": [8, 16, 24], "depths": [1, 2, 1]},
    "basic": {"layer_type": "basic", "hidden_act": "gelu", "downsample_in_first_stage": True, "num_channels": 1},
    "as it is": {"hidden_sizes": [16, 16], "depths": [2, 1]},
}


@torch.no_grad()
@pytest.mark.parametrize("labelled", [False, True], ids=["body", "classifier"])
@pytest.mark.parametrize("more", RESNETS.values(), ids=RESNETS)
def test_resnet_is_equal(more: dict[str, Any], labelled: bool, tmp_path: Path):
    config = transformers.ResNetConfig(**({"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 2]} | more))
    config.id2label = LABELS["id2label"]
    kind = transformers.ResNetForImageClassification if labelled else transformers.ResNetModel
    ours, again = both(drawn(kind(config)), tmp_path)
    assert isinstance(ours, ResNet) and ours.config.labels == (("cat", "dog", "ship") if labelled else ())
    pixels = images(more.get("num_channels", 3), 33)
    expected = again(pixels)
    if labelled:
        torch.testing.assert_close(ours(pixels), expected.logits, **CLOSE)
    else:
        torch.testing.assert_close(ours.pooled(ours.hidden(pixels)), expected.pooler_output[..., 0, 0], **CLOSE)


@torch.no_grad()
def test_a_norm_by_the_batch_is_pytorchs():
    ours, theirs = BatchNorm(5).train(), torch.nn.BatchNorm2d(5).train()
    x = torch.randn(4, 5, 3, 3, generator=torch.Generator().manual_seed(0)) * 3 + 1
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=0)
    torch.testing.assert_close(ours.running_var, theirs.running_var, rtol=0, atol=0)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), rtol=0, atol=0)


def clip(text: dict[str, Any] | None = None, image: dict[str, Any] | None = None) -> Any:
    parts = {"text_config": READS | {"eos_token_id": END} | (text or {}), "vision_config": SEES | (image or {})}
    return drawn(transformers.CLIPModel(transformers.CLIPConfig(**parts, projection_dim=24)))


def siglip(text: dict[str, Any] | None = None, image: dict[str, Any] | None = None) -> Any:
    parts = {"text_config": READS | (text or {}), "vision_config": SEES | (image or {})}
    return drawn(transformers.SiglipModel(transformers.SiglipConfig(**parts)))


TOWERS = {
    "clip": clip,
    "clip of the first files": lambda: clip({"eos_token_id": 2}),
    "clip with gelu": lambda: clip({"hidden_act": "gelu"}, {"hidden_act": "gelu", "patch_size": 4}),
    "clip with towers of two widths": lambda: clip({"hidden_size": 16, "num_hidden_layers": 1}, {"num_channels": 1}),
    "siglip": siglip,
    "siglip with texts as narrow": lambda: siglip({"hidden_size": 16, "projection_size": 32}, {"patch_size": 4}),
}


@torch.no_grad()
@pytest.mark.parametrize("make", TOWERS.values(), ids=TOWERS)
def test_towers_are_equal(make: Any, tmp_path: Path):
    ours, again = both(make(), tmp_path)
    assert isinstance(ours, Towers)
    pixels, tokens = images(again.config.vision_config.num_channels), texts()
    expected = again(input_ids=tokens, pixel_values=pixels)
    found = torch.nn.functional.normalize(ours.encode_texts(tokens), dim=-1)
    torch.testing.assert_close(found, expected.text_embeds, **CLOSE)
    found = torch.nn.functional.normalize(ours.encode_images(pixels), dim=-1)
    torch.testing.assert_close(found, expected.image_embeds, **CLOSE)
    torch.testing.assert_close(ours(pixels, tokens), expected.logits_per_image, rtol=1e-5, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize(
    "tower, change",
    [
        ("image", {"activation": "gelu"}),
        ("image", {"embedding_norm": None}),
        ("image", {"patch_bias": True}),
        ("image", {"class_token": False, "context": 4, "image_state": "mean"}),
        ("text", {"arrangement": "encoder"}),
        ("", {"text_end": "last", "end_token": None}),
    ],
)
def test_every_switch_is_needed(tower: str, change: dict[str, Any], tmp_path: Path):
    """With a switch the other way the network is another one, or the file has no place for it."""
    clip().save_pretrained(tmp_path)
    ours = read_network(tmp_path)
    config = ours.config
    part = config if not tower else getattr(config, tower)
    changed = part.but(**change) if not tower else config.but(**{tower: part.but(**change)})
    other = Towers(changed)
    state = other.state_dict()
    other.load_state_dict(
        {k: v for k, v in ours.state_dict().items() if k in state and v.shape == state[k].shape}, strict=False
    )
    assert (other.eval()(images(), texts()) - ours(images(), texts())).abs().max() > 1e-3
    if change not in ({"activation": "gelu"},):
        with pytest.raises(ModelError, match="clip"):
            write_network(tmp_path / "other", other)


def test_settings_repeated_in_old_files_count(tmp_path: Path):
    """Some of the first files say the towers' settings twice, and what stands under _dict is what was meant."""
    from lmworks.models.families import family_of

    theirs = clip().config.to_dict()
    theirs["text_config_dict"] = {"num_hidden_layers": 1}
    assert family_of("clip").config_from(theirs).text.layers == 1


@pytest.mark.parametrize(
    "wrong, words",
    [
        ({"vision_config": {"image_size": [16, 32]}}, "only square images"),
        ({"vision_config": {"image_size": 10_000_000, "patch_size": 1}}, "image_size"),
        ({"vision_config": {"image_size": 4096, "patch_size": 1}}, "patches, and the most is"),
        ({"vision_config": {"image_size": 30, "patch_size": 16}}, "not a multiple"),
        ({"vision_config": {"hidden_act": "swoosh"}}, "'swoosh' is not known"),
        ({"vision_config": 3}, "vision_config is no table"),
        ({"text_config": {"eos_token_id": [1, 2]}}, "one id ends a text"),
        ({"projection_dim": -1}, "width"),
    ],
)
def test_what_a_config_cannot_be(wrong: dict[str, Any], words: str):
    from lmworks.models.families import family_of

    with pytest.raises(ModelError, match=words):
        family_of("clip").config_from({"model_type": "clip", **wrong})


@pytest.mark.parametrize(
    "wrong, words",
    [
        ({"depths": [1, 2, 3]}, "4 stages and depths 3"),
        ({"depths": [900, 900, 1, 1]}, "1,802 blocks"),
        ({"hidden_sizes": [10**9, 1, 1, 1]}, "widths"),
        ({"hidden_sizes": []}, "widths"),
        ({"hidden_sizes": 5}, "widths"),
        ({"layer_type": "dense"}, "block"),
        ({"architectures": ["ResNetBackbone"]}, "ResNetBackbone is not supported"),
    ],
)
def test_what_a_resnet_cannot_be(wrong: dict[str, Any], words: str):
    from lmworks.models.families import family_of

    with pytest.raises(ModelError, match=words):
        family_of("resnet").config_from({"model_type": "resnet", **wrong})


def test_missing_and_foreign_tensors_are_named(tmp_path: Path):
    theirs = clip()
    theirs.save_pretrained(tmp_path)
    from safetensors.torch import load_file, save_file

    weights = load_file(tmp_path / "model.safetensors")
    for name in ("logit_scale", "visual_projection.weight", "vision_model.pre_layrnorm.weight"):
        save_file({k: v for k, v in weights.items() if k != name}, tmp_path / "model.safetensors")
        with pytest.raises(ModelError, match=name):
            read_network(tmp_path)
    save_file(weights | {"vision_model.extra": weights["logit_scale"].clone()}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=r"vision_model\.extra"):
        read_network(tmp_path)


@pytest.mark.parametrize("sigmoid", [False, True])
def test_towers_made_here_are_transformers(sigmoid: bool, tmp_path: Path):
    towers = Towers(clip_config(96, END, image_size=16, patch_size=8, dim=32, layers=1, context=12, sigmoid=sigmoid))
    towers.initialise(0).eval()
    write_network(tmp_path, towers)
    theirs = transformers.AutoModel.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        expected = theirs(input_ids=texts(), pixel_values=images()).logits_per_image
        torch.testing.assert_close(towers(images(), texts()), expected, rtol=1e-5, atol=1e-4)
    assert isinstance(towers.config, TowersConfig) and isinstance(towers.config.image, ImageConfig)
