"""A language model that learns to read images: images with captions, a frozen model that sees, one that writes, and a
reader of images trained between them.

    result = caption("emoji-captions", out="models/emoji-captions")
    print(*result.measurements, sep="\\n")

What a run needs to be resumed lies in `<out>.run` until the model directory is complete.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lmworks.basics.errors import ConfigError
from lmworks.encoding.known_captions import KnownCaptions
from lmworks.evaluation.measurement import Measurement
from lmworks.jobs.captions_recipe import CaptionsRecipe
from lmworks.jobs.pictures import (
    apart,
    efficientnet_of,
    hashes,
    nats_a_token,
    normaliser,
    picture_facts,
    read_pictures,
    row_losses,
    square,
    tell_cut,
    without_classifier,
)
from lmworks.jobs.runs import RunResult, finish_run, held_out_loss, open_run, recipe_and_folder, resumable, start_run
from lmworks.loading import fingerprint, identity, must_learn_text
from lmworks.models.files.references import lasting
from lmworks.models.image_reader import ImageLayers, ImageReader
from lmworks.models.network import Network, evaluating
from lmworks.models.precision import fast_dtype
from lmworks.models.vision.efficientnet import EfficientNet
from lmworks.objectives.captioning import Captioning
from lmworks.seeing_model import SeeingModel, before, must_take_images
from lmworks.text.document import Document
from lmworks.text.images.splits import ImageSplit, concept_of
from lmworks.tokens.said_images import SaidImages
from lmworks.training.by_hand.eight_bits import choose_products
from lmworks.training.loop import Validate, train
from lmworks.vision_model import VisionModel

Say = Callable[[str], None]
AT_ONCE = 64
"""Rows that are read at once where they are measured."""
MOST = 300
"""Held-out images that are measured, spread over all: a language model takes a while for each."""


@resumable
def caption(
    recipe: str | Path | CaptionsRecipe,
    out: str | os.PathLike[str] | None = None,
    *,
    changes: Sequence[str] = (),
    resume: bool = False,
    say: Say = lambda line: None,
) -> RunResult[CaptionsRecipe, SeeingModel]:
    """Train a reader of images before a language model and write its directory to `out`. The validation loss is in nats
    a token of the captions of images that were not trained on; what is measured are nats a token of such captions
    after their own image and after another.

    Raises LmworksError with one sentence; Stopped when it was interrupted, after saving what `resume` needs.
    """
    chosen, folder = recipe_and_folder(CaptionsRecipe, recipe, changes, out)
    started, sizes = time.time(), chosen.model
    must_learn_text(sizes.language_model)
    run = open_run(folder, chosen, resume, say, sizes.image_model, sizes.language_model)
    eye = eye_of(chosen)
    parts = read_pictures(chosen.data, eye.preprocessing, chosen.training.rows, say, captions=True)
    known = {name: (name, identity(name)) for name in (sizes.image_model, sizes.language_model)}
    start_run(run, chosen, hashes(chosen.data.images, parts) | known, resume, started)

    model = SeeingModel.load(sizes.language_model, dtype=fast_dtype())
    network = model.network.requires_grad_(False)
    must_take_images(network.config, sizes.language_model)
    _must_leave_room(chosen, model)
    layers = ImageLayers(eye.vector_dim, sizes.hidden, sizes.length, network.config.embedding_width, sizes.dropout)
    model.see_by(eye, ImageReader(layers, network.config.vocab_size), lasting(sizes.language_model))
    rows = rows_of(chosen, model, parts.train, chosen.data.change)
    assert rows.states is not None
    layers.begin(rows.states[0], float(network.embedding.weight.float().std()), chosen.training.seed)
    held_out = rows_of(chosen, model, _some(parts.held_out))
    say(_plan(layers, rows))
    cut = _cut(chosen, model, parts, say)
    objective, validate = Captioning(), _validation(held_out)
    settings = choose_products(chosen.training, network.config, network.dtype, adapter=True, compares=False)
    with _trained(network, layers):
        training = train(network, objective, rows, settings, run, resume=resume, validate=validate)
    loss = held_out_loss(training, validate, network)
    figures = measure(model, held_out, chosen.training.seed)
    layers.requires_grad_(False)
    if sizes.remembered:
        said = [one.text for one in rows.documents]
        model.known = KnownCaptions.of(layers.normal(rows.states[0]).numpy(), said, sizes.remembered)
    model.choose_runner()
    assert model.source is not None
    described: dict[str, Any] = {
        "base": {"reference": sizes.language_model, "sha256": fingerprint(model.source)},
        "data": {**picture_facts(chosen.data.images, parts), "cut": cut},
    }
    return finish_run(run, folder, chosen, model, training, loss, figures, **described)


def eye_of(recipe: CaptionsRecipe) -> VisionModel:
    """The model of images as it reads for a language model. ConfigError for one that is no EfficientNet."""
    known = efficientnet_of(recipe.model.image_model)
    seen = EfficientNet(known.seeing.config.but(labels=(), pooled_stages=recipe.model.image_stages))
    seen.load_state_dict(without_classifier(known))
    preprocessing = square(recipe.model.image_size, known)
    return VisionModel(seen.eval().requires_grad_(False), preprocessing, None, known.source, known.reference)


def rows_of(
    recipe: CaptionsRecipe, model: SeeingModel, documents: Sequence[Document], change: float = 0.0
) -> SaidImages:
    """Rows of these images, which the model of images has read."""
    tokenizer, reader, room = model.tokenizer, model.reader, recipe.model.context
    end = tokenizer.document_end
    if end is None:
        raise ConfigError(f"model.language_model: {recipe.model.language_model} has no token that ends a text")

    def around(text: str) -> list[int]:
        return [*tokenizer.encode(text, special=False)[: room - 1], end]

    first = [*before(model), *range(reader.vocabulary, reader.vocabulary + reader.layers.length)]
    rows = SaidImages(documents, around, first, normaliser(model.eye.preprocessing), change=change)
    seen = model.eye.seeing

    def read(pixels: Tensor) -> Tensor:
        with torch.inference_mode():
            found: Tensor = seen.pooled(seen.hidden(pixels))
        return found.clone()

    rows.read_ahead(read, recipe.training.seed)
    return rows


def _cut(recipe: CaptionsRecipe, model: SeeingModel, parts: ImageSplit, say: Say) -> dict[str, int]:
    """How many captions of each part are longer than what is learnt of them; says so where there are any."""
    sides, room = {"train": parts.train, "held_out": parts.held_out}, recipe.model.context - 1
    cut = {
        name: sum(len(ids) > room for ids in model.tokenizer.encode_batch([one.text for one in part], special=False))
        for name, part in sides.items()
    }
    tell_cut(cut, sides, f"captions longer than model.context = {recipe.model.context}", say)
    return cut


def _must_leave_room(recipe: CaptionsRecipe, model: SeeingModel) -> None:
    needed = len(before(model)) + recipe.model.length + recipe.model.context
    if needed > model.longest:
        raise ConfigError(
            f"an image and its caption have up to {needed:,} tokens, and {recipe.model.language_model} reads "
            f"{model.longest:,}; make model.length or model.context smaller"
        )


def _some(documents: Sequence[Document]) -> list[Document]:
    return [documents[at] for at in np.linspace(0, len(documents) - 1, min(MOST, len(documents))).astype(int)]


@contextmanager
def _trained(network: Network, layers: ImageLayers) -> Any:
    """The layers as a part of the network, for as long as it is trained."""
    network.add_module("image_layers", layers)
    try:
        yield
    finally:
        del network.image_layers
        layers.eval()


def _validation(held_out: SaidImages) -> Validate:
    """The loss of captions that are not trained on."""
    objective = Captioning()

    def validate(network: Network) -> float:
        total, count = 0.0, 0
        with torch.inference_mode(), evaluating(network):
            for start in range(0, len(held_out), AT_ONCE):
                batch = held_out.batch(range(start, min(start + AT_ONCE, len(held_out))))
                total, count = total + float(objective(network, batch).total), count + batch.supervised
        return total / count

    return validate


def measure(model: SeeingModel, rows: SaidImages, seed: int = 0) -> list[Measurement]:
    """Nats a token of captions after their own image and after another's, and what their own saves, with intervals over
    families: where that is a tie, the model does not look."""
    families = [concept_of(one) for one in rows.documents]
    own, others = (np.array(_nats(model, rows, turn)) for turn in (0, apart(families)))
    return [
        nats_a_token("caption after its image", own, families, seed),
        nats_a_token("caption after another image", others, families, seed),
        nats_a_token("what its own image saves", others - own, families, seed, difference=True),
    ]


@torch.inference_mode()
def _nats(model: SeeingModel, rows: SaidImages, turn: int) -> list[float]:
    """The mean of each caption after the image that stands `turn` places after its own."""
    network, reader, found = model.network, model.reader, list[float]()
    with evaluating(network):
        for start in range(0, len(rows), AT_ONCE):
            at = range(start, min(start + AT_ONCE, len(rows)))
            batch, states = rows.apart(at), rows.states_of([(place + turn) % len(rows) for place in at])
            assert states is not None
            with reader.showing(states):
                logits = network(reader.numbered(batch.tokens), documents=batch.documents)
            found += row_losses(logits, batch.labels)
    return found


def _plan(layers: ImageLayers, rows: SaidImages) -> str:
    size = sum(one.numel() for one in layers.parameters()) / 1e6
    return (
        f"reader         {layers.length} vectors of {layers.dim} for an image: {size:.2f} M parameters are trained, "
        f"the two models around them stay; {len(rows):,} images to train on"
    )
