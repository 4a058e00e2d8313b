"""Small networks that read real prose from both sides or from the left, pretrained in a minute: what claims 7, 9 and 11 compare.

text = prose(("brown",), ("sst2-train",), vocabulary=4096)
network = small_encoder(text.tokenizer, seed=1)
fit(network, MaskedLM.of(text.tokenizer), Passages(text.train, text.tokenizer, 64), TrainingConfig(steps=600))
features = frozen(network, text.tokenizer, sentences)
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lmworks.generation.embedding import Pooling, embed
from lmworks.models.config import ModelConfig
from lmworks.models.network import Network
from lmworks.text.document import Document
from lmworks.text.sources import read
from lmworks.text.splits import split
from lmworks.tokens.sentence_pairs import Sentences, write_sentences
from lmworks.tokens.tokenizer import Tokenizer
from lmworks.tokens.trainer import TokenizerConfig, train_tokenizer

MEAN = Pooling(mode="mean", normalise=False)


@dataclass(frozen=True)
class Prose:
    """A text in sentences, in lower case, with a WordPiece tokenizer of its own; a tenth of its documents is held out."""

    tokenizer: Tokenizer
    train: Sentences
    held_out: Sentences


def prose(references: Sequence[str], more: Sequence[str] = (), vocabulary: int = 4096) -> Prose:
    """Read data references, a part of each held out; `more` is trained on whole: sentences of a task, without their labels."""
    sides = split([_lower(one) for reference in references for one in read(reference).documents], 0.1)
    train = [*sides.train, *(_lower(one) for reference in more for one in read(reference).documents)]
    tokenizer = train_tokenizer(
        (one.text for one in train), TokenizerConfig(kind="wordpiece", vocab_size=vocabulary), "prose"
    )
    with tempfile.TemporaryDirectory() as folder:
        return Prose(
            tokenizer,
            write_sentences(train, tokenizer, Path(folder, "train.safetensors")),
            write_sentences(sides.held_out, tokenizer, Path(folder, "held_out.safetensors")),
        )


def _lower(document: Document) -> Document:
    text = document.text if document.messages is None else document.messages[0]["content"]
    return Document(text.lower(), document.source)


def small_network(tokenizer: Tokenizer, seed: int, arrangement: str, **settings: Any) -> Network:
    """Fresh weights by seed: the same pre-norm blocks with rotary positions, whose tokens see all (encoder) or those before
    them (decoder)."""
    shape = {"dim": 128, "layers": 2, "heads": 2, "context": 64, "dropout": 0.0}
    config = ModelConfig(
        **(shape | settings), family="lmworks", arrangement=arrangement, vocab_size=tokenizer.vocab_size
    )
    return Network(config).initialise(seed)


@dataclass(frozen=True)
class Labelled:
    """Sentences with their classes, in parts: to learn from, to choose by, to judge by."""

    parts: dict[str, tuple[list[str], Int[Tensor, " sentences"]]]

    @property
    def chance(self) -> float:
        """The accuracy of always giving the most frequent class of the judged sentences."""
        classes = self.parts["test"][1]
        return float(classes.bincount().max()) / len(classes)


def sst2() -> Labelled:
    """SST-2: sentences of film reviews, 1 for praise and 0 for blame."""
    parts = {}
    for part in ("train", "dev", "test"):
        pairs = [
            (one.messages[0]["content"], one.messages[1]["content"])
            for one in read(f"sst2-{part}").documents
            if one.messages
        ]
        parts[part] = ([text.lower() for text, _ in pairs], torch.tensor([int(label) for _, label in pairs]))
    return Labelled(parts)


def frozen(network: Network, tokenizer: Tokenizer, texts: Sequence[str]) -> Float[Tensor, "texts dim"]:
    """The mean over the last states of each text; a longer one loses its end."""
    return embed(network, tokenizer, texts, MEAN, cut=True)


def probe(
    features: Float[Tensor, "texts dim"], classes: Int[Tensor, " texts"], penalty: float
) -> tuple[Float[Tensor, "classes dim"], Float[Tensor, " classes"]]:
    """Logistic regression: weights and biases that minimise the mean cross-entropy plus penalty / 2 times the weights'
    squares."""
    count = int(classes.max()) + 1
    x = features.double()
    weights = torch.zeros(count, x.shape[1], dtype=torch.float64, requires_grad=True)
    biases = torch.zeros(count, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights, biases], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(x @ weights.T + biases, classes)
        loss = loss + penalty / 2 * weights.square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimiser.step(closure)  # type: ignore[no-untyped-call]
    return weights.detach(), biases.detach()


PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1)


def probed(features: dict[str, Float[Tensor, "texts dim"]], data: Labelled) -> float:
    """Test accuracy of the probe whose penalty is the best on the development set; features are scaled by the training set."""
    scale, middle = features["train"].std(0) + 1e-6, features["train"].mean(0)
    scaled = {part: (one - middle) / scale for part, one in features.items()}

    def accuracy(fitted: tuple[Tensor, Tensor], part: str) -> float:
        weights, biases = fitted
        chosen = (scaled[part].double() @ weights.T + biases).argmax(1)
        return float((chosen == data.parts[part][1]).double().mean())

    fits = [probe(scaled["train"], data.parts["train"][1], penalty) for penalty in PENALTIES]
    return accuracy(max(fits, key=lambda one: accuracy(one, "dev")), "test")


def sample_of(data: Labelled, size: int, seed: int) -> Labelled:
    """The same with so many training sentences, drawn by seed."""
    texts, classes = data.parts["train"]
    places = random.Random(seed).sample(range(len(texts)), size)
    return Labelled(data.parts | {"train": ([texts[place] for place in places], classes[places])})
