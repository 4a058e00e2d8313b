"""The recipe of the relation head that ships: the data, what is trained, and its figures.

    python -m lmworks.grounding.graph.train_relations OUT

Writes OUT/relations.safetensors and its card, OUT/relations.json.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from pydantic import Field
from safetensors.torch import save_file

from lmworks.basics import progress
from lmworks.basics.config import Config
from lmworks.basics.files import sha256, write_json
from lmworks.grounding.graph.relations import (
    RelationHead,
    RelationLoss,
    RelationRow,
    RelationRows,
    relation_network,
    row_of,
)
from lmworks.grounding.graph.semeval import RELATIONS, Related, macro_f1, related
from lmworks.loading import load
from lmworks.text.registry import ENTRIES, content
from lmworks.tokens.tokenizer import Tokenizer
from lmworks.training.loop import train
from lmworks.training.settings import TrainingConfig

DATA = "semeval2010-task8"


class RelationRecipe(Config):
    """Everything that shapes the relation head."""

    base: str = "minilm"
    """The encoder: a reference that `lm.load` takes."""

    rank: int = Field(default=16, gt=0)
    """Rank of the adapters."""

    learning_rate: float = Field(default=1e-3, gt=0)
    """The highest."""

    rows: int = Field(default=16, gt=0)
    """Sentences of a step."""

    epochs: float = Field(default=5, gt=0)
    """How often each sentence is read."""

    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    """Share of the target that is spread over all relations."""

    seed: int = 0
    """Of the adapters and the order."""


def rows_of(tokenizer: Tokenizer, sentences: Sequence[Related]) -> list[RelationRow]:
    """Sentences as rows."""
    return [row_of(tokenizer, (one.text, one.first, one.second), one.relation) for one in sentences]


def train_head(sentences: Sequence[Related], recipe: RelationRecipe, run: Path) -> RelationHead:
    """A head that has learnt from sentences."""
    base = load(recipe.base, dtype="float32", compress="none")
    network = relation_network(base.network, torch.float32, recipe.rank, recipe.seed)
    config = TrainingConfig(
        rows=recipe.rows,
        epochs=recipe.epochs,
        learning_rate=recipe.learning_rate,
        schedule="linear",
        seed=recipe.seed,
    )
    rows = RelationRows(rows_of(base.tokenizer, sentences))
    train(network, RelationLoss(recipe.label_smoothing), rows, config, run)
    return RelationHead(network, base.tokenizer)


def told(head: RelationHead, sentences: Sequence[Related]) -> list[int]:
    """The relation that a head tells of each sentence."""
    found = head.relations([(one.text, one.first, one.second) for one in sentences])
    return [RELATIONS.index(name) for name, _ in found]


def save(head: RelationHead, recipe: RelationRecipe, figures: dict[str, object], out: Path) -> None:
    """Write the head and its card."""
    out.mkdir(parents=True, exist_ok=True)
    trained = {
        name: parameter.detach().to(torch.bfloat16).contiguous()
        for name, parameter in head.network.named_parameters()
        if parameter.requires_grad
    }
    file = out / "relations.safetensors"
    save_file(trained, file)
    card = {
        "what": "relations between two nominals of a sentence: the nine of SemEval-2010 task 8, with their direction",
        "command": "python -m lmworks.grounding.graph.train_relations OUT",
        "recipe": recipe.model_dump(mode="json"),
        "data": {
            "name": DATA,
            "address": ENTRIES[DATA].address,
            "sha256": hashlib.sha256(content(DATA)).hexdigest(),
            "licence": ENTRIES[DATA].licence,
        },
        "licence": "Apache-2.0; trained on data under CC BY 3.0 (Hendrickx et al. 2010)",
        "sha256": sha256(file),
        "bytes": file.stat().st_size,
        "figures": figures,
    }
    write_json(out / "relations.json", card)


def main(out: Path) -> None:
    """Train on the training set, measure on the test set, write both down."""
    torch.set_num_threads(2)
    recipe, started = RelationRecipe(), time.monotonic()
    with progress.shown():
        head = train_head(related("train"), recipe, out / "run")
    test = related("test")
    save(head, recipe, {}, out)
    stored = RelationHead.load(out / "relations.safetensors")
    truth = [one.relation for one in test]
    guesses = told(stored, test)
    figures: dict[str, object] = {
        "macro F1, nine relations with direction, Other left out": round(100 * macro_f1(guesses, truth), 2),
        "accuracy of 19 classes": round(100 * sum(a == b for a, b in zip(guesses, truth, strict=True)) / len(truth), 2),
        "test sentences": len(test),
        "training sentences": 8000,
        "seconds": round(time.monotonic() - started),
        "others": {"winner of 2010 (Rink and Harabagiu)": 82.19, "R-BERT (Wu and He 2019)": 89.25},
    }
    save(stored, recipe, figures, out)
    print(figures)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
