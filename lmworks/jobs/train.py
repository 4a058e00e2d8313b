"""A model from nothing: split a text, train a tokenizer, pack, train a network, measure, save.

    result = pretrain("shakespeare-char", out="models/shakespeare")
    print(result.validation_loss, result.bits_per_byte)

What a run needs to be resumed lies in `<out>.run` until the model directory is complete. Started by torchrun, several
processes make the same run together; all of them see the same folders, and rank 0 alone prepares and writes.
"""

from __future__ import annotations

import importlib.metadata
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lmworks.basics.amounts import counted
from lmworks.basics.arguments import checked
from lmworks.basics.errors import ConfigError
from lmworks.basics.files import beside, directory_written_whole
from lmworks.evaluation.measurement import Measurement
from lmworks.jobs.private import Promise, private_rows, promise, way_of, without_private
from lmworks.jobs.runs import (
    RunResult,
    held_out_loss,
    open_run,
    provenance,
    recipe_and_folder,
    resumable,
    save_result,
    source_digest,
    start_run,
    training_facts,
)
from lmworks.jobs.tasks.task import PackedText, task_of
from lmworks.jobs.training_recipe import TrainRecipe
from lmworks.language_model import LanguageModel
from lmworks.loading import load, load_tokenizer
from lmworks.models.adaptive_softmax import AdaptiveSoftmax
from lmworks.models.experts import expert_layers
from lmworks.models.network import Network
from lmworks.models.network_class import network_class
from lmworks.models.ngram_embedding import count_ngrams
from lmworks.models.precision import dtype_of, fast_dtype
from lmworks.models.relatives import glove
from lmworks.models.relatives.recurrent import RecurrentNetwork
from lmworks.models.relatives.vector_files import read_vectors
from lmworks.models.relatives.vectors import FilledRows, initialise_embedding
from lmworks.models.upcycling import upcycle
from lmworks.objectives import Objective
from lmworks.text.splits import Split, data_hash
from lmworks.tokens.batch import Row
from lmworks.tokens.pairs import KeptTexts
from lmworks.tokens.rows import Rows
from lmworks.tokens.shards import Shards
from lmworks.tokens.tokenizer import Tokenizer
from lmworks.tokens.trainer import train_tokenizer
from lmworks.training.loop import Report, TrainingResult, Validate, train
from lmworks.training.processes import joined
from lmworks.training.ranks import Ranks

Say = Callable[[str], None]
SIDES, TOKENIZER = ("train", "held_out"), "tokenizer"
VECTORS = "vectors.safetensors"


@dataclass(frozen=True)
class PretrainResult(RunResult[TrainRecipe, LanguageModel]):
    """What a run made; the loss is in the unit of its task: nats per token, for most."""

    example: str = ""
    """A held-out text that `sample` shows something with, where the task needs one."""
    private: Promise | None = None
    """What a private run promises."""

    @property
    def bits_per_byte(self) -> Measurement:
        """Of the held-out text, read with overlapping windows; ConfigError for a model that does not write."""
        for one in self.measurements:
            if one.unit == "bits/byte":
                return one
        raise ConfigError(f"a model of objective.kind = {self.recipe.objective.kind!r} has no bits per byte")


@dataclass(frozen=True)
class PreparedText:
    """A text packed with its tokenizer, in its folder: what runs that differ in other settings can share."""

    folder: Path
    tokenizer: Tokenizer
    train: PackedText
    held_out: PackedText


@dataclass(frozen=True)
class Fitted:
    """A trained network."""

    model: LanguageModel
    training: TrainingResult
    validation_loss: float
    """Of what is held out, in the unit of its task."""


@checked
@resumable
def pretrain(
    recipe: str | Path | TrainRecipe,
    out: str | os.PathLike[str] | None = None,
    *,
    changes: Sequence[str] = (),
    resume: bool = False,
    say: Say = lambda line: None,
) -> PretrainResult:
    """Train a tokenizer and a network from nothing and write a model directory to `out`.

    Raises LmworksError with one sentence; Stopped when it was interrupted, after saving what `resume` needs. With
    several ranks, each returns the same result, and only rank 0 says something.
    """
    chosen, folder = recipe_and_folder(TrainRecipe, recipe, changes, out)
    with joined() as ranks:
        return _pretrain(chosen, folder, resume, say if ranks.first else lambda line: None, ranks)


def _pretrain(chosen: TrainRecipe, folder: Path, resume: bool, say: Say, ranks: Ranks) -> PretrainResult:
    run = beside(folder, "", ".run")
    started = time.time()
    if chosen.private.on and ranks.size > 1:
        raise ConfigError("private training runs in one process, and torchrun started several; start it without")
    ranks.agree(lambda: _intent(chosen, folder, resume, ranks.device))
    ranks.check(chosen.training)
    parts = ranks.first_alone(lambda: _prepare(chosen, folder, run, resume, started, say))
    text = ranks.together(lambda: open_prepared(chosen, run))
    tokenizer, task = text.tokenizer, task_of(chosen)
    ranks.agree(lambda: {"the packed text": [packed.digest() for packed in (text.train, text.held_out)]})
    rows: Rows | Sequence[Row]
    promised: Promise | None = None
    if chosen.private.on:
        assert parts is not None
        rows = private_rows(chosen, text, parts, say)
        promised = promise(chosen, len(rows))
        say(f"private        {promised}")
    else:
        rows = ranks.together(lambda: rows_of(chosen, text.train, tokenizer))
    validate = ranks.together(lambda: validation_of(chosen, text))
    network = ranks.together(lambda: network_of(chosen, tokenizer, text.train, ranks.device))
    filled = ranks.together(lambda: _fill_embedding(chosen, network, tokenizer, run))
    model = LanguageModel(network, tokenizer)
    for line in (_plan(network, tokenizer, text.train), *(task.remarks(rows) if isinstance(rows, Rows) else ())):
        say(line)
    if filled is not None:
        say(f"embedding      {filled.found:,} of {filled.rows:,} tokens begin as a word of {chosen.embedding.source}")

    objective = ranks.together(lambda: objective_of(chosen, tokenizer))
    private = None if promised is None else way_of(promised, chosen, run, resume)
    training = train(
        network, objective, rows, chosen.training, run, resume=resume, validate=validate, ranks=ranks, private=private
    )

    def finish() -> tuple[float, list[Measurement], dict[str, Any], str]:
        """Measure and save, in one process: the loss and figures on held-out text, the facts, and an example."""
        assert parts is not None
        loss = held_out_loss(training, validate, network)
        figures = task.measure(model, text.held_out, parts.held_out)
        facts = _facts(chosen, model, parts, text, training_facts(training, run), loss, figures)
        facts["embedding"] = chosen.embedding.model_dump(include={"source", "frozen"}) | (
            vars(filled) if filled else {}
        )
        facts |= {"processes": ranks.size} | provenance(run)
        if promised is not None:
            facts["private"] = promised.facts
            without_private(facts)
        save_result(run, folder, model, facts)
        return loss, figures, facts, task.example(parts.held_out)

    loss, figures, facts, example = ranks.same(ranks.first_alone(finish))  # type: ignore[misc]
    model.source, model.reference = folder, str(folder)
    return PretrainResult(folder, model, chosen, training, loss, figures, facts, example, promised)


def _intent(recipe: TrainRecipe, folder: Path, resume: bool, device: torch.device) -> dict[str, Any]:
    """What the processes of a run must have in common before they begin."""
    return {
        **recipe.model_dump(mode="json"),
        "dtype": str(dtype_of(recipe.dtype) or fast_dtype(device)).removeprefix("torch."),
        "--resume": resume,
        "the output folder": str(folder.absolute()),
        "the version of lmworks": importlib.metadata.version("lmworks"),
        "the version of torch": torch.__version__,
        "the source code of lmworks": source_digest(),
    }


def _prepare(recipe: TrainRecipe, folder: Path, run: Path, resume: bool, started: float, say: Say) -> Split:
    """Everything that is made once: text, tokenizer and shards, which lie in the run's folder then."""
    open_run(folder, recipe, resume, say, recipe.upcycle)
    parts = read_parts(recipe, say)
    start_run(run, recipe, _texts(recipe, parts), resume, started)
    prepare(recipe, parts, run, resume)
    return parts


def _texts(recipe: TrainRecipe, parts: Split) -> dict[str, tuple[str, str]]:
    """What is trained on, what validates and what the finished model is measured on: from where, and its hash."""
    data, measured_on = recipe.data, task_of(recipe).measured_on(parts.held_out)
    kept = data.validation or data.text
    return {
        side: (source, data_hash(documents))
        for side, source, documents in (
            ("held_out", kept, parts.held_out),
            ("test", data.test or kept, measured_on),
            ("text", data.text, parts.train),  # last: it lacks what the others have
        )
    }


def prepare(recipe: TrainRecipe, parts: Split, folder: Path, resume: bool = False) -> None:
    """Write tokenizer, shards and word vectors into `folder`; a resumed run keeps what it has."""
    tokenizer = _tokenizer(recipe, parts, folder, resume)
    task = task_of(recipe)
    for side, documents in zip(SIDES, (parts.train, parts.held_out), strict=True):
        task.write(documents, tokenizer, folder / side)
    _keep_vectors(recipe, tokenizer, parts, folder, resume)


def open_prepared(recipe: TrainRecipe, folder: Path) -> PreparedText:
    """What `prepare` wrote."""
    named = recipe.tokenizer
    tokenizer = load_tokenizer(named) if isinstance(named, str) else Tokenizer.load(folder / TOKENIZER)
    task = task_of(recipe)
    return PreparedText(folder, tokenizer, *(task.open(folder / side, tokenizer) for side in SIDES))


def assemble(recipe: TrainRecipe, text: PreparedText) -> tuple[LanguageModel, Objective, Rows]:
    """What is trained, what is minimised, and the rows to learn from."""
    rows = rows_of(recipe, text.train, text.tokenizer)
    network = network_of(recipe, text.tokenizer, text.train)
    _fill_embedding(recipe, network, text.tokenizer, text.folder)
    return LanguageModel(network, text.tokenizer), objective_of(recipe, text.tokenizer), rows


def fit(recipe: TrainRecipe, text: PreparedText, run: Path, report: Report | None = None) -> Fitted:
    """Train a fresh network on a prepared text, in this process; checkpoints and the log go into `run`.

    `report` hears of each validation while the run is on its way, and may end it by raising. ConfigError for a private
    recipe, whose promise such a run does not keep.
    """
    if recipe.private.on:
        raise ConfigError(
            "private is for lmworks train: each of several runs on the same text spends its epsilon anew; leave it out"
        )
    model, objective, rows = assemble(recipe, text)
    validate = validation_of(recipe, text)
    training = train(model.network, objective, rows, recipe.training, run, validate=validate, report=report)
    return Fitted(model, training, held_out_loss(training, validate, model.network))


def sample(result: PretrainResult) -> Iterator[str]:
    """What the result can do, in pieces as they come: what it writes after the prompt, or what its task shows."""
    return task_of(result.recipe).sample(result.model, result.example)


def read_parts(recipe: TrainRecipe, say: Say = lambda line: None) -> Split:
    """The recipe's text, split into what is trained on and what is held out."""
    return task_of(recipe).read(say)


def _tokenizer(recipe: TrainRecipe, parts: Split, run: Path, resume: bool) -> Tokenizer:
    """The one that the recipe names, or a new one; a resumed run has it already."""
    if isinstance(recipe.tokenizer, str):
        return load_tokenizer(recipe.tokenizer)
    folder = run / TOKENIZER
    if not (resume and folder.exists()):
        tokenizer = train_tokenizer((document.text for document in parts.train), recipe.tokenizer)
        with directory_written_whole(folder) as temporary:
            tokenizer.save(temporary)
    return Tokenizer.load(folder)


def rows_of(recipe: TrainRecipe, packed: PackedText, tokenizer: Tokenizer) -> Rows:
    """The rows of a packed text as the recipe cuts them; DataError where there are less than a batch."""
    return task_of(recipe).rows(packed, tokenizer)


def validation_of(recipe: TrainRecipe, text: PreparedText) -> Validate:
    """What measures a network on what is held out; DataError, before anything is trained, where that has no rows."""
    task, tokenizer, held_out = task_of(recipe), text.tokenizer, text.held_out
    task.held_out_rows(held_out, tokenizer)
    return lambda network: task.validation_loss(network, tokenizer, held_out)


def network_of(
    recipe: TrainRecipe, tokenizer: Tokenizer, packed: PackedText, device: torch.device | str = "cpu"
) -> Network:
    """The recipe's network with fresh weights, for a tokenizer and the text that it packed.

    It lies on the CPU, in the type that is fast on `device`.
    """
    size, ngrams = tokenizer.vocab_size, recipe.ngrams
    counted = []
    if ngrams.longest > 1:
        shards = _shards(packed, "ngrams.longest")
        tokens = torch.from_numpy(shards.read(0, shards.tokens).astype(np.int64))
        counted = count_ngrams(tokens, size, ngrams.longest, ngrams.most)
    config = recipe.network(size, tuple(map(len, counted)), packed.labels if isinstance(packed, KeptTexts) else ())
    if recipe.upcycle is not None and config.experts is not None:
        dense = load(recipe.upcycle, dtype="float32").network
        return upcycle(dense, config.experts, recipe.training.seed).requires_grad_(True).to(_dtype(recipe, device))
    network = network_class(config)(config)
    network.initialise(recipe.training.seed, recipe.initialisation)
    if network.ngram_embedding is not None:
        network.ngram_embedding.know(counted)
    if isinstance(network.head, AdaptiveSoftmax):
        network.head.order_by(_token_counts(_shards(packed, "model.adaptive_cutoffs"), size))
    return network.to(_dtype(recipe, device))


def _dtype(recipe: TrainRecipe, device: torch.device | str) -> torch.dtype:
    return dtype_of(recipe.dtype) or fast_dtype(device)


def _shards(packed: PackedText, setting: str) -> Shards:
    """The text as one stream, whose tokens can be counted."""
    if not isinstance(packed, Shards):
        raise ConfigError(
            f"{setting} counts the tokens of a stream of text, which this objective.kind does not read; leave it out"
        )
    return packed


def _keep_vectors(recipe: TrainRecipe, tokenizer: Tokenizer, parts: Split, run: Path, resume: bool) -> None:
    """Write the word vectors that the tokenizer can use, from a file or trained here, into the run.

    A frozen embedding is in no checkpoint, and a file may have changed when the run is resumed.
    """
    settings, kept = recipe.embedding, run / VECTORS
    if settings.source == "random" or (resume and kept.exists()):
        return
    if settings.source == "glove":
        vectors = glove.train((glove.split_words(one.text) for one in parts.train), settings.glove)
    else:
        vectors = read_vectors(settings.source)
    vectors.of_tokens(tokenizer).save(kept)


def _fill_embedding(recipe: TrainRecipe, network: Network, tokenizer: Tokenizer, run: Path) -> FilledRows | None:
    """Those vectors put into the embedding; None where it stays random."""
    if recipe.embedding.source == "random":
        network.embedding.weight.requires_grad_(not recipe.embedding.frozen)
        return None
    return initialise_embedding(network, tokenizer, read_vectors(run / VECTORS), recipe.embedding.frozen)


def _token_counts(shards: Shards, vocabulary: int, part: int = 2**24) -> Tensor:
    """How often each token occurs, read a part at a time."""
    counts = np.zeros(vocabulary, np.int64)
    for start in range(0, shards.tokens, part):
        counts += np.bincount(shards.read(start, min(start + part, shards.tokens)), minlength=vocabulary)
    return torch.from_numpy(counts)


def objective_of(recipe: TrainRecipe, tokenizer: Tokenizer) -> Objective:
    """What the recipe minimises."""
    return task_of(recipe).objective(tokenizer)


def _plan(network: Network, tokenizer: Tokenizer, packed: PackedText) -> str:
    config = network.config
    part = "layer" if isinstance(network, RecurrentNetwork) else "block"
    inside = sum(one.numel() for name, one in network.named_parameters() if f"{part}s." in name)
    every = sum(one.numel() for one in network.parameters())
    idle = sum(layer.idle for _, layer in expert_layers(network))
    used = f" ({(every - idle) / 1e6:.2f} M are used by a token)" if idle else ""
    return (
        f"network        {counted(config.layers, part)} x {config.dim}, vocabulary {tokenizer.vocab_size:,}: "
        f"{every / 1e6:.2f} M parameters{used}, {inside / 1e6:.2f} M of them in {part}s; "
        f"{packed.tokens:,} tokens to train on"
    )


def _facts(
    recipe: TrainRecipe,
    model: LanguageModel,
    parts: Split,
    text: PreparedText,
    training: dict[str, Any],
    loss: float,
    figures: Sequence[Measurement],
) -> dict[str, Any]:
    """What lmworks.json says."""
    return {
        "recipe": recipe.model_dump(mode="json"),
        "data": {
            "train": data_hash(parts.train),
            "held_out": data_hash(parts.held_out),
            "documents": [len(parts.train), len(parts.held_out)],
            "tokens": [text.train.tokens, text.held_out.tokens],
            "duplicates": parts.duplicates,
        },
        "validation_loss": loss,
        **({"bits_per_byte": figures[0].value} if figures[0].unit == "bits/byte" else {}),
        "measurements": [one.to_json() for one in figures],
        "training": training,
        "seeds": [recipe.training.seed],
        "dtype": str(model.network.dtype).removeprefix("torch."),
    }
