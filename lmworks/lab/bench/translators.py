"""Small translators, trained once by the shipped recipes and kept: what claims 5, 8, 17 and 46 compare.

    recipe = translation(TRANSFORMER, epochs=4, seed=0)
    model = translator(recipe, pairs=29_000)              # trained, or taken from the cache folder
    answers = whole_answers(model, sources, Beam(width=4))

A trained network is kept in the cache folder under a hash of everything that shaped it: recipe, texts, torch version.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy import ndarray

from lmworks.basics.arrays import Float64
from lmworks.basics.extras import require
from lmworks.basics.files import cache_folder
from lmworks.evaluation.answers import likeness
from lmworks.generation.answer import Answer
from lmworks.jobs.train import PreparedText, fit, open_prepared, prepare, read_parts
from lmworks.jobs.training_recipe import TrainRecipe
from lmworks.lab.metric import Metric
from lmworks.language_model import LanguageModel
from lmworks.loading import load
from lmworks.models.config import ModelConfig
from lmworks.models.relatives.recurrent_config import RecurrentConfig
from lmworks.text.document import Document
from lmworks.text.sources import read
from lmworks.text.splits import Split, data_hash

TRANSFORMER, LSTM = "transformer", "LSTM with attention"
RECIPES = {TRANSFORMER: "translate-en-de", LSTM: "translate-en-de-lstm"}
CONTEXT, VOCABULARY, DIM, LAYERS, HEADS = 64, 2000, 128, 2, 4
LENGTH = 18
"""Tokens of a source and of its target, about Multi30k's mean here, for which operations are counted."""
MASK = "<mask>"
"""A token that no text has, for networks that learn to fill gaps: all arrangements share one tokenizer."""


def translation(kind: str, *, epochs: int, seed: int) -> TrainRecipe:
    """The shipped recipe of a kind, made small. The LSTM is as wide as it can be without costing more operations per
    pair than the transformer, and both read the same pairs equally often."""
    shape: dict[str, Any] = {"model.dim": DIM, "model.context": CONTEXT, "model.dropout": 0.1}
    network = {"model.family": "lmworks", "model.positions": "rope", "model.position_offset": 0}
    network |= {"model.layers": LAYERS, "model.heads": HEADS, "model.hidden_dim": 4 * DIM}
    training = {"training.epochs": epochs, "training.seed": seed, "training.evaluate_every": None}
    training |= {"training.patience": None, "training.rows": 64, "validation.tokens": 1}  # nobody reads that loss
    tokens = {"tokenizer.vocab_size": VOCABULARY, "tokenizer.special_tokens": ["<|endoftext|>", MASK]}
    said = shape | training | tokens
    made = TrainRecipe.read(RECIPES[TRANSFORMER], _changes(said | network))
    if kind == TRANSFORMER:
        return made
    width = widest_lstm(made.network(VOCABULARY))
    return TrainRecipe.read(RECIPES[kind], _changes(said | {"model.hidden_dim": width}))


def _changes(settings: Mapping[str, Any]) -> list[str]:
    return [f"{name}={'none' if value is None else json.dumps(value)}" for name, value in settings.items()]


def translator(recipe: TrainRecipe, pairs: int) -> LanguageModel:
    """The network that a recipe makes of the first `pairs` pairs of its text."""

    def make() -> LanguageModel:
        with tempfile.TemporaryDirectory() as folder:
            text = prepared(recipe, pairs, Path(folder))
            return fit(recipe, text, Path(folder)).model

    return kept({"recipe": recipe.model_dump(mode="json"), "text": text_of(recipe, pairs)}, make)


def text_of(recipe: TrainRecipe, pairs: int) -> str:
    """A hash of the first `pairs` pairs of a recipe's text."""
    return data_hash(_parts(recipe, pairs).train)


def prepared(recipe: TrainRecipe, pairs: int, folder: Path) -> PreparedText:
    """A tokenizer, and the first `pairs` pairs as its ids."""
    prepare(recipe, _parts(recipe, pairs), folder)
    return open_prepared(recipe, folder)


_READ: dict[str, Split] = {}
"""The text that was read last: seeds and kinds share it, and reading Multi30k takes a second of a core."""


def _parts(recipe: TrainRecipe, pairs: int) -> Split:
    settings = recipe.model_dump(mode="json", include={"data", "objective"})
    if (text := json.dumps(settings, sort_keys=True)) not in _READ:
        _READ.clear()
        _READ[text] = read_parts(recipe)
    parts = _READ[text]
    return dataclasses.replace(parts, train=parts.train[:pairs])


def kept(settings: Mapping[str, Any], make: Callable[[], LanguageModel]) -> LanguageModel:
    """What `make` trains, or trained from the same settings before."""
    every = json.dumps({**settings, "torch": torch.__version__}, sort_keys=True)
    folder = cache_folder("lab", "translators") / hashlib.sha256(every.encode()).hexdigest()[:16]
    if not (folder / "lmworks.json").is_file():
        make().save(folder, {"settings": dict(settings)})
    return load(folder, dtype="float32")


def pairs_of(reference: str, count: int) -> list[tuple[str, str]]:
    """`count` sources with their references, spread over a text."""
    documents: Sequence[Document] = read(reference).documents
    step = max(len(documents) // count, 1)
    return [document.pair for document in documents[::step][:count]]


def copied(pairs: Sequence[tuple[str, str]]) -> dict[str, float]:
    """BLEU and chrF of copying the beginning of each source: the chance level."""
    sources, references = zip(*pairs, strict=True)
    bleu, chrf = likeness(sources, references, sources, ("bleu", "chrf"))
    return {"BLEU": bleu.chance or 0.0, "chrF": chrf.chance or 0.0}


def bleu_counts(answers: Sequence[Answer] | Sequence[str], pairs: Sequence[tuple[str, str]]) -> Float64[ndarray, "n k"]:
    """sacrebleu's counts of each answer, whose sum gives BLEU."""
    counted = _sacrebleu()._extract_corpus_statistics(
        [str(one).strip() for one in answers], [[one for _, one in pairs]]
    )
    return np.array(counted, dtype=np.float64)


def _bleu_of(sums: Float64[ndarray, "... k"]) -> Float64[ndarray, ...]:
    scores = [_sacrebleu()._compute_score_from_stats(one.tolist()).score for one in sums.reshape(-1, sums.shape[-1])]
    return np.array(scores).reshape(sums.shape[:-1])


@cache
def _sacrebleu() -> Any:
    return require("sacrebleu.metrics", "text").BLEU()


BLEU = Metric("BLEU", margin=0.5, ideal=100.0, of=_bleu_of)


def operations(config: ModelConfig | RecurrentConfig, length: int = LENGTH) -> int:
    """Multiply-adds of a forward pass over a source and a target of `length` tokens each, per token of the target."""
    head = config.vocab_size * config.dim
    if isinstance(config, RecurrentConfig):
        width, half = config.hidden_dim, config.hidden_dim // 2
        cells = 8 * half * (config.dim + half) + 4 * width * (config.dim + width)
        cells += (config.layers - 1) * (8 * half * (width + half) + 8 * width * width)
        return head + cells + width * width + 2 * width * length + 2 * width * config.dim
    own = 4 * config.dim**2 + (3 if config.gated else 2) * config.dim * config.hidden_dim
    encoder = own + 2 * config.dim * length
    decoder = own + config.dim * (length + 1) + 4 * config.dim**2 + 2 * config.dim * length
    return head + (config.encoder_layers or config.layers) * encoder + config.layers * decoder


def widest_lstm(config: ModelConfig) -> int:
    """The widest one-layer LSTM, with embeddings as wide, that takes no more operations per pair."""
    shape: dict[str, Any] = {"vocab_size": config.vocab_size, "dim": config.dim, "context": config.context}
    shape |= {"arrangement": "encoder-decoder", "layers": 1}
    width = 2
    while operations(RecurrentConfig(**shape, hidden_dim=width + 2)) <= operations(config):
        width += 2
    return width
