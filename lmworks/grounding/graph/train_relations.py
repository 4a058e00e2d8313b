"""The recipe of the relation head that ships: the data, what is trained, and its figures.

    python -m lmworks.grounding.graph.train_relations OUT

Writes OUT/relations.safetensors and its card, OUT/relations.json.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from lmworks.basics import progress
from lmworks.basics.files import sha256, write_json
from lmworks.grounding.graph.relations import (
    FILE,
    RelationHead,
    RelationLoss,
    RelationRecipe,
    RelationRow,
    RelationRows,
    relation_network,
    row_of,
)
from lmworks.grounding.graph.semeval import RELATIONS, Related, macro_f1, related
from lmworks.grounding.heads.files import base_of, trained_tensors
from lmworks.language_model import LanguageModel
from lmworks.models.files.directory import write_safetensors
from lmworks.models.precision import fast_dtype
from lmworks.text.registry import ENTRIES
from lmworks.tokens.tokenizer import Tokenizer
from lmworks.training.loop import train
from lmworks.training.settings import TrainingConfig

DATA = "semeval2010-task8"


def rows_of(tokenizer: Tokenizer, sentences: Sequence[Related]) -> list[RelationRow]:
    """Sentences as rows."""
    return [row_of(tokenizer, (one.text, one.first, one.second), one.relation) for one in sentences]


def train_head(sentences: Sequence[Related], recipe: RelationRecipe, run: Path) -> tuple[RelationHead, int]:
    """A head that has learnt from sentences, and how many steps it took."""
    base = LanguageModel.load(recipe.base)
    dtype = fast_dtype(base.network.device)
    network = relation_network(base.network, dtype, recipe.rank, recipe.lowest, recipe.dropout, recipe.seed)
    config = TrainingConfig(
        rows=recipe.rows,
        max_seconds=60 * recipe.minutes,
        learning_rate=recipe.learning_rate,
        schedule="linear",
        seed=recipe.seed,
    )
    rows = RelationRows(rows_of(base.tokenizer, sentences))
    result = train(network, RelationLoss(recipe.label_smoothing), rows, config, run)
    return RelationHead(network, base.tokenizer), result.steps


def told(head: RelationHead, sentences: Sequence[Related]) -> list[int]:
    """The relation that a head tells of each sentence."""
    found = head.relations([(one.text, one.first, one.second) for one in sentences])
    return [RELATIONS.index(name) for name, _ in found]


def write(head: RelationHead, recipe: RelationRecipe, steps: int, out: Path) -> dict[str, Any]:
    """Write the head and its card; the figures are those of the file, not of the network that was trained."""
    out.mkdir(parents=True, exist_ok=True)
    file = out / FILE.name
    write_safetensors(file, {name: one.to(torch.float16) for name, one in trained_tensors(head.network).items()})
    card: dict[str, Any] = {
        "what": "relations between two nominals of a sentence: the nine of SemEval-2010 task 8, with their direction",
        "command": "python -m lmworks.grounding.graph.train_relations OUT",
        "base": base_of(LanguageModel.load(recipe.base)).model_dump(),
        "recipe": recipe.model_dump(mode="json"),
        "data": {"name": DATA, "sha256": ENTRIES[DATA].sha256, "licence": ENTRIES[DATA].licence},
        "sha256": sha256(file),
        "bytes": file.stat().st_size,
        "sentences_read": steps * recipe.rows,
    }
    write_json(file.with_suffix(".json"), card)
    card["figures"] = measured(RelationHead.load(file))
    write_json(file.with_suffix(".json"), card)
    return card


def measured(head: RelationHead) -> dict[str, Any]:
    """The official figures on the test set, beside others'."""
    test = related("test")
    truth, guesses = [one.relation for one in test], told(head, test)
    right = sum(a == b for a, b in zip(guesses, truth, strict=True))
    return {
        "macro_f1": round(100 * macro_f1(guesses, truth), 2),
        "macro_f1_is": "the task's score: nine relations with direction, Other left out",
        "accuracy": round(100 * right / len(truth), 2),
        "n": len(test),
        "beside": {"winner of 2010 (Rink and Harabagiu)": 82.19, "R-BERT (Wu and He 2019)": 89.25},
    }


def main(out: Path, recipe: RelationRecipe | None = None) -> None:
    """Train on the training set, measure on the test set, write both down."""
    recipe = recipe or RelationRecipe()
    with progress.shown(), tempfile.TemporaryDirectory() as run:
        head, steps = train_head(related("train"), recipe, Path(run))
    print(write(head, recipe, steps, out)["figures"])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
