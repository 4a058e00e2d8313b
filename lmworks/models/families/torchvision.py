"""torchvision's names of ResNet's and ViT's tensors, both ways, and our config by their shapes: its files are the
weights alone, without a config.json.

What shapes do not tell is assumed as torchvision's own networks have it: GELU or ReLU, halving in a bottleneck's 3 x 3,
16 heads of a ViT 1,280 wide and heads of 64 numbers of its others, norms' eps 1e-6. A config.json beside the weights
may say the keys of `SAID`. Source: https://github.com/pytorch/vision (torchvision/models/resnet.py,
vision_transformer.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from math import isqrt
from typing import TYPE_CHECKING, Any, cast

from lmworks.basics.errors import ConfigError, ModelError
from lmworks.models.config import MOST_LABELS, ModelConfig
from lmworks.models.families.encoder_classes import labels_from
from lmworks.models.families.seeing import convolved, within
from lmworks.models.families.sources import Source
from lmworks.models.families.tables import Family
from lmworks.models.vision.config import BLOCKS, ImageConfig, as_model_config
from lmworks.models.vision.resnet_config import ResNetConfig

if TYPE_CHECKING:
    import torch
    from torch import Tensor

SAID = ("id2label", "label2id", "num_attention_heads", "layer_norm_eps")
"""Keys of a config.json beside such weights; one with others is of another layout."""
HEADS = {768: 12, 1024: 16, 1280: 16}
"""Of the ViTs that torchvision has (b, l, h), by their width: their files do not say it."""
NORM_EPS = 1e-6
"""Of a ViT's norms; those of a ResNet have 1e-5 everywhere."""
STAGES = 4
STEM, WIDTHS, EXPANSION = 64, (64, 128, 256, 512), {"basic": 1, "bottleneck": 4}
"""Channels of torchvision's ResNets after the stem, and inside the blocks of each stage."""
RESNETS: dict[tuple[str, tuple[int, ...]], str] = {
    ("basic", (2, 2, 2, 2)): "resnet18",
    ("basic", (3, 4, 6, 3)): "resnet34",
    ("bottleneck", (3, 4, 6, 3)): "resnet50",
    ("bottleneck", (3, 4, 23, 3)): "resnet101",
    ("bottleneck", (3, 8, 36, 3)): "resnet152",
}
"""Those that have a name there, by their blocks."""
STEPS = ".num_batches_tracked"
"""Counts steps of training, for nobody; files from before PyTorch 0.4 have none."""

Shapes = Mapping[str, tuple[int, ...]]

_LAYER = "encoder.layers.encoder_layer_{i}"
_VIT: dict[str, Source] = {
    "patches.projection.weight": convolved("conv_proj.weight"),
    "patches.projection.bias": "conv_proj.bias",
    "patches.class_token": within("class_token", lambda config: (config.dim,), 2),
    "position.weight": within("encoder.pos_embedding", lambda config: (config.context, config.dim), 1),
}
for kind in ("weight", "bias"):
    _VIT |= {
        f"blocks.{{i}}.attention_norm.{kind}": f"{_LAYER}.ln_1.{kind}",
        f"blocks.{{i}}.attention.qkv.{kind}": f"{_LAYER}.self_attention.in_proj_{kind}",
        f"blocks.{{i}}.attention.output.{kind}": f"{_LAYER}.self_attention.out_proj.{kind}",
        f"blocks.{{i}}.feed_forward_norm.{kind}": f"{_LAYER}.ln_2.{kind}",
        f"blocks.{{i}}.feed_forward.up.{kind}": f"{_LAYER}.mlp.0.{kind}",
        f"blocks.{{i}}.feed_forward.down.{kind}": f"{_LAYER}.mlp.3.{kind}",
        f"norm.{kind}": f"encoder.ln.{kind}",
        f"classifier.{kind}": f"heads.head.{kind}",
    }
TABLES = {"vit": Family(name="vit", architecture="VisionTransformer", settings={}, tensors=_VIT, config=ImageConfig)}
"""In a dict, so that it is no family of its own."""
RESNET = (
    (r"^conv1\.", "stem.convolution."),
    (r"^bn1\.", "stem.norm."),
    (r"^fc\.", "classifier."),
    (r"^layer(\d{1,6})\.(\d{1,6})\.downsample\.0\.", "stages.{0}.{1}.shortcut.convolution."),
    (r"^layer(\d{1,6})\.(\d{1,6})\.downsample\.1\.", "stages.{0}.{1}.shortcut.norm."),
    (r"^layer(\d{1,6})\.(\d{1,6})\.conv(\d{1,6})\.", "stages.{0}.{1}.parts.{2}.convolution."),
    (r"^layer(\d{1,6})\.(\d{1,6})\.bn(\d{1,6})\.", "stages.{0}.{1}.parts.{2}.norm."),
)
"""Theirs -> ours, whose stages and parts are numbered from 0 and not from 1."""
RESNET_BACK = (
    (r"^stem\.convolution\.", "conv1."),
    (r"^stem\.norm\.", "bn1."),
    (r"^classifier\.", "fc."),
    (r"^stages\.(\d+)\.(\d+)\.shortcut\.convolution\.", "layer{0}.{1}.downsample.0."),
    (r"^stages\.(\d+)\.(\d+)\.shortcut\.norm\.", "layer{0}.{1}.downsample.1."),
    (r"^stages\.(\d+)\.(\d+)\.parts\.(\d+)\.convolution\.", "layer{0}.{1}.conv{2}."),
    (r"^stages\.(\d+)\.(\d+)\.parts\.(\d+)\.norm\.", "layer{0}.{1}.bn{2}."),
)
_OLD_MLP = re.compile(r"^(encoder\.layers\.encoder_layer_\d+\.mlp\.)linear_([12])\.")
_OF_RESNET = re.compile(r"^layer(\d{1,6})\.(\d{1,6})\.(?:conv|bn)\d\.")
_OF_VIT = re.compile(r"^encoder\.layers\.encoder_layer_(\d{1,6})\.")


def kind_of(names: Iterable[str]) -> str | None:
    """resnet or vit, where names of tensors are torchvision's of one; None where they are not."""
    names = list(names)
    kinds = {"resnet": _OF_RESNET, "vit": _OF_VIT}
    return next((kind for kind, mark in kinds.items() if any(mark.match(name) for name in names)), None)


def config_from(theirs: Shapes, said: Mapping[str, Any]) -> ModelConfig:
    """Our config by the shapes of a file's tensors and what is `said` of it beside. ModelError for a network that is
    none of torchvision's ResNets and ViTs, and where heads cannot be told."""
    shapes = spelled(theirs)
    kind = kind_of(shapes)
    read, head = (_resnet, "fc") if kind == "resnet" else (_vit, "heads.head")
    count = _shape(shapes, f"{head}.weight", 2)[0] if any(name.startswith(f"{head}.") for name in shapes) else 0
    if count > MOST_LABELS:
        raise ModelError(
            f"{head}.weight has {count:,} rows, and a classifier tells at most {MOST_LABELS:,} classes apart"
        )
    try:
        labels = labels_from(said) if count and said.get("id2label") else tuple(map(str, range(count)))
    except (TypeError, ValueError, AttributeError):
        raise ModelError('config.json: id2label is no table of numbers and names; say {"0": "cat", "1": ...}') from None
    if len(labels) != count:
        raise ModelError(
            f"{head}.weight tells {count:,} classes apart, and id2label in config.json names {len(labels)}"
        )
    try:
        return read(shapes, said, labels)
    except ConfigError as error:
        raise ModelError(f"the shapes are those of no network that is read: {error}") from None


def spelled(theirs: Mapping[str, Any]) -> dict[str, Any]:
    """A file's tensors, or shapes, by today's names: the feed-forward's have others in torchvision's published files.
    ModelError where one is there under both."""
    names = {name: _OLD_MLP.sub(lambda found: f"{found[1]}{'0' if found[2] == '1' else '3'}.", name) for name in theirs}
    for name, today in names.items():
        if name != today and today in theirs:
            raise ModelError(f"the weights hold {today} twice, as {name} too; fetch or convert them again")
    return {names[name]: one for name, one in theirs.items()}


def tensors_from(
    theirs: Mapping[str, Tensor], config: ModelConfig, expected: Shapes, dtype: torch.dtype | None = None
) -> dict[str, Tensor]:
    """Our tensors from a file's. ModelError, by their names, for whichever of the `expected` ones is missing or has
    another shape, and for any other."""
    theirs = spelled(theirs)
    what = "ViT" if config.family == "vit" else "ResNet"
    for name, shape in expected.items():
        if name not in theirs and not name.endswith(STEPS):
            raise ModelError(f"the tensor {name} is missing from the weights; fetch or convert them again")
        if name in theirs and tuple(theirs[name].shape) != shape and not name.endswith(STEPS):
            raise ModelError(
                f"{name} has the shape {list(theirs[name].shape)}, and by the shapes of the others it is {list(shape)}"
            )
    if unexpected := sorted(set(theirs) - set(expected)):
        raise ModelError(
            f"the weights hold {unexpected[0]}, which torchvision's {what} of these sizes does not have "
            f"({len(unexpected)} such tensors); they would be lost silently, so nothing was loaded"
        )
    if config.family == "vit":
        return TABLES["vit"].tensors_from(theirs, config, dtype)
    return {
        _renamed(name, RESNET, -1): tensor.to(dtype) if dtype else tensor
        for name, tensor in theirs.items()
        if not name.endswith(STEPS)
    }


def tensors_to(ours: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """The tensors of a file from ours."""
    if config.family == "vit":
        return TABLES["vit"].tensors_to(ours, config)
    theirs: dict[str, Tensor] = {}
    for name, tensor in ours.items():
        theirs[_renamed(name, RESNET_BACK, 1)] = tensor.contiguous()
        if name.endswith(".running_var"):
            steps = name.removesuffix(".running_var") + STEPS
            theirs[_renamed(steps, RESNET_BACK, 1)] = tensor.new_zeros(()).long()
    return theirs


def said_of(config: ModelConfig) -> dict[str, Any]:
    """What a config.json beside the weights has to say, as shapes do not."""
    said: dict[str, Any] = {}
    if config.labels:
        said["id2label"] = {str(number): label for number, label in enumerate(config.labels)}
    if config.family == "vit":
        said |= {"num_attention_heads": config.heads, "layer_norm_eps": config.norm_eps}
    return said


def must_be_theirs(config: ModelConfig, theirs: Shapes) -> None:
    """ModelError for a network that torchvision's classes have not: one that would be read back as another from
    `theirs`, the shapes of its tensors there, and one whose widths they do not take."""
    what = "ViT" if config.family == "vit" else "ResNet"
    back = config_from(theirs, said_of(config))
    for name in type(back).model_fields:
        value, found = getattr(config, name), getattr(back, name)
        if value != found and name != "dropout":  # of training alone
            raise ModelError(f"torchvision's {what} has no {name} = {value!r} (only {found!r}); save it as it is")
    channels = getattr(config, "channels", 3)
    if channels != 3:
        raise ModelError(f"torchvision's {what} reads 3 channels, and this network {channels}; save it as it is")
    if isinstance(back, ResNetConfig):
        widths = tuple(EXPANSION[back.block] * width for width in WIDTHS)
        if (back.stem, back.widths) != (STEM, widths):
            raise ModelError(
                f"torchvision's ResNet of {back.block} blocks has {STEM} channels after its stem and "
                f"{', '.join(map(str, widths))} after its stages, and this network {back.stem} and "
                f"{', '.join(map(str, back.widths))}; save it as it is"
            )


def opened(config: ModelConfig) -> str:
    """The expression that makes torchvision's network of a config, for `load_state_dict`."""
    classes = f"num_classes={len(config.labels)}" if config.labels else ""
    if isinstance(config, ImageConfig):
        parts = {
            "image_size": config.image_size,
            "patch_size": config.patch_size,
            "num_layers": config.layers,
            "num_heads": config.heads,
            "hidden_dim": config.dim,
            "mlp_dim": config.hidden_dim,
        }
        sizes = [f"{name}={value}" for name, value in parts.items()]
        norm = f"norm_layer=functools.partial(torch.nn.LayerNorm, eps={config.norm_eps:g})"
        more = [norm] if config.norm_eps != NORM_EPS else []
        return f"torchvision.models.VisionTransformer({', '.join([*sizes, *filter(None, [classes]), *more])})"
    sizes_of = cast(ResNetConfig, config)
    named = RESNETS.get((sizes_of.block, sizes_of.depths))
    if named is not None:
        return f"torchvision.models.{named}({classes})"
    block = "BasicBlock" if sizes_of.block == "basic" else "Bottleneck"
    arguments = [f"torchvision.models.resnet.{block}", str(list(sizes_of.depths)), *filter(None, [classes])]
    return f"torchvision.models.ResNet({', '.join(arguments)})"


def _resnet(shapes: Shapes, said: Mapping[str, Any], labels: tuple[str, ...]) -> ModelConfig:
    stem, channels, *sides = _shape(shapes, "conv1.weight", 4)
    if sides != [7, 7]:
        raise ModelError(f"conv1.weight is a convolution of {sides[0]} x {sides[1]}, and a ResNet begins with 7 x 7")
    found = {(int(one[1]), int(one[2])) for one in map(_OF_RESNET.match, shapes) if one}
    stages = _counted((stage - 1 for stage, _ in found), "layer1, layer2 ...")
    if stages != STAGES:
        raise ModelError(f"the weights have {stages} stages (layer1 ...), and torchvision's ResNets have {STAGES}")
    depths = tuple(
        _counted((block for at, block in found if at == stage), f"layer{stage}.0, layer{stage}.1 ...")
        for stage in range(1, STAGES + 1)
    )
    bottleneck = "layer1.0.conv3.weight" in shapes
    last = "conv3" if bottleneck else "conv2"
    widths = tuple(_shape(shapes, f"layer{stage}.0.{last}.weight", 4)[0] for stage in range(1, STAGES + 1))
    for stage, width in enumerate(widths, 1) if bottleneck else ():
        inside, inputs = _shape(shapes, f"layer{stage}.0.conv2.weight", 4)[:2]
        if inputs != inside:
            raise ModelError(
                f"layer{stage}.0.conv2.weight gives {inside} channels and reads {inputs} for each: convolutions in "
                "groups, as a ResNeXt has them, are not supported"
            )
        if 4 * inside != width:
            raise ModelError(
                f"a block of layer{stage} works on {inside} of {width} channels, as a wide ResNet's, and not on a "
                "quarter; not supported"
            )
    config = ResNetConfig(
        labels=labels,
        channels=channels,
        stem=stem,
        widths=widths,
        depths=depths,
        block="bottleneck" if bottleneck else "basic",
    )
    return as_model_config(config)


def _vit(shapes: Shapes, said: Mapping[str, Any], labels: tuple[str, ...]) -> ModelConfig:
    dim, channels, patch, width = _shape(shapes, "conv_proj.weight", 4)
    if patch != width:
        raise ModelError(f"conv_proj.weight cuts patches of {patch} x {width}, and only square ones are supported")
    patches = _shape(shapes, "encoder.pos_embedding", 3)[1] - 1
    side = isqrt(max(patches, 0))
    if side * side != patches or not side:
        raise ModelError(
            f"encoder.pos_embedding has {patches + 1} places, which are not a class token and the patches of a square"
        )
    layers = _counted(
        (int(one[1]) for one in map(_OF_VIT.match, shapes) if one), "encoder_layer_0, encoder_layer_1 ..."
    )
    heads = said.get("num_attention_heads", HEADS.get(dim))
    if heads is None:
        raise ModelError(
            f"a ViT {dim} wide is none of torchvision's ({', '.join(map(str, HEADS))}), and its shapes do not tell how "
            'many heads it has; put it into a folder of its own, with {"num_attention_heads": ...} in config.json'
        )
    if type(heads) is not int or not 0 < heads <= dim or dim % heads:
        raise ModelError(f"config.json: num_attention_heads is {heads!r}, and the width of {dim} is shared by heads")
    return ImageConfig(
        family="vit",
        image_size=side * patch,
        patch_size=patch,
        channels=channels,
        dim=dim,
        layers=layers,
        heads=heads,
        hidden_dim=_shape(shapes, "encoder.layers.encoder_layer_0.mlp.0.weight", 2)[0],
        norm_eps=said.get("layer_norm_eps", NORM_EPS),
        activation="gelu",
        labels=labels,
        **BLOCKS,
    )


def _shape(shapes: Shapes, name: str, sides: int) -> tuple[int, ...]:
    """The shape of a tensor. ModelError where it is missing, or has another number of sides."""
    if name not in shapes:
        raise ModelError(f"the tensor {name} is missing from the weights; fetch or convert them again")
    if len(shapes[name]) != sides:
        raise ModelError(f"{name} has the shape {list(shapes[name])}, and torchvision's has {sides} sides")
    return shapes[name]


def _counted(numbers: Iterable[int], names: str) -> int:
    """How many there are. ModelError where they are not numbered one after another."""
    found = sorted(set(numbers))
    if found != list(range(len(found))):
        raise ModelError(f"the weights are not numbered one after another ({names}); fetch or convert them again")
    return len(found)


def _renamed(name: str, table: tuple[tuple[str, str], ...], by: int) -> str:
    """A name by the first pattern that fits, its stage and part counted from the other number."""
    for theirs, ours in table:
        if (found := re.match(theirs, name)) is not None:
            numbers = [int(one) + (by if at != 1 else 0) for at, one in enumerate(found.groups())]
            return ours.format(*numbers) + name[found.end() :]
    return name
