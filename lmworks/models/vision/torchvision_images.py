"""How images are prepared for torchvision's networks, whose files do not say it: as for the weights that torchvision
gives by default for a network of these sizes.

Source: the `transforms` of each `..._Weights.DEFAULT` in https://github.com/pytorch/vision (torchvision/models).
"""

from __future__ import annotations

from pathlib import Path

from lmworks.basics import progress
from lmworks.models.config import ModelConfig
from lmworks.models.files.model_folder import read_json, torchvision_weights
from lmworks.models.vision.config import ImageConfig
from lmworks.models.vision.preprocessing import FILE, JOINED, Preprocessing
from lmworks.models.vision.resnet_config import ResNetConfig

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's photos."""
SIDE = 224
OLD_SIDE, NEW_SIDE = 256, 232
"""What the shorter side is resized to before the middle is cut: of most weights, and of those trained anew (V2), which
are the default of ResNet-50, 101 and 152."""
OF_VIT_L_16 = 242


def read_preprocessing(path: Path, config: ModelConfig) -> Preprocessing:
    """What a model directory says; of torchvision's file, which may say nothing, its default, and a note of what is
    taken for granted."""
    weights = torchvision_weights(path)
    if weights is None:
        return Preprocessing.read(path)
    says = any((path / name).is_file() for name in (FILE, JOINED))
    preprocessing = Preprocessing.read(path) if says else torchvision_preprocessing(config)
    said = read_json(path / "config.json") if (path / "config.json").is_file() else {}
    taken = []
    if isinstance(config, ImageConfig) and "num_attention_heads" not in said:
        taken.append(f"{config.heads} heads")
    if isinstance(config, ImageConfig) and "layer_norm_eps" not in said:
        taken.append(f"norms' eps {config.norm_eps:g}")
    if config.labels and not said.get("id2label"):
        taken.append(f"classes called 0 to {len(config.labels) - 1}")
    if not says:
        taken.append(f"images prepared as torchvision's default ({_in_words(preprocessing)})")
    if taken:
        progress.note(f"{weights} does not say, so taken for granted are: {', '.join(taken)}")
    return preprocessing


def torchvision_preprocessing(config: ModelConfig) -> Preprocessing:
    """That of torchvision's default weights for a network of these sizes."""
    if isinstance(config, ImageConfig):
        size, square = _of_vit(config)
    else:
        again = isinstance(config, ResNetConfig) and config.block == "bottleneck"
        size, square = (NEW_SIDE if again else OLD_SIDE), SIDE
    return Preprocessing(
        size=size,
        crop=(square, square),
        resample="bicubic" if size == square else "bilinear",
        mean=MEAN,
        deviation=DEVIATION,
    )


def _of_vit(config: ImageConfig) -> tuple[int, int]:
    """The shorter side, and that of the square that is cut. Weights that were trained on (SWAG), which are of other
    sizes than 224 or of ViT-H, take the whole shorter side, bicubically resized."""
    if config.image_size != SIDE or config.dim == 1280:
        return config.image_size, config.image_size
    return (OF_VIT_L_16 if (config.patch_size, config.dim) == (16, 1024) else OLD_SIDE), SIDE


def _in_words(preprocessing: Preprocessing) -> str:
    size, crop, how = preprocessing.size, preprocessing.crop, preprocessing.resample
    return f"the shorter side {size} pixels, {how}, of which the middle {crop[0] if crop else size}, ImageNet's mean"
