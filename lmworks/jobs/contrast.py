"""A CLIP from nothing: read images with captions, hold concepts and a style out, train two towers, measure, save.

    result = contrast("emoji-clip", out="models/emoji-clip")
    print(*result.measurements, sep="\\n")

What a run needs to be resumed lies in `<out>.run` until the model directory is complete.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from lmworks.basics import progress
from lmworks.basics.arguments import checked
from lmworks.basics.arrays import Float
from lmworks.basics.errors import ConfigError
from lmworks.basics.files import directory_written_whole
from lmworks.encoding.seeing import text_rows
from lmworks.evaluation.measurement import Measurement
from lmworks.evaluation.retrieval import retrieval
from lmworks.jobs.contrast_recipe import AROUND, ContrastRecipe
from lmworks.jobs.pictures import (
    efficientnet_of,
    hashes,
    normaliser,
    picture_facts,
    read_pictures,
    square,
    tell_cut,
    without_classifier,
)
from lmworks.jobs.runs import RunResult, finish_run, held_out_loss, open_run, recipe_and_folder, resumable, start_run
from lmworks.loading import identity, load
from lmworks.models import families
from lmworks.models.network import Network, evaluating
from lmworks.models.vision.config import as_model_config
from lmworks.models.vision.convolutional import WHITENED, ConvolutionalNetwork
from lmworks.models.vision.towers import Towers
from lmworks.objectives import InfoNCE, Sigmoid
from lmworks.objectives.contrast import Contrast
from lmworks.text.document import Document
from lmworks.text.images.splits import ImageSplit, concept_of
from lmworks.tokens.captioned import CaptionedImages
from lmworks.tokens.tokenizer import Tokenizer
from lmworks.tokens.trainer import train_tokenizer
from lmworks.tokens.vocabulary import add_around
from lmworks.training.loop import Validate, train
from lmworks.vision_model import VisionModel

Say = Callable[[str], None]
TOKENIZER = "tokenizer"
TOGETHER = 32
"""Captions that a tower which stays reads at once."""
MOST_CANDIDATES = 2_000
"""Images of a part that are searched among: the figure falls with their number, and so does the speed."""


@checked
@resumable
def contrast(
    recipe: str | Path | ContrastRecipe,
    out: str | os.PathLike[str] | None = None,
    *,
    changes: Sequence[str] = (),
    resume: bool = False,
    say: Say = lambda line: None,
) -> RunResult[ContrastRecipe, VisionModel]:
    """Train both towers from nothing and write a model directory to `out`. The validation loss is in nats a pair, of
    concepts that were not trained on (with two networks for images, the mean of theirs); what is measured is R@1 and
    R@5, both ways, for each way of being unseen.

    Raises LmworksError with one sentence; Stopped when it was interrupted, after saving what `resume` needs.
    """
    chosen, folder = recipe_and_folder(ContrastRecipe, recipe, changes, out)
    started = time.time()
    run = open_run(folder, chosen, resume, say, chosen.model.image_model, chosen.model.text_model)
    named = chosen.model.image_model
    known = None if named is None else efficientnet_of(named, ", or leave it out")
    preprocessing = square(chosen.model.image_size, known)
    parts = read_pictures(chosen.data, preprocessing, chosen.training.rows, say, captions=True)
    start_run(run, chosen, hashes(chosen.data.images, parts) | _identities(chosen), resume, started)
    towers, tokenizer = _towers(chosen, parts, run, resume, known)
    model = VisionModel(towers, preprocessing, tokenizer)
    rows = _rows(chosen, parts.train, model, changed=True)
    if known is not None:
        rows.read_ahead(towers.image_states, chosen.training.seed, _small(towers))
    convolutions = towers.beside or towers.image
    if isinstance(convolutions, ConvolutionalNetwork):
        convolutions.whiten(rows.at_epoch(0, chosen.training.seed).pixels_of(_some(len(rows), chosen.training.seed)))
    say(_plan(towers, rows))
    cut = _cut(model, parts, say)
    objective = Sigmoid() if chosen.objective.kind == "sigmoid" else InfoNCE()
    validate = _validation(chosen, parts, model, objective)
    texts_stay = chosen.model.text_model is not None and not chosen.model.text_trained
    with towers.texts_stay() if texts_stay else nullcontext():
        if texts_stay:
            _read_ahead(towers, rows, chosen.training.seed)
        training = train(cast(Network, towers), objective, rows, chosen.training, run, resume=resume, validate=validate)
        loss = held_out_loss(training, validate, cast(Network, towers))
        figures = measure(model, parts, chosen.training.seed)
    described = {
        "data": {**picture_facts(chosen.data.images, parts), "cut": cut},
        "tokenizer": {"vocab_size": tokenizer.vocab_size},
    }
    return finish_run(run, folder, chosen, model, training, loss, figures, **described)


def measure(model: VisionModel, parts: ImageSplit, seed: int = 0) -> list[Measurement]:
    """R@1 and R@5 of what was not seen, both ways."""
    figures = []
    for name, every in parts.unseen.items():
        sets = [part[:MOST_CANDIDATES] for part in every]
        if sets:
            captions = [[one.text for one in part] for part in sets]
            shown = [[concept_of(one) for one in part] for part in sets]
            similar = [_similar(model, part) for part in sets]
            figures += retrieval(name, similar, captions, shown, seeds=(seed,))
    return figures


def _cut(model: VisionModel, parts: ImageSplit, say: Say) -> dict[str, int]:
    """How many captions of each part are longer than the tower for texts reads, so that neither training nor figures
    know their ends; says so where there are any."""
    unseen = {name: [one for part in every for one in part[:MOST_CANDIDATES]] for name, every in parts.unseen.items()}
    sides = {"train": parts.train, **unseen}
    cut = {name: model.too_long([one.text for one in documents]) for name, documents in sides.items()}
    tell_cut(cut, sides, f"captions longer than the tower reads ({model.config.context} tokens)", say)
    return cut


def _similar(model: VisionModel, part: Sequence[Document]) -> Float[np.ndarray, "images texts"]:
    with progress.task("measuring", stays=False), progress.hidden():
        images = model.embed(images=[one.image for one in part])
        return (images @ model.embed([one.text for one in part], cut=True).T).numpy()


def _read_ahead(towers: Towers, rows: CaptionedImages, seed: int) -> None:
    """Let the tower for texts read all captions, those of a length together: a text's state differs in its last bits by
    what it is read with, and a run that is resumed meets texts in another order."""
    said = rows.sayings(seed)
    with torch.no_grad(), progress.task("reading captions", len(said), "captions") as advance:
        for start in range(0, len(said), TOGETHER):
            part = said[start : start + TOGETHER]
            towers.encode_texts(rows.encode(part))
            advance(len(part))


def _small(towers: Towers) -> int | None:
    """Pixels of a side of the images that are kept after a frozen tower has read them."""
    return None if towers.beside is None else towers.beside.config.image_size


def _some(count: int, seed: int) -> list[int]:
    """Rows, drawn, whose patches are whitened."""
    return random.Random(seed).sample(range(count), min(count, WHITENED))


def _identities(recipe: ContrastRecipe) -> dict[str, tuple[str, str]]:
    """Which models the towers are made of; a resumed run must find the same."""
    named = {"image_model": recipe.model.image_model, "text_model": recipe.model.text_model}
    return {side: (name, identity(name)) for side, name in named.items() if name is not None}


def _towers(
    recipe: ContrastRecipe, parts: ImageSplit, run: Path, resume: bool, known: VisionModel | None
) -> tuple[Towers, Tokenizer]:
    """Both towers, fresh but for the models of images and of texts that the recipe names, and the tokenizer."""
    sizes, seed = recipe.model, recipe.training.seed
    seen = None if known is None else known.seeing.config.but(labels=(), pooled_stages=sizes.image_stages)
    if sizes.text_model is None:
        tokenizer = _tokenizer(recipe, parts, run, resume)
        config = sizes.towers(tokenizer.vocab_size, tokenizer.suffix[-1], seen)
        families.family_of(config.family).config_to(as_model_config(config))  # what could not be saved is not trained
        return _with_weights(Towers(config).initialise(seed), known), tokenizer
    texts = load(sizes.text_model, dtype="float32", compress="none")
    pooling = None if isinstance(texts, VisionModel) or texts.network.config.causal else texts.pooling
    if pooling is None or pooling.mode not in ("mean", "first") or pooling.dense:
        raise ConfigError(
            f"model.text_model: {sizes.text_model} does not make vectors of texts by the mean of their states or the "
            "first of them alone; give minilm, or leave it out"
        )
    padding = texts.tokenizer.pad
    described = texts.network.config.but(dropout=sizes.dropout)
    config = sizes.around(described, seen, text_end=pooling.mode, pad_token=padding)
    towers = _with_weights(Towers(config).initialise(seed), known)
    towers.text.load_state_dict(texts.network.state_dict())
    towers.text.requires_grad_(sizes.text_trained)
    return towers, texts.tokenizer


def _with_weights(towers: Towers, known: VisionModel | None) -> Towers:
    """The towers with the pretrained tower for images copied in and frozen."""
    if known is not None:
        towers.image.load_state_dict(without_classifier(known))
        towers.image.requires_grad_(False)
    return towers


def _tokenizer(recipe: ContrastRecipe, parts: ImageSplit, run: Path, resume: bool) -> Tokenizer:
    """A new one, of the captions to train on; a resumed run has it already."""
    folder = run / TOKENIZER
    if not (resume and folder.exists()):
        captions = sorted({one.text for one in parts.train})
        tokenizer = train_tokenizer(captions, recipe.tokenizer)
        if tokenizer.bos is None or tokenizer.document_end is None:
            raise ConfigError(f"tokenizer.special_tokens: a text needs {' and '.join(AROUND)}; leave it out")
        add_around(tokenizer.vocabulary.backend, tokenizer.bos, tokenizer.document_end)
        with directory_written_whole(folder) as temporary:
            Tokenizer(tokenizer.vocabulary).save(temporary)
    return Tokenizer.load(folder)


def _rows(recipe: ContrastRecipe, documents: Sequence[Document], model: VisionModel, changed: bool) -> CaptionedImages:
    def encode(texts: list[str]) -> Tensor:
        return text_rows(model.seeing, model.tokenizer, texts, cut=True)

    return CaptionedImages(
        documents,
        encode,
        normaliser(model.preprocessing),
        change=recipe.data.change if changed else 0.0,
        negatives=recipe.objective.siblings_are_negatives,
    )


def _validation(recipe: ContrastRecipe, parts: ImageSplit, model: VisionModel, objective: Contrast) -> Validate:
    """The loss of pairs that are not trained on, in batches that are always the same."""
    rows = _rows(recipe, parts.held_out, model, changed=False)
    if recipe.model.image_model is not None:
        rows.read_ahead(model.seeing.image_states, recipe.training.seed, _small(model.seeing))
    batches = rows.order(min(recipe.training.rows, len(rows)), 0, 0)

    def validate(network: Network) -> float:
        with torch.inference_mode(), evaluating(network):
            losses = [objective(network, rows.batch(places)) for places in batches]
        return float(sum(one.total for one in losses)) / sum(one.count for one in losses)

    return validate


def _plan(towers: Towers, rows: CaptionedImages) -> str:
    sizes = (sum(one.numel() for one in part.parameters()) / 1e6 for part in (towers, towers.image, towers.text))
    whole, image, text = sizes
    said = {towers.image: f"{image:.2f} M for images", towers.text: f"{text:.2f} M for texts"}
    if towers.beside is not None:
        convolutions = sum(one.numel() for one in towers.beside.parameters()) / 1e6
        said[towers.beside] = f"{convolutions:.2f} M of convolutions beside"
    for part in said:
        said[part] += "" if any(one.requires_grad for one in part.parameters()) else " (which stay as they are)"
    groups = "" if rows.groups is None else f"; {len(rows.groups.unique()):,} families of captions"
    return (
        f"network        two towers: {whole:.2f} M parameters, {', '.join(said.values())}; "
        f"{len(rows):,} pairs to train on{groups}"
    )
