"""A model that draws and describes images, from nothing: images with captions as rows of one vocabulary, a network, its
figures, saved.

    result = fuse("emoji-fusion", out="models/emoji-fusion")
    print(*result.measurements, sep="\\n")

What a run needs to be resumed lies in `<out>.run` until the model directory is complete.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lmworks.basics import progress
from lmworks.basics.amounts import counted
from lmworks.basics.arrays import Int
from lmworks.basics.errors import ConfigError
from lmworks.basics.files import directory_written_whole
from lmworks.drawing_model import DrawingModel
from lmworks.evaluation.measurement import Measurement
from lmworks.generation.image_spans import code_names
from lmworks.image_tokens import ImageTokens
from lmworks.jobs.fusion_recipe import FusionRecipe
from lmworks.jobs.pictures import apart, hashes, nats_a_token, picture_facts, read_pictures, row_losses, stacked
from lmworks.jobs.runs import RunResult, finish_run, held_out_loss, open_run, recipe_and_folder, resumable, start_run
from lmworks.loading import identity, load
from lmworks.models.network import Network, evaluating
from lmworks.models.precision import fast_dtype
from lmworks.objectives import CausalLM
from lmworks.text.document import Document
from lmworks.text.images.splits import ImageSplit, concept_of
from lmworks.tokens.captioned import moved
from lmworks.tokens.fused import FusedImages
from lmworks.tokens.labels import IGNORE
from lmworks.tokens.tokenizer import Tokenizer
from lmworks.tokens.trainer import train_tokenizer
from lmworks.tokens.vocabulary import make_special
from lmworks.training.loop import Validate, train

Say = Callable[[str], None]
TOKENIZER = "tokenizer"
CHANGE = 0.05
"""How far versions of an image are moved, turned and zoomed."""
AT_ONCE = 64
"""Rows that are read at once where they are measured."""


@resumable
def fuse(
    recipe: str | Path | FusionRecipe,
    out: str | os.PathLike[str] | None = None,
    *,
    changes: Sequence[str] = (),
    resume: bool = False,
    say: Say = lambda line: None,
) -> RunResult[FusionRecipe, DrawingModel]:
    """Train a model of captions and images from nothing and write a model directory to `out`, the tokenizer of images
    inside. The validation loss is in nats a token, of texts and images together, of concepts that were not trained on;
    what is measured are nats a token of held-out images after their caption and after another, of captions likewise.

    Raises LmworksError with one sentence; Stopped when it was interrupted, after saving what `resume` needs.
    """
    chosen, folder = recipe_and_folder(FusionRecipe, recipe, changes, out)
    started = time.time()
    images = image_tokens_of(chosen)
    run = open_run(folder, chosen, resume, say, chosen.image_tokens)
    parts = read_pictures(chosen.data, images.preprocessing, chosen.training.rows, say, captions=True)
    known = hashes(chosen.data.images, parts) | {"written_by": (chosen.image_tokens, identity(chosen.image_tokens))}
    start_run(run, chosen, known, resume, started)

    tokenizer = _tokenizer(chosen, images, parts, run, resume)
    config = chosen.model.network(tokenizer.vocab_size)
    network = Network(config).initialise(chosen.training.seed, "zero-output").to(fast_dtype())
    model = DrawingModel(network, tokenizer)
    model.take_images(images)
    rows = rows_of(chosen, model, parts.train, changed=True)
    say(_plan(network, rows))
    held_out = {first: rows_of(chosen, model, parts.held_out, first) for first in (False, True)}
    validate = _validation(held_out)
    training = train(network, CausalLM(), rows, chosen.training, run, resume=resume, validate=validate)

    loss = held_out_loss(training, validate, network)
    figures = measure(model, held_out, chosen.training.seed)
    described = {
        "data": picture_facts(chosen.data.images, parts),
        "tokenizer": {"vocab_size": tokenizer.vocab_size},
    }
    return finish_run(run, folder, chosen, model, training, loss, figures, **described)


def must_be_made(recipe: FusionRecipe) -> None:
    """ConfigError where what the recipe writes images by does not exist."""
    if not Path(recipe.image_tokens).exists():
        raise ConfigError(
            f"image_tokens: {recipe.image_tokens} does not exist; make it with lmworks train image-tokens, or name "
            "another directory"
        )


def image_tokens_of(recipe: FusionRecipe) -> ImageTokens:
    """What the recipe writes images by. ConfigError for a model of another kind."""
    must_be_made(recipe)
    images = load(recipe.image_tokens)
    if not isinstance(images, ImageTokens):
        raise ConfigError(
            f"image_tokens: {recipe.image_tokens} writes no images as tokens; give what lmworks train image-tokens made"
        )
    images.must_leave_room(recipe.model.context)
    return images


def rows_of(
    recipe: FusionRecipe,
    model: DrawingModel,
    documents: Sequence[Document],
    captioning: bool | None = None,
    changed: bool = False,
) -> FusedImages:
    """Rows of these images, in one of the two orders, or in both as the recipe says."""
    end = model.tokenizer.document_end
    assert end is not None  # the recipe asks for it
    shares = {True: (0.0, 1.0), False: (0.0, 0.0), None: (recipe.data.dropped, recipe.data.captioning)}
    dropped, first = shares[captioning]
    return FusedImages(
        documents,
        encoded_views(model.images, documents, recipe.data.views if changed else 1),
        lambda text: model.tokenizer.encode(text, special=False),
        model.spans.around,
        end,
        recipe.model.context,
        dropped=dropped,
        captioning=first,
        changed=changed,
    )


def encoded_views(
    images: ImageTokens, documents: Sequence[Document], views: int
) -> Int[np.ndarray, "views images places"]:
    """The codes of each image: as it is, mirrored, and moved, turned and zoomed a little in ever other ways."""
    pixels = torch.from_numpy(stacked(documents)).permute(0, 3, 1, 2)
    rows = []
    with progress.task("writing images as tokens", views * len(pixels), "images", stays=False) as advance:
        for view in range(views):
            for start in range(0, len(pixels), AT_ONCE):
                part = pixels[start : start + AT_ONCE].float() / 255
                if view == 1:
                    part = part.flip(3)
                if view > 1:
                    draws = [random.Random(f"{view}/{place}") for place in range(start, start + len(part))]
                    part = moved(part, draws, CHANGE)
                rows.append(images.codes_of(2 * part - 1))
                advance(len(part))
    return torch.cat(rows).view(views, len(pixels), -1).to(torch.int32).numpy()


def _tokenizer(recipe: FusionRecipe, images: ImageTokens, parts: ImageSplit, run: Path, resume: bool) -> Tokenizer:
    """A new one, of the captions to train on, and the tokens of images after it; a resumed run has it already."""
    folder = run / TOKENIZER
    if not (resume and folder.exists()):
        tokenizer = train_tokenizer(sorted({one.text for one in parts.train}), recipe.tokenizer)
        make_special(tokenizer.vocabulary.backend, code_names(images.config_of_images.codes))
        with directory_written_whole(folder) as temporary:
            Tokenizer(tokenizer.vocabulary).save(temporary)
    return Tokenizer.load(folder)


def _validation(held_out: dict[bool, FusedImages]) -> Validate:
    """The loss of rows of both orders that are not trained on."""
    objective = CausalLM()

    def validate(network: Network) -> float:
        total, count = 0.0, 0
        with torch.inference_mode(), evaluating(network):
            for rows in held_out.values():
                for part in _parts(len(rows)):
                    batch = rows.batch(part)
                    total, count = total + float(objective(network, batch).total), count + batch.supervised
        return total / count

    return validate


def measure(model: DrawingModel, held_out: dict[bool, FusedImages], seed: int = 0) -> list[Measurement]:
    """Nats a token of what is held out, with the interval over families: images after their own caption, after
    another's, and after none; captions after their own image and after another's."""
    figures = []
    for captioning, what, others in (
        (False, "image after its caption", "image after another caption"),
        (True, "caption after its image", "caption after another image"),
    ):
        rows = held_out[captioning]
        families = [concept_of(one) for one in rows.documents]
        shift = apart(families)
        for name, turn in ((what, 0), (others, shift)):
            figures.append(nats_a_token(name, _nats(model, rows, captioning, turn), families, seed))
    return figures


def _turned(values: Sequence[Any], by: int) -> list[Any]:
    return [*values[by:], *values[:by]]


@torch.inference_mode()
def _nats(model: DrawingModel, rows: FusedImages, captioning: bool, turn: int) -> list[float]:
    """The mean of each row over what comes second: the image's codes, or the caption; what comes first is the row's
    that stands `turn` places after it."""
    texts = [model.tokenizer.encode(one.text, special=False)[: rows.room] for one in rows.documents]
    images = [model.spans.around(codes) for codes in rows.codes[0].tolist()]
    before, after = (images, texts) if captioning else (texts, images)
    before, found = _turned(before, turn), list[float]()
    ends = model.start if captioning else []
    with evaluating(model.network):
        for part in _parts(len(texts)):
            whole = [[*model.start, *before[at], *after[at], *ends] for at in part]
            longest = max(map(len, whole))
            tokens = torch.tensor([row + [0] * (longest - len(row)) for row in whole])
            labels = torch.full_like(tokens, IGNORE)
            for row, at in enumerate(part):
                first = len(model.start) + len(before[at]) + (not captioning)  # the mark that opens an image is given
                labels[row, first - 1 : len(whole[row]) - 1] = tokens[row, first : len(whole[row])]
            found += row_losses(model.network(tokens), labels)
    return found


def _parts(count: int) -> Iterator[range]:
    for start in range(0, count, AT_ONCE):
        yield range(start, min(start + AT_ONCE, count))


def _plan(network: Network, rows: FusedImages) -> str:
    config, size = network.config, sum(one.numel() for one in network.parameters()) / 1e6
    return (
        f"network        {counted(config.layers, 'block')} x {config.dim}, vocabulary {config.vocab_size:,}: "
        f"{size:.2f} M parameters; {len(rows):,} images to train on, each in {len(rows.codes)} versions"
    )
