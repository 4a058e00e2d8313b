"""Images to learn from: read in the size that a network reads, those that cannot be used named, and split."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from lmworks.basics import progress
from lmworks.basics.arrays import Float, Int, UInt8
from lmworks.basics.errors import ConfigError, DataError
from lmworks.evaluation.measurement import Measurement
from lmworks.evaluation.statistics import clustered_mean
from lmworks.jobs.picture_settings import PictureSettings
from lmworks.loading import load
from lmworks.models.vision.efficientnet import EfficientNet
from lmworks.models.vision.preprocessing import Preprocessing, pixels_of
from lmworks.text.document import Document
from lmworks.text.images.reading import Images
from lmworks.text.images.splits import ImageSplit, split_images
from lmworks.text.sources import Skipped
from lmworks.text.splits import data_hash
from lmworks.tokens.captioned import Normalise
from lmworks.tokens.labels import IGNORE
from lmworks.vision_model import VisionModel

Say = Callable[[str], None]
HALF = (0.5, 0.5, 0.5)
FEW = 5
"""Files that are named where they were skipped."""


def read_pictures(
    data: PictureSettings, preprocessing: Preprocessing, rows: int, say: Say = lambda line: None, captions: bool = False
) -> ImageSplit:
    """The images of a recipe as the network reads them, in bytes, split; with `captions`, those that have one.
    DataError where there are none, or less than a batch of `rows` to train on."""
    known = [
        one if one.text else replace(one, metadata={**one.metadata, "family": (one.source,)})
        for one in read_fitted(data.images, preprocessing, "caption" if captions else None, say)
    ]
    parts = split_images(known, data.held_out, data.unseen_style)
    check_a_batch(data.images, len(parts.train), rows)
    held = "; ".join(f"{name} {sum(map(len, parts.unseen[name])):,}" for name in parts.unseen)
    say(f"split          train {len(parts.train):,} images; {held}")
    return parts


WITHOUT = {
    None: "image that can be read ({}); put images there",
    "caption": "image with a caption ({}); put images there, and cat.txt beside cat.jpg, or a captions.jsonl with "
    "`file_name` and `text`",
    "class": "image with a class ({}); put the images of each class into a folder of its name",
}
"""What is said where a reference holds no image that can be used, by what each must have."""


def read_fitted(
    reference: str, preprocessing: Preprocessing, with_: Literal["caption", "class"] | None, say: Say
) -> list[Document]:
    """The images of a reference, in bytes and in the size that a network reads, each with what it must have. DataError
    where there are none."""
    size = preprocessing.size
    images = Images(reference, smallest=size if isinstance(size, int) else None)
    fit = preprocessing.but(mean=None, deviation=None, factor=1.0)
    documents = list[Document]()
    with progress.task(f"reading {images.name}", unit="images") as advance:
        for one in images:
            advance(1)
            text = class_of(one) if with_ == "class" else one.text
            if one.image is None or (with_ == "caption" and not text):
                continue
            try:
                small = fit(pixels_of(one.image)).permute(1, 2, 0).byte().numpy()
            except DataError as error:
                strip = Skipped(images.within(one.source), str(error))
                if strip not in images.skipped:  # it may have several captions
                    images.skipped.append(strip)
                    images.images -= 1
                    images.without_caption -= not one.text
                continue
            documents.append(Document(text, one.source, metadata=one.metadata, image=small))
    say(f"images         {images.summary()}")
    for skipped in images.skipped[1:FEW]:  # the first stands in the line above
        say(f"skipped        {skipped.path}: {skipped.reason}")
    if len(images.skipped) > FEW:
        say(f"skipped        {len(images.skipped) - FEW:,} more")
    if not documents:
        raise DataError(f"{images.name} holds no {WITHOUT[with_].format(images.summary())}")
    return documents


def class_of(document: Document) -> str:
    """An image's caption; without one, the name of its folder."""
    return document.text or PurePosixPath(document.source).parent.name


def check_a_batch(reference: str, images: int, rows: int) -> None:
    """DataError where there are fewer images to train on than one batch has rows."""
    if images < rows:
        raise DataError(
            f"{reference} has {images:,} images to train on, less than one batch of {rows}; give more, or lower "
            "training.rows"
        )


def hashes(reference: str, parts: ImageSplit) -> dict[str, tuple[str, str]]:
    """What a run must find again when it is resumed."""
    sides = {"held_out": parts.held_out, "text": parts.train}
    return {side: (reference, data_hash(documents)) for side, documents in sides.items()}


def picture_facts(reference: str, parts: ImageSplit) -> dict[str, Any]:
    """What lmworks.json says of the images."""
    sides = {"train": parts.train, "held_out": parts.held_out}
    return {
        "images": reference,
        **{side: {"images": len(part), "sha256": data_hash(part)} for side, part in sides.items()},
    }


def stacked(documents: Sequence[Document]) -> UInt8[np.ndarray, "images size size 3"]:
    """Their pixels, in bytes."""
    return np.stack([one.image for one in documents if one.image is not None])


def efficientnet_of(name: str, otherwise: str = "") -> VisionModel:
    """The EfficientNet that a recipe names as its `model.image_model`. ConfigError for another kind of model, in which
    `otherwise` says what else could be done."""
    model = load(name, dtype="float32", compress="none")
    if not isinstance(model, VisionModel) or not isinstance(model.seeing, EfficientNet):
        raise ConfigError(f"model.image_model: {name} is no EfficientNet; give efficientnet{otherwise}")
    return model


def without_classifier(model: VisionModel) -> dict[str, Tensor]:
    """The weights of its network but for those that tell classes."""
    return {name: one for name, one in model.seeing.state_dict().items() if not name.startswith("classifier.")}


def square(size: int, model: VisionModel | None) -> Preprocessing:
    """How images become squares of `size` pixels a side, scaled as a pretrained model reads them; without one, from -1
    to 1."""
    theirs = Preprocessing() if model is None else model.preprocessing
    return Preprocessing.plain(size, theirs.mean or HALF, theirs.deviation or HALF)


def normaliser(preprocessing: Preprocessing) -> Normalise:
    """What brings pixels from 0 to 1 to the scale of a preprocessing."""
    mean, deviation = (torch.tensor(one).view(1, 3, 1, 1) for one in (preprocessing.mean, preprocessing.deviation))
    return lambda pixels: (pixels - mean) / deviation


def tell_cut(cut: Mapping[str, int], sides: Mapping[str, Sequence[Document]], what: str, say: Say) -> None:
    """Say how many captions of each part lose their ends, where there are any; `what` is too long of them."""
    if any(cut.values()):
        told = ", ".join(f"{name} {count:,} of {len(sides[name]):,}" for name, count in cut.items() if count)
        say(f"cut            {what}: {told}")


def nats_a_token(
    name: str, values: Sequence[float] | Float[np.ndarray, " rows"], families: Sequence[str], seed: int, **more: Any
) -> Measurement:
    """The mean loss of what is held out, with its interval over families; `more` as of Measurement."""
    estimate = clustered_mean(np.asarray(values), families)
    return Measurement(
        name=f"{name}, held out",
        value=estimate.value,
        unit="nats/token",
        interval=estimate.interval,
        n=len(values),
        seeds=(seed,),
        **more,
    )


def row_losses(logits: Float[Tensor, "rows seq vocab"], labels: Int[Tensor, "rows seq"]) -> list[float]:
    """The mean cross-entropy of each row, over the labels that are not IGNORE, in nats."""
    losses = cross_entropy(logits.transpose(1, 2), labels, ignore_index=IGNORE, reduction="none")
    found: list[float] = (losses.sum(1) / (labels != IGNORE).sum(1)).tolist()
    return found


def apart(families: Sequence[str]) -> int:
    """How far a list is turned so that next to no family meets itself: about half of it, as neighbours are alike."""
    half = max(1, len(families) // 2)
    return min(
        range(half, max(half + 1, min(len(families), half + 50))),
        key=lambda turn: sum(a == b for a, b in zip(families, [*families[turn:], *families[:turn]], strict=True)),
    )
