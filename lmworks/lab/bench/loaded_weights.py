"""What loaded weights reach at tasks of images with a linear map of their own: a ceiling for small models, claim 34.

    seeing = reads_at("efficientnet", 96)
    classes_by(seeing, photos, learnt=2000)                # 1 for each judged photo whose class is told
    found_by(seeing, load("minilm"), parts, learnt=2000)   # 1 for each image of an unseen concept found by its caption

Nothing is random, and the weights stay as they are: a ridge regression leads from what they make of an image to its
class, or to what a model of sentences makes of its caption.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from lmworks.basics.arrays import Float
from lmworks.evaluation.retrieval import found
from lmworks.jobs.pictures import efficientnet_of, square
from lmworks.lab.bench.kinds_of_models import Photos, same_captions
from lmworks.language_model import LanguageModel
from lmworks.text.document import Document
from lmworks.text.images.splits import UNSEEN_CONCEPTS, ImageSplit
from lmworks.vision_model import VisionModel

PENALTY = 0.1
"""Of the squared weights of features that have a deviation of 1."""


def reads_at(reference: str, size: int) -> VisionModel:
    """A model of photos that reads images of `size` pixels a side, larger or smaller ones resized."""
    model = efficientnet_of(reference)
    return VisionModel(model.seeing, square(size, model))


def classes_by(model: VisionModel, photos: Photos, learnt: int) -> list[float]:
    """For each judged photo, whether a ridge regression that learnt from as many photos tells its class."""
    count = len(photos.train)
    chosen = random.Random(0).sample(range(count), min(learnt, count))
    sides = (photos.train.images[chosen], photos.test.images)
    known, asked = (model.embed(images=list(one.permute(0, 2, 3, 1).numpy())) for one in sides)
    scores = ridge(known, one_hot(photos.train.classes[chosen], len(photos.names)).double(), asked)
    return (scores.argmax(dim=1) == photos.test.classes).double().tolist()


def found_by(model: VisionModel, sentences: LanguageModel, parts: ImageSplit, learnt: int) -> list[float]:
    """For each image of an unseen concept, style after style, whether it is nearest to its caption of all of its style,
    by a ridge regression from images to the captions' vectors that learnt from as many."""
    train = random.Random(0).sample(parts.train, min(learnt, len(parts.train)))
    texts = sorted({one.text for one in (*train, *parts.held_out)})
    vectors = dict(zip(texts, sentences.embed(texts, cut=True).double(), strict=True))

    def said(part: Sequence[Document]) -> Tensor:
        return torch.stack([vectors[one.text] for one in part])

    known = model.embed(images=[one.image for one in train])
    hits = list[float]()
    for part in parts.unseen[UNSEEN_CONCEPTS]:
        seen = ridge(known, said(train), model.embed(images=[one.image for one in part]))
        hits += found((said(part) @ normalize(seen, dim=1).T).numpy(), same_captions(part), 1).tolist()
    return hits


def ridge(
    known: Float[Tensor, "rows dim"], wanted: Float[Tensor, "rows outputs"], asked: Float[Tensor, "others dim"]
) -> Float[Tensor, "others outputs"]:
    """What a ridge regression makes of the rows that are asked about; what is wanted counts around its mean."""
    middle, scale = known.double().mean(dim=0), known.double().std(dim=0) + 1e-6
    x, others = (known.double() - middle) / scale, (asked.double() - middle) / scale
    mean = wanted.mean(dim=0)
    gram = x.T @ x + PENALTY * len(x) * torch.eye(x.shape[1], dtype=torch.float64)
    return others @ torch.linalg.solve(gram, x.T @ (wanted - mean)) + mean
