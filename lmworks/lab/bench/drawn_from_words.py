"""A model that draws what words say, and a judge of its drawings that it has nothing in common with: for claim 34.

data = WordsAndImages.read("emoji", vocabulary=1024, steps=300, unseen_style="openmoji")
shown, judge = one_of_each_family(data), judge_of("emoji:openmoji", "minilm", steps=300)
network = learnt(data.network(seed=1, dim=96), data.pairs(), steps=700, rate=0.02, seed=1)
fitting(judge, drawn(data, network, shown, seed=1), shown)       # of each drawing, how many other captions fit worse
fitting(judge, back(data, shown), shown)                         # the ceiling: real ones, back from their tokens
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from lmworks.basics.arrays import UInt8
from lmworks.drawing_model import GUIDANCE, USUAL
from lmworks.generation.drawing import draw
from lmworks.generation.image_spans import ImageSpans
from lmworks.image_tokens import ImageTokens
from lmworks.jobs.contrast import contrast
from lmworks.jobs.contrast_recipe import ContrastRecipe
from lmworks.lab.bench.words_and_images import Pictured, WordsAndImages
from lmworks.models.network import Network
from lmworks.models.torch_runner import TorchRunner
from lmworks.vision_model import VisionModel

Pixels = UInt8[np.ndarray, "images height width 3"]


def one_of_each_family(data: WordsAndImages) -> list[Pictured]:
    """A held-out image of each family; now one of its first style, now one of its last."""
    by_family: dict[str, list[Pictured]] = {}
    for one in data.held_out:
        by_family.setdefault(one.family, []).append(one)
    return [images[at % len(images)] for at, images in enumerate(by_family.values())]


def drawn(data: WordsAndImages, network: Network, shown: Sequence[Pictured], seed: int) -> Pixels:
    """What the network draws of the captions, each once."""
    spans = _spans(data)
    prompts = [[*one.captions, spans.opens] for one in shown]
    seeds = [seed * len(shown) + at for at in range(len(shown))]
    codes = draw(TorchRunner(network), prompts, [spans.opens], spans, USUAL, seeds, GUIDANCE)
    return _reader(data).pixels(torch.from_numpy(codes))


def back(data: WordsAndImages, shown: Sequence[Pictured]) -> Pixels:
    """The real images, as their tokens bring them back."""
    first = _spans(data).first
    return _reader(data).pixels(torch.tensor([one.images[1:] for one in shown]) - first)


def judge_of(pictures: str, sentences: str | None, steps: int) -> VisionModel:
    """A CLIP of these images at the drawings' size, convolutions and a model of `sentences` that stays as it is; its
    seed is none of the counted ones, and next to none of its concepts are held out."""
    tables = {
        "data": {"images": pictures, "held_out": 0.05},
        "model": {"image_size": 16, "widths": (32, 64, 128), "text_model": sentences, "context": 24, "width": 128},
        "training": {
            **{"rows": 64, "steps": steps, "optimiser": "muon", "learning_rate": 0.02, "seed": 0},
            **{"embedding_learning_rate": 3e-3, "schedule": "linear", "final": 0.0},
        },
    }
    with tempfile.TemporaryDirectory() as folder:
        return contrast(ContrastRecipe.model_validate(tables), Path(folder) / "judge").model


def fitting(judge: VisionModel, images: Pixels, shown: Sequence[Pictured]) -> list[float]:
    """For each image the share of the captions of other families that are further from it than its own; one that is as
    near counts half."""
    similar = (judge.embed(images=list(images)) @ judge.embed([one.text for one in shown], cut=True).T).double()
    own, families = similar.diagonal()[:, None], np.array([one.family for one in shown])
    worse = (similar < own).double() + (similar == own).double() / 2
    others = torch.from_numpy(families[:, None] != families[None, :])
    return ((worse * others).sum(dim=1) / others.sum(dim=1)).tolist()


def of_another(shown: Sequence[Pictured]) -> list[int]:
    """The place of another image for each, half of the list away."""
    half = len(shown) // 2
    return [(at + half) % len(shown) for at in range(len(shown))]


def _spans(data: WordsAndImages) -> ImageSpans:
    """The marks and codes of images in the vocabulary."""
    images = _reader(data).config_of_images
    first = data.labels[0] - images.codes
    return ImageSpans(first - 1, first - 1, first, images.codes, images.places)


def _reader(data: WordsAndImages) -> ImageTokens:
    assert data.reader is not None
    return data.reader
