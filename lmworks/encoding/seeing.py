"""From images to vectors and classes, and from texts to vectors that can be compared with those of images.

An image is a file's path, a Pillow image, or an array [height, width, 3] of bytes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lmworks.basics import progress
from lmworks.basics.arrays import Float
from lmworks.basics.errors import ConfigError, DataError
from lmworks.basics.files import regular
from lmworks.encoding.classifying import Told
from lmworks.models.network import evaluating
from lmworks.models.vision.preprocessing import Preprocessing
from lmworks.models.vision.towers import Towers
from lmworks.text.images.decoding import decode
from lmworks.text.plain import UnreadableError
from lmworks.tokens.source import around_a_text
from lmworks.tokens.tokenizer import Tokenizer

AT_ONCE = 64
"""Images or texts that a network reads at once."""
TEMPLATE = "a photo of a {}"
"""What a label is put into before CLIP reads it (Radford et al. 2021, section 3.1.4)."""

Image = Any
"""A path, a Pillow image, or an array [height, width, 3] of bytes."""


def as_list(images: Image | Sequence[Image]) -> list[Image]:
    """Several images, or one as a list of one."""
    return list(images) if isinstance(images, list | tuple) else [images]


def opened(image: Image) -> Any:
    """A file's pixels; what is in memory stays as it is. DataError for a path to no image that can be read."""
    if not isinstance(image, str | os.PathLike):
        return image
    if str(image).startswith(("http://", "https://")):
        raise DataError(f"{image} is an address, and nothing is fetched; save the image and give its file")
    path = Path(image)
    try:
        return decode(regular(path).read_bytes())
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise DataError(
            f"{str(image)!r} cannot be read as an image ({why}); give a file's path, a Pillow image, or an array "
            "[height, width, 3] of bytes"
        ) from None
    except UnreadableError as error:
        raise DataError(f"{path} cannot be read as an image: {error}") from None


def prepared(
    images: Sequence[Image], preprocessing: Preprocessing, device: torch.device, doing: str
) -> Iterator[Float[Tensor, "batch channels height width"]]:
    """The images as a network reads them, some at once; `doing` is what the progress says."""
    with progress.task(doing, len(images), "images") as advance:
        for start in range(0, len(images), AT_ONCE):
            part = images[start : start + AT_ONCE]
            yield torch.stack([preprocessing(opened(one)) for one in part]).to(device)
            advance(len(part))


@torch.inference_mode()
def embed_images(network: Any, preprocessing: Preprocessing, images: Sequence[Image]) -> Float[Tensor, "images width"]:
    """A vector of length 1 for each image, in float32: of CLIP's tower, else what the classifier reads."""
    if not images:
        return torch.zeros(0, vector_dim(network))
    with evaluating(network):
        rows = []
        for pixels in prepared(images, preprocessing, network.device, "embedding"):
            is_two = isinstance(network, Towers)
            rows.append(network.encode_images(pixels) if is_two else network.pooled(network.hidden(pixels)))
    return torch.nn.functional.normalize(torch.cat(rows).float(), dim=-1).cpu()


def vector_dim(network: Any) -> int:
    """Numbers of an image's vector."""
    return int(network.config.dim)


@torch.inference_mode()
def embed_texts(towers: Towers, tokenizer: Tokenizer, texts: Sequence[str], cut: bool = False) -> Tensor:
    """A vector of length 1 for each text, [texts, width] in float32, to be compared with those of images. DataError for
    a text that is longer than the model reads, unless it may be `cut`."""
    if not texts:
        return torch.zeros(0, towers.config.width)
    tokens = text_rows(towers, tokenizer, texts, cut)
    rows = []
    with evaluating(towers), progress.task("embedding", len(texts), "texts") as advance:
        for part in tokens.split(AT_ONCE):
            rows.append(towers.encode_texts(part.to(towers.device)))
            advance(len(part))
    return torch.nn.functional.normalize(torch.cat(rows).float(), dim=-1).cpu()


def text_rows(towers: Towers, tokenizer: Tokenizer, texts: Sequence[str], cut: bool = False) -> Tensor:
    """The ids of texts as the tower reads them, [texts, seq]: each with its end, and padding after it; to the tower's
    whole context where the last place counts."""
    config = towers.config
    before, after, room = _around(towers, tokenizer)
    rows = []
    for text, ids in zip(texts, tokenizer.encode_batch(list(texts), special=False), strict=True):
        if len(ids) > room and not cut:
            raise DataError(
                f"the text {text[:40]!r}... has {len(ids):,} tokens and the model reads {room:,}; shorten it, or give "
                "cut=True"
            )
        rows.append([*before, *ids[:room], *after])
    longest = config.context if config.text_end == "last" else max(map(len, rows))
    padding = tokenizer.pad if tokenizer.pad is not None else (after or before or [0])[-1]
    return torch.tensor([row + [padding] * (longest - len(row)) for row in rows])


def too_long(towers: Towers, tokenizer: Tokenizer, texts: Sequence[str]) -> int:
    """How many of these texts have more tokens than the tower reads, so that they lose their ends where they may be
    cut."""
    _, _, room = _around(towers, tokenizer)
    return sum(len(ids) > room for ids in tokenizer.encode_batch(list(texts), special=False))


def _around(towers: Towers, tokenizer: Tokenizer) -> tuple[list[int], list[int], int]:
    """The tokens before and after a text, and how many of its own fit between them."""
    config = towers.config
    before, after = around_a_text(tokenizer)
    if config.text_end in ("mean", "first"):  # an encoder of sentences reads what its own tokenizer adds, and no more
        before, after = list(tokenizer.prefix), list(tokenizer.suffix)
    if config.end_token is not None and config.end_token not in after:
        after = [config.end_token]
    before = [one for one in before if one != config.end_token]  # the first one stands for the text
    return before, after, config.context - len(before) - len(after)


@torch.inference_mode()
def tell_classes(network: Any, preprocessing: Preprocessing, images: Sequence[Image]) -> list[Told]:
    """The class of each image and the probability of every class, by the network's own classifier."""
    told: list[Told] = []
    with evaluating(network):
        for pixels in prepared(images, preprocessing, network.device, "classifying"):
            told += as_told(network(pixels).softmax(-1), network.config.labels)
    return told


def zero_shot(
    towers: Towers,
    tokenizer: Tokenizer,
    preprocessing: Preprocessing,
    images: Sequence[Image],
    labels: Sequence[str],
    template: str = TEMPLATE,
    cut: bool = False,
) -> list[Told]:
    """Which of these labels fits each image best. Of a CLIP the probabilities sum to 1; a SigLIP judges each label by
    itself. DataError for a label that is longer than the model reads, unless it may be `cut`."""
    if isinstance(labels, str) or not labels or not all(isinstance(one, str) and one for one in labels):
        raise ConfigError("labels is a list of words or phrases, such as ['a cat', 'a dog']; give at least one")
    if len(set(labels)) < len(labels):
        raise ConfigError("labels names a class twice; give each once")
    if "{}" not in template:
        raise ConfigError(f"the template {template!r} has no {{}} for the label to stand in")
    texts = embed_texts(towers, tokenizer, [template.replace("{}", one) for one in labels], cut)
    vectors = embed_images(towers, preprocessing, images)
    with torch.inference_mode():
        logits = towers.similarities(vectors.to(towers.device), texts.to(towers.device)).float().cpu()
    return as_told(logits.softmax(-1) if towers.bias is None else logits.sigmoid(), labels)


def as_told(probabilities: Float[Tensor, "images classes"], labels: Sequence[str]) -> list[Told]:
    """Each row's classes, the likeliest first."""
    return [
        Told({label: one for one, label in sorted(zip(row, labels, strict=True), key=lambda pair: -pair[0])})
        for row in probabilities.tolist()
    ]
