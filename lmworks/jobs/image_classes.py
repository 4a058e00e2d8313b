"""A classifier of images from nothing: read images with classes, train a convolutional network, measure, save.

    result = train_classes("cifar-resnet", out="models/cifar")
    print(*result.measurements, sep="\\n")

What a run needs to be resumed lies in `<out>.run` until the model directory is complete.
"""

from __future__ import annotations

import hashlib
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from lmworks.basics.arrays import Float, Int64, UInt8
from lmworks.basics.errors import DataError
from lmworks.evaluation.measurement import Measurement
from lmworks.evaluation.statistics import proportion
from lmworks.jobs.image_classes_recipe import ImageClassesRecipe
from lmworks.jobs.pictures import check_a_batch, read_fitted, stacked
from lmworks.jobs.runs import RunResult, finish_run, held_out_loss, open_run, recipe_and_folder, resumable, start_run
from lmworks.models.network import Network, evaluating
from lmworks.models.vision.convolutional import WHITENED, ConvolutionalNetwork
from lmworks.models.vision.preprocessing import Preprocessing
from lmworks.objectives.image_classes import ImageClasses
from lmworks.text.document import Document
from lmworks.tokens.labelled import LabelledImages, shifted
from lmworks.training.loop import Validate, train
from lmworks.vision_model import VisionModel

Say = Callable[[str], None]
MEAN, DEVIATION = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
"""Of CIFAR-10's pixels."""
AT_ONCE = 500
"""Images that are judged at once."""


@dataclass(frozen=True)
class Labelled:
    """Images of one size with the numbers of their classes."""

    name: str
    images: UInt8[np.ndarray, "images size size 3"]
    classes: Int64[np.ndarray, " images"]

    def __len__(self) -> int:
        return len(self.classes)

    def of(self, places: Sequence[int]) -> Labelled:
        """Some of them."""
        return Labelled(self.name, self.images[list(places)], self.classes[list(places)])

    @property
    def digest(self) -> str:
        """SHA-256 of pixels and classes."""
        hashed = hashlib.sha256(self.images.tobytes())
        hashed.update(self.classes.tobytes())
        return hashed.hexdigest()


@resumable
def train_classes(
    recipe: str | Path | ImageClassesRecipe,
    out: str | os.PathLike[str] | None = None,
    *,
    changes: Sequence[str] = (),
    resume: bool = False,
    say: Say = lambda line: None,
) -> RunResult[ImageClassesRecipe, VisionModel]:
    """Train a network from nothing and write a model directory to `out`. The validation loss is in nats an image, of
    those held out; what is measured is the accuracy on the test images, of each as it is and of several views of each.

    Raises LmworksError with one sentence; Stopped when it was interrupted, after saving what `resume` needs.
    """
    chosen, folder = recipe_and_folder(ImageClassesRecipe, recipe, changes, out)
    started = time.time()
    run = open_run(folder, chosen, resume, say)
    preprocessing = Preprocessing.plain(chosen.model.image_size, MEAN, DEVIATION)
    labels, parts = read_parts(chosen, preprocessing, say)
    digests = {side: (part.name, part.digest) for side, part in parts.items()}
    start_run(run, chosen, digests, resume, started)

    network = ConvolutionalNetwork(chosen.model.but(labels=labels)).initialise(chosen.training.seed)
    rows = _rows(chosen, parts["text"])
    network.whiten(rows.pixels(range(min(len(rows), WHITENED))))
    model = VisionModel(network, preprocessing)
    say(_plan(network, rows))
    objective = ImageClasses(chosen.objective.label_smoothing)
    validate = _validation(parts["held_out"])
    training = train(cast(Network, network), objective, rows, chosen.training, run, resume=resume, validate=validate)

    loss = held_out_loss(training, validate, cast(Network, network))
    figures = measure(network, parts.get("test", parts["held_out"]), parts["text"], chosen.training.seed)
    data = {
        "train" if side == "text" else side: {"images": len(parts[side]), "from": name, "sha256": digest}
        for side, (name, digest) in digests.items()
    }
    return finish_run(run, folder, chosen, model, training, loss, figures, data=data)


def read_parts(
    recipe: ImageClassesRecipe, preprocessing: Preprocessing, say: Say = lambda line: None
) -> tuple[tuple[str, ...], dict[str, Labelled]]:
    """The names of the classes, and the images to train on (`text`), those held out and those to test on. DataError for
    images without a class, too few of them, or a test with other classes."""
    documents = read_fitted(recipe.data.images, preprocessing, "class", say)
    labels = tuple(sorted({one.text for one in documents}))
    if len(labels) < 2:
        raise DataError(
            f"all images of {recipe.data.images} are of one class, {labels[0]!r}; give a folder for each class, or a "
            "table with their names"
        )
    whole = _labelled(recipe.data.images, documents, labels)
    order = list(range(len(whole)))
    random.Random(recipe.training.seed).shuffle(order)
    count = max(1, round(recipe.data.held_out * len(order)))
    parts = {"held_out": whole.of(sorted(order[:count])), "text": whole.of(sorted(order[count:]))}
    if recipe.data.test is not None:
        parts["test"] = _labelled(recipe.data.test, read_fitted(recipe.data.test, preprocessing, "class", say), labels)
    check_a_batch(recipe.data.images, len(parts["text"]), recipe.training.rows)
    sizes = ", ".join(f"{'train' if side == 'text' else side} {len(part):,}" for side, part in parts.items())
    say(f"split          {sizes}; {len(labels)} classes")
    return labels, parts


def measure(network: ConvolutionalNetwork, test: Labelled, train_: Labelled, seed: int = 0) -> list[Measurement]:
    """The accuracy on images that were not trained on: of each as it is, and of six views of each, mirrored and moved
    by a pixel. Chance is the commonest class of the images to train on."""
    commonest = int(np.bincount(train_.classes).argmax())
    chance = float((test.classes == commonest).mean())
    with torch.inference_mode(), evaluating(network):
        scores = [_scores(network, pixels) for pixels in _batches(test)]
    found = []
    for name, way in (("accuracy", 0), ("accuracy by six views", 1)):
        told = torch.cat([each[way].argmax(1) for each in scores]).numpy()
        estimate = proportion(int((told == test.classes).sum()), len(test))
        found.append(
            Measurement(
                name=f"{name}, {test.name}",
                value=estimate.value,
                interval=estimate.interval,
                n=len(test),
                seeds=(seed,),
                chance=chance,
                ideal=1.0,
            )
        )
    return found


def _scores(
    network: ConvolutionalNetwork, pixels: Tensor
) -> tuple[Float[Tensor, "images labels"], Float[Tensor, "images labels"]]:
    """Of the images as they are, and of six views; those that are not moved count twice."""
    plain = network(pixels)
    total = 2 * (plain + network(pixels.flip(3)))
    for shift in ((1, 1), (-1, -1)):
        moved = shifted(pixels, torch.tensor([shift] * len(pixels)))
        total = total + network(moved) + network(moved.flip(3))
    return plain, total


def _batches(part: Labelled) -> list[Tensor]:
    rows = LabelledImages(part.images, part.classes, _normalise)
    return [rows.pixels(range(len(part))[start : start + AT_ONCE]) for start in range(0, len(part), AT_ONCE)]


def _labelled(name: str, documents: Sequence[Document], labels: Sequence[str]) -> Labelled:
    numbers = {label: number for number, label in enumerate(labels)}
    if foreign := Counter(one.text for one in documents if one.text not in numbers):
        (label, count), *_ = foreign.most_common(1)
        raise DataError(
            f"{name} holds {count:,} images of the class {label!r}, and none is in training; take them out, or train "
            "on some"
        )
    return Labelled(name, stacked(documents), np.array([numbers[one.text] for one in documents]))


def _normalise(pixels: Tensor) -> Tensor:
    mean, deviation = (torch.tensor(one).view(1, 3, 1, 1) for one in (MEAN, DEVIATION))
    return (pixels - mean) / deviation


def _rows(recipe: ImageClassesRecipe, part: Labelled) -> LabelledImages:
    data = recipe.data
    return LabelledImages(
        part.images, part.classes, _normalise, moved=data.moved, mirrored=data.mirrored, covered=data.covered
    )


def _validation(part: Labelled) -> Validate:
    """The loss of images that are not trained on, without smoothing."""
    classes = torch.from_numpy(part.classes)

    def validate(network: Network) -> float:
        with torch.inference_mode(), evaluating(network):
            scores = torch.cat([network(pixels) for pixels in _batches(part)])
        return float(torch.nn.functional.cross_entropy(scores, classes))

    return validate


def _plan(network: ConvolutionalNetwork, rows: LabelledImages) -> str:
    size = sum(one.numel() for one in network.parameters()) / 1e6
    return f"network        {size:.2f} M parameters; {len(rows):,} images to train on"
