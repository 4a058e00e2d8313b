"""A tokenizer of images from nothing: read images, hold concepts out, train encoder and decoder, measure, save.

    result = train_image_tokens("image-tokens", out="models/image-tokens")
    print(*result.measurements, sep="\\n")

What a run needs to be resumed lies in `<out>.run` until the model directory is complete.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from lmworks.basics import progress
from lmworks.basics.arrays import Float, UInt8
from lmworks.evaluation.measurement import Measurement
from lmworks.evaluation.statistics import clustered_mean
from lmworks.image_tokens import DEVIATION, MEAN, ImageTokens, preprocessing_for
from lmworks.jobs.image_tokens_recipe import ImageTokensRecipe
from lmworks.jobs.pictures import hashes, picture_facts, read_pictures, stacked
from lmworks.jobs.runs import RunResult, finish_run, held_out_loss, open_run, recipe_and_folder, resumable, start_run
from lmworks.models.network import Network, evaluating
from lmworks.models.vision.image_tokens import ImageTokenizer
from lmworks.objectives import Reconstruction
from lmworks.text.document import Document
from lmworks.text.images.splits import ImageSplit, concept_of
from lmworks.tokens.labelled import LabelledImages
from lmworks.training.loop import Validate, train

Say = Callable[[str], None]
AT_ONCE = 256
"""Images read at once while they are measured."""
FAINTEST = 1e-6
"""Smaller squared errors count as this one, so that no image has infinite decibels."""


@resumable
def train_image_tokens(
    recipe: str | Path | ImageTokensRecipe,
    out: str | os.PathLike[str] | None = None,
    *,
    changes: Sequence[str] = (),
    resume: bool = False,
    say: Say = lambda line: None,
) -> RunResult[ImageTokensRecipe, ImageTokens]:
    """Train a tokenizer of images from nothing and write a model directory to `out`. The validation loss is the mean
    squared error of the pixels, from -1 to 1, of held-out images; what is measured is how near those come back, beside
    the mean image, and the share of the tokens in use.

    Raises LmworksError with one sentence; Stopped when it was interrupted, after saving what `resume` needs.
    """
    chosen, folder = recipe_and_folder(ImageTokensRecipe, recipe, changes, out)
    started = time.time()
    run = open_run(folder, chosen, resume, say)
    preprocessing = preprocessing_for(chosen.model)
    parts = read_pictures(chosen.data, preprocessing, chosen.training.rows, say)
    start_run(run, chosen, hashes(chosen.data.images, parts), resume, started)

    network = ImageTokenizer(chosen.model).initialise(chosen.training.seed)
    rows = _rows(parts.train, chosen.data.moved, chosen.data.mirrored)
    say(_plan(network, rows))
    validate = _validation(parts.held_out)
    training = train(
        cast(Network, network), Reconstruction(), rows, chosen.training, run, resume=resume, validate=validate
    )
    loss = held_out_loss(training, validate, cast(Network, network))
    model = ImageTokens(network, preprocessing)
    figures = measure(model, parts, chosen.training.seed)
    data = picture_facts(chosen.data.images, parts)
    return finish_run(run, folder, chosen, model, training, loss, figures, data=data)


def measure(model: ImageTokens, parts: ImageSplit, seed: int = 0) -> list[Measurement]:
    """How near the images come back that are held out (of each style that is seen, and of one that is not), beside the
    mean image of those trained on, and the share of the tokens that they use."""
    mean = stacked(parts.train).mean(axis=0)
    figures, used = [], set[int]()
    for name, sets in parts.unseen.items():
        documents = [one for part in sets for one in part]
        if not documents:
            continue
        images = stacked(documents)
        codes = model.encode(list(images))
        used |= set(codes.unique().tolist())
        blind = _decibels(images, np.broadcast_to(mean, images.shape))
        families = [concept_of(one) for one in documents]
        for what, reached, level in (
            (f"PSNR, {name}", _decibels(images, model.pixels(codes)), float(blind.mean())),
            (f"PSNR of the mean image, {name}", blind, None),
        ):
            estimate = clustered_mean(reached, families)
            figures.append(
                Measurement(
                    name=what,
                    value=estimate.value,
                    unit="dB",
                    interval=estimate.interval,
                    n=len(documents),
                    seeds=(seed,),
                    chance=level,
                )
            )
    share = len(used) / model.config_of_images.codes
    n = model.config_of_images.codes
    return [*figures, Measurement(name="share of the tokens in use", value=share, n=n, seeds=(seed,), ideal=1.0)]


def _decibels(
    images: UInt8[np.ndarray, "images height width 3"], others: Float[np.ndarray, "images height width 3"] | Any
) -> Float[np.ndarray, " images"]:
    """The peak signal-to-noise ratio of each."""
    errors = ((images.astype(np.float64) - others) / 255) ** 2
    return -10 * np.log10(np.maximum(errors.reshape(len(images), -1).mean(axis=1), FAINTEST))


def _rows(documents: Sequence[Document], moved: int = 0, mirrored: bool = False) -> LabelledImages:
    none = np.zeros(len(documents), np.int64)
    return LabelledImages(stacked(documents), none, _normalise, moved=moved, mirrored=mirrored)


def _normalise(pixels: Tensor) -> Tensor:
    mean, deviation = (torch.tensor(one).view(1, 3, 1, 1) for one in (MEAN, DEVIATION))
    return (pixels - mean) / deviation


def _validation(documents: Sequence[Document]) -> Validate:
    """The loss of images that are not trained on."""
    rows, objective = _rows(documents), Reconstruction()

    def validate(network: Network) -> float:
        places = range(len(rows))
        with torch.inference_mode(), evaluating(network), progress.hidden():
            parts = (places[start : start + AT_ONCE] for start in range(0, len(rows), AT_ONCE))
            return float(sum(objective(network, rows.batch(part)).total for part in parts)) / len(rows)

    return validate


def _plan(network: ImageTokenizer, rows: LabelledImages) -> str:
    config, size = network.config, sum(one.numel() for one in network.parameters()) / 1e6
    return (
        f"network        {size:.2f} M parameters; an image becomes {config.grid} x {config.grid} of {config.codes:,} "
        f"tokens; {len(rows):,} images to train on"
    )
