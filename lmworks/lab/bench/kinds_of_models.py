"""A vision model and a model of images and texts that train in a minute: what claim 34 puts beside models of language.

photos = read_photos("cifar10:train", "cifar10:test", judged=1000)
right = classes_told(resnet(photos, steps=200, rows=100, seed=1), photos)
towers, parts = clip("emoji", 2048, steps=200, rows=128, seed=1), pictures_of("emoji")
found_by_words(towers, parts)                    # of each image that was not learnt 1.0 where it is the nearest
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from lmworks.basics.arrays import Bool, Float, Int64, UInt8
from lmworks.basics.errors import DataError
from lmworks.evaluation.retrieval import found
from lmworks.jobs.contrast import contrast
from lmworks.jobs.contrast_recipe import ContrastedPictures, ContrastRecipe
from lmworks.jobs.pictures import read_pictures, square
from lmworks.lab.bench.training import fit
from lmworks.models.network import Network
from lmworks.models.vision.resnet import ResNet
from lmworks.models.vision.resnet_config import ResNetConfig
from lmworks.objectives.image_classes import ImageClasses
from lmworks.text.document import Document
from lmworks.text.images.reading import Images
from lmworks.text.images.splits import UNSEEN_CONCEPTS, ImageSplit, style_of
from lmworks.tokens.labelled import LabelledImages
from lmworks.training.settings import TrainingConfig
from lmworks.vision_model import VisionModel

AT_ONCE = 200


@dataclass(frozen=True)
class Photos:
    """Images of one size with their classes, to learn from and to judge by."""

    train: LabelledImages
    test: LabelledImages
    names: tuple[str, ...]

    @property
    def chance(self) -> list[float]:
        """For each judged image, whether the commonest class of those to learn from is right."""
        return (self.test.classes == self.train.classes.bincount().argmax()).double().tolist()


def read_photos(reference: str, held_out: str, judged: int) -> Photos:
    """The images of two references, each with its class as the caption, and of the second as many as are `judged`.
    DataError where they are of several sizes or have no captions."""
    learnt, kept = list(Images(reference)), list(Images(held_out))
    kept = random.Random(0).sample(kept, min(judged, len(kept)))
    names = tuple(sorted({one.text for one in learnt}))
    if "" in names or len({one.image.shape for one in (*learnt, *kept) if one.image is not None}) != 1:
        raise DataError(f"{reference} and {held_out} must hold images of one size, each with its class as the caption")
    sides = []
    for side in (learnt, kept):
        images: UInt8[np.ndarray, "images size size 3"] = np.stack([one.image for one in side if one.image is not None])
        classes: Int64[np.ndarray, " images"] = np.array([names.index(one.text) for one in side])
        sides.append(LabelledImages(images, classes, centred, moved=2 if side is learnt else 0))
    learnt_from, judged_by = sides
    return Photos(learnt_from, judged_by, names)


def centred(pixels: Float[Tensor, "batch 3 size size"]) -> Float[Tensor, "batch 3 size size"]:
    """Pixels from 0 to 1 around 0, with a deviation of about 1."""
    return (pixels - 0.47) / 0.25


def resnet(photos: Photos, steps: int, rows: int, seed: int) -> ResNet:
    """A small residual network, trained to tell the classes."""
    sizes = ResNetConfig(stem=32, widths=(32, 64, 128), depths=(1, 1, 1), block="basic", labels=photos.names)
    network = ResNet(sizes).initialise(seed)
    config = TrainingConfig(steps=steps, rows=rows, learning_rate=4e-3, warmup=0.2, schedule="linear", seed=seed)
    fit(cast(Network, network), ImageClasses(0.1), photos.train, config)
    return network.eval()


@torch.inference_mode()
def classes_told(network: ResNet, photos: Photos) -> list[float]:
    """For each judged image, whether its class was told."""
    parts = torch.arange(len(photos.test)).split(AT_ONCE)
    best = torch.cat([network(photos.test.pixels(part.tolist())).argmax(dim=1) for part in parts])
    return (best == photos.test.classes).double().tolist()


def pictures_of(pictures: str) -> ImageSplit:
    """Images with captions as the towers of `clip` read them, a fifth of the families held out."""
    return read_pictures(ContrastedPictures(images=pictures), square(32, None), 1, captions=True)


def clip(pictures: str, vocabulary: int, steps: int, rows: int, seed: int) -> VisionModel:
    """Two towers from nothing, convolutions and a transformer with a vocabulary of this size."""
    tables = {
        "data": {"images": pictures},
        "tokenizer": {"vocab_size": vocabulary},
        "model": {"widths": (32, 64, 128), "dim": 128, "text_layers": 1, "context": 16, "width": 128},
        "training": {
            **{"rows": rows, "steps": steps, "optimiser": "muon", "learning_rate": 0.02, "seed": seed},
            **{"embedding_learning_rate": 3e-3, "schedule": "linear", "final": 0.0},
        },
    }
    with tempfile.TemporaryDirectory() as folder:
        return contrast(ContrastRecipe.model_validate(tables), Path(folder) / "clip").model


def found_by_words(model: VisionModel, parts: ImageSplit) -> list[float]:
    """Of each image of a concept that was not trained on, whether it is nearest to its caption of all of its style;
    where several are as near, the share of them that it is."""
    hits = list[float]()
    for part in parts.unseen[UNSEEN_CONCEPTS]:
        texts = model.embed([one.text for one in part], cut=True)
        similar = texts @ model.embed(images=[one.image for one in part]).T
        hits += found(similar.numpy(), same_captions(part), 1).tolist()
    return hits


def unseen_names(parts: ImageSplit) -> list[str]:
    """A name for each of these images, in the same order: "noto, 0: red apple: fruit"."""
    unseen = parts.unseen[UNSEEN_CONCEPTS]
    return [f"{style_of(one)}, {at}: {one.text}" for part in unseen for at, one in enumerate(part)]


def named_by(model: VisionModel, photos: Photos) -> list[float]:
    """For each judged image, whether two towers tell its class by the names of all."""
    labels = [one.label for one in model.classify(list(photos.test.images.permute(0, 2, 3, 1).numpy()), photos.names)]
    return [float(label == photos.names[at]) for label, at in zip(labels, photos.test.classes.tolist(), strict=True)]


def found_by_chance(parts: ImageSplit) -> list[float]:
    """The same of a model to which all are as near."""
    shares = []
    for part in parts.unseen[UNSEEN_CONCEPTS]:
        shares += found(np.zeros((len(part), len(part))), same_captions(part), 1).tolist()
    return shares


def same_captions(part: Sequence[Document]) -> Bool[np.ndarray, "texts images"]:
    """Which captions are those of which images."""
    captions = np.array([one.text for one in part])
    same: Bool[np.ndarray, "texts images"] = captions[:, None] == captions[None, :]
    return same
