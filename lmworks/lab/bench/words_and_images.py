"""Captions and images as tokens of one vocabulary: rows for a network of both, of one kind, or of what images show.

    both = WordsAndImages.read("emoji", vocabulary=512, steps=300)
    network = learnt(both.network(seed=1, dim=96), both.pairs(), steps=400, rate=3e-3, seed=1)
    both.nats(network, "captions", given=True)    # of each held-out family, nats a token of captions after their images

Images of 16 x 16 pixels become 16 tokens each, by a tokenizer of images that is trained once, on those that are not
held out.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, Self

import torch
from torch.nn.functional import cross_entropy

from lmworks.basics.errors import DataError
from lmworks.image_tokens import ImageTokens
from lmworks.jobs.image_tokens import train_image_tokens
from lmworks.jobs.image_tokens_recipe import ImageTokensRecipe
from lmworks.jobs.pictures import read_pictures, stacked
from lmworks.lab.bench.continuations import summed
from lmworks.lab.bench.small_network import small_network
from lmworks.lab.bench.training import fit
from lmworks.models.network import Network
from lmworks.objectives import CausalLM
from lmworks.text.document import Document
from lmworks.text.images.splits import concept_of
from lmworks.tokens.batch import Example, Row, stack
from lmworks.tokens.labels import IGNORE
from lmworks.tokens.trainer import TokenizerConfig, train_tokenizer
from lmworks.training.settings import TrainingConfig

Kind = Literal["captions", "images"]
WORDS = 14
"""Tokens of a caption; longer ones are cut. With an image of 16 tokens and two marks a row has 32, and no padding."""
AT_ONCE, CONTEXT = 256, 32


@dataclass(frozen=True)
class Pictured:
    """An image and what is said of it, as tokens: a mark that says what comes, and then it."""

    captions: list[int]
    images: list[int]
    label: int
    """The token of what kind of thing it shows."""
    family: str
    """Siblings have the same."""
    text: str = ""
    """What is said of it."""

    def of(self, kind: Kind) -> list[int]:
        """Its tokens of a kind."""
        return self.captions if kind == "captions" else self.images


@dataclass(frozen=True)
class WordsAndImages:
    """Images with captions, families apart."""

    train: list[Pictured]
    held_out: list[Pictured]
    size: int
    """Of the vocabulary: words, codes, labels and two marks."""
    labels: list[int]
    reader: ImageTokens | None = None
    """What wrote the images as tokens, and draws them again."""

    @classmethod
    def read(cls, pictures: str, vocabulary: int, steps: int, unseen_style: str | None = None) -> Self:
        """The images of a reference that have captions, a fifth of the families held out and all of an `unseen_style`.
        DataError where all show one kind of thing."""
        recipe = _recipe(pictures, steps, unseen_style)
        with tempfile.TemporaryDirectory() as folder:
            images = train_image_tokens(recipe, Path(folder) / "tokens").model
        parts = read_pictures(recipe.data, images.preprocessing, recipe.training.rows, captions=True)
        sizes = TokenizerConfig(kind="bpe", vocab_size=vocabulary)
        tokenizer = train_tokenizer(sorted({one.text for one in parts.train}), sizes)
        words = tokenizer.vocab_size
        marks, codes = (words, words + 1), words + 2
        labels = sorted({label_of(one) for one in parts.train})
        if len(labels) < 2:
            raise DataError(f"the images of {pictures} show one kind of thing; give some of several groups or folders")
        first_label = codes + images.config_of_images.codes
        numbers = {label: first_label + at for at, label in enumerate(labels)}
        train, held_out = (
            [
                Pictured(
                    [marks[0], *tokenizer.encode(one.text, special=False)[:WORDS]],
                    [marks[1], *(codes + code for code in row)],
                    numbers[label_of(one)],
                    concept_of(one),
                    one.text,
                )
                for one, row in zip(side, images.encode(list(stacked(side))).tolist(), strict=True)
                if label_of(one) in numbers
            ]
            for side in (parts.train, parts.held_out)
        )
        return cls(train, held_out, first_label + len(labels), sorted(numbers.values()), images)

    def network(self, seed: int, dim: int, normed: bool = True) -> Network:
        """A decoder of three blocks with fresh weights, queries and keys normed or as they are."""
        return small_network(seed, dim=dim, layers=3, heads=4, context=CONTEXT, vocab_size=self.size, qk_norm=normed)

    def pairs(self) -> list[Row]:
        """Each image twice: after its caption, and before it."""
        return [
            _row(tokens) for one in self.train for tokens in ((one.captions, one.images), (one.images, one.captions))
        ]

    def alone(self, kind: Kind) -> list[Row]:
        """Each caption, or each image, with nothing else; the other half of `pairs` again."""
        return [_row((one.of(kind),)) for one in self.train for _ in range(2)]

    def labelled(self, count: int, seed: int) -> list[Row]:
        """As many images, drawn by the seed, each with its label after it, which alone is to be predicted; the same
        number of each label as far as there are as many."""
        draw, rows = random.Random(seed), list[Row]()
        each = {label: [one for one in self.train if one.label == label] for label in self.labels}
        for images in each.values():
            draw.shuffle(images)
        while len(rows) < count and any(each.values()):
            for label in self.labels:
                if each[label] and len(rows) < count:
                    tokens = [*each[label].pop().images, label]
                    rows.append((Example(tokens, [False] * (len(tokens) - 1) + [True], "labelled"),))
        return rows

    @torch.inference_mode()
    def nats(self, network: Network, kind: Kind, given: bool) -> list[list[float]]:
        """Of each held-out family, the sum and the number of nats a token of its captions or images: after the other
        kind where that is `given`, else after nothing."""
        found = list[float]()
        for part in _parts(self.held_out):
            before = [one.of("images" if kind == "captions" else "captions") if given else [] for one in part]
            whole = stack([_row((first, one.of(kind))) for first, one in zip(before, part, strict=True)])
            labels = whole.labels.clone()
            for row, first in enumerate(before):
                labels[row, : len(first)] = IGNORE
            logits = network(whole.tokens)
            losses = cross_entropy(logits.transpose(1, 2), labels, ignore_index=IGNORE, reduction="none")
            found += (losses.sum(1) / (labels != IGNORE).sum(1)).tolist()
        return summed([[one, 1.0] for one in found], self._families)

    @torch.inference_mode()
    def told(self, network: Network) -> list[list[float]]:
        """Of each held-out family, how many images have their label as the likeliest of all, and how many there are."""
        found = list[float]()
        for part in _parts(self.held_out):
            best = network(torch.tensor([one.images for one in part]))[:, -1, self.labels].argmax(-1).tolist()
            found += [float(self.labels[at] == one.label) for at, one in zip(best, part, strict=True)]
        return summed([[one, 1.0] for one in found], self._families)

    @property
    def families(self) -> list[str]:
        """The held-out ones, each once: the items of what is measured."""
        return list(dict.fromkeys(self._families))

    @property
    def chance(self) -> list[list[float]]:
        """What `told` gives of a guess at the commonest label of those to learn from."""
        learnt = [one.label for one in self.train]
        commonest = max(self.labels, key=learnt.count)
        return summed([[float(one.label == commonest), 1.0] for one in self.held_out], self._families)

    @property
    def _families(self) -> list[str]:
        return [one.family for one in self.held_out]


def learnt(network: Network, rows: Sequence[Row], steps: int, rate: float, seed: int) -> Network:
    """The network, trained in place to predict what is to be predicted in the rows."""
    tables = {"optimiser": "muon", "learning_rate": rate, "embedding_learning_rate": 3e-3, "schedule": "linear"}
    sizes = {"context": CONTEXT, "steps": steps, "rows": 32, "warmup": 0.03, "final": 0.0, "seed": seed}
    fit(network, CausalLM(), rows, TrainingConfig.model_validate(tables | sizes))
    return network


def label_of(document: Document) -> str:
    """What kind of thing an image shows: the group of an emoji, or the name of the folder that it lies in."""
    return next(iter(document.metadata.get("group", ())), PurePosixPath(document.source).parent.name)


def _recipe(pictures: str, steps: int, unseen_style: str | None) -> ImageTokensRecipe:
    """A small tokenizer of images with 200 tokens."""
    tables = {
        "data": {"images": pictures, "mirrored": True, "unseen_style": unseen_style},
        "model": {"image_size": 16, "levels": (8, 5, 5), "width": 48, "fine_width": 24},
        "training": {
            **{"rows": 16, "steps": steps, "optimiser": "muon", "learning_rate": 0.02},
            **{"embedding_learning_rate": 2e-3, "schedule": "linear", "final": 0.0},
        },
    }
    return ImageTokensRecipe.model_validate(tables)


def _row(parts: Iterable[list[int]]) -> Row:
    """Parts one after another; their marks are not to be predicted, as nothing says which kind comes."""
    tokens, supervised = list[int](), list[bool]()
    for part in parts:
        tokens += part
        supervised += [at > 0 for at in range(len(part))]
    return (Example(tokens, supervised, "image"),)


def _parts(held_out: Sequence[Pictured]) -> Iterable[Sequence[Pictured]]:
    return (held_out[start : start + AT_ONCE] for start in range(0, len(held_out), AT_ONCE))
