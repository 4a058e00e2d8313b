"""Images to draw from: read in the size that a network reads, those that cannot be used named, and split."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import UInt8

from lmworks.basics import progress
from lmworks.basics.errors import DataError
from lmworks.jobs.image_tokens_recipe import PictureSettings
from lmworks.models.vision.preprocessing import Preprocessing, pixels_of
from lmworks.text.document import Document
from lmworks.text.images.reading import Images
from lmworks.text.images.splits import ImageSplit, split_images

Say = Callable[[str], None]


def read_pictures(
    data: PictureSettings, preprocessing: Preprocessing, rows: int, say: Say = lambda line: None, captions: bool = False
) -> ImageSplit:
    """The images of a recipe as the network reads them, in bytes, split; with `captions`, those that have one.
    DataError where there are none, or less than a batch of `rows` to train on."""
    size = preprocessing.size
    images = Images(data.images, smallest=size if isinstance(size, int) else None)
    fit = preprocessing.but(mean=None, deviation=None, factor=1.0)
    documents, strips = list[Document](), 0
    with progress.task(f"reading {images.name}", unit="images") as advance:
        for one in images:
            advance(1)
            if one.image is None or (captions and not one.text):
                continue
            try:
                small = fit(pixels_of(one.image)).permute(1, 2, 0).byte().numpy()
            except DataError:
                strips += 1
                continue
            facts = one.metadata if one.text else {**one.metadata, "family": (one.source,)}
            documents.append(Document(one.text, one.source, metadata=facts, image=small))
    say(f"images         {images.summary()}" + (f"; {strips:,} strips left out" if strips else ""))
    if not documents:
        missing = "image with a caption" if captions else "image that can be read"
        raise DataError(
            f"{images.name} holds no {missing} ({images.summary()}); put images there"
            + (", and cat.txt beside cat.jpg, or a captions.jsonl with `file_name` and `text`" if captions else "")
        )
    parts = split_images(documents, data.held_out, data.unseen_style)
    if len(parts.train) < rows:
        raise DataError(
            f"{images.name} has {len(parts.train):,} images to train on, less than one batch of {rows}; give more, or "
            "lower training.rows"
        )
    held = "; ".join(f"{name} {sum(map(len, parts.unseen[name])):,}" for name in parts.unseen)
    say(f"split          train {len(parts.train):,} images; {held}")
    return parts


def stacked(documents: Sequence[Document]) -> UInt8[np.ndarray, "images size size 3"]:
    """Their pixels, in bytes."""
    return np.stack([one.image for one in documents if one.image is not None])
