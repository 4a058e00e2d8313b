"""A model from nothing: split a text, train a tokenizer, pack, train a network, measure, save.

    result = pretrain("shakespeare-char", out="models/shakespeare")
    print(result.validation_loss, result.bits_per_byte)

What a run needs to be resumed lies in `<out>.run` until the model directory is complete. Started by torchrun, several
processes make the same run together; all of them see the same folders, and rank 0 alone prepares and writes.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lmworks.basics.errors import DataError
from lmworks.basics.files import directory_written_whole
from lmworks.basics.memory import keep_freed_memory
from lmworks.evaluation.likelihood import measure
from lmworks.evaluation.measurement import Measurement
from lmworks.evaluation.stream import stream_loss
from lmworks.generation.language_model import LanguageModel
from lmworks.generation.strategies import Greedy, Sample
from lmworks.loading import load_tokenizer
from lmworks.models import glove
from lmworks.models.adaptive_softmax import AdaptiveSoftmax
from lmworks.models.directory import refuse_foreign_files
from lmworks.models.network import Network
from lmworks.models.ngram_embedding import count_ngrams
from lmworks.models.precision import dtype_of, fast_dtype
from lmworks.models.recurrent import RecurrentNetwork, network_class
from lmworks.models.vectors import Filled, initialise_embedding, read_vectors
from lmworks.objectives import L1, L2, CausalLM, Objective
from lmworks.runs import check_run, end_run, provenance, say_skipped, source_digest, start_run
from lmworks.text.corpus.folder import read_split
from lmworks.text.splits import Split, data_hash
from lmworks.tokens.rows import PackedRows, ShardRows, Windows
from lmworks.tokens.shards import Shards, write_shards
from lmworks.tokens.tokenizer import Tokenizer
from lmworks.tokens.trainer import train_tokenizer
from lmworks.training.loop import Report, TrainingResult, train
from lmworks.training.ranks import Ranks, joined
from lmworks.training_recipe import TrainRecipe

Say = Callable[[str], None]
SIDES, TOKENIZER = ("train", "held_out"), "tokenizer"
VECTORS = "vectors.safetensors"


@dataclass(frozen=True)
class PretrainResult:
    """What a run made."""

    folder: Path
    model: LanguageModel
    recipe: TrainRecipe
    training: TrainingResult
    validation_loss: float
    """Nats per token of the held-out text, in windows side by side."""
    bits_per_byte: Measurement
    """Of the held-out text, read with overlapping windows."""
    facts: dict[str, Any]
    """What lmworks.json holds."""


@dataclass(frozen=True)
class PreparedText:
    """A text packed with its tokenizer, in its folder: what runs that differ in other settings can share."""

    folder: Path
    tokenizer: Tokenizer
    train: Shards
    held_out: Shards


@dataclass(frozen=True)
class Fitted:
    """A trained network."""

    model: LanguageModel
    training: TrainingResult
    validation_loss: float
    """Nats per token of the held-out text, in windows side by side."""


def pretrain(
    recipe: str | Path | TrainRecipe,
    out: str | os.PathLike[str] | None = None,
    *,
    changes: Sequence[str] = (),
    resume: bool = False,
    say: Say = lambda line: None,
) -> PretrainResult:
    """Train a tokenizer and a network from nothing and write a model directory to `out`.

    Raises LmworksError with one sentence; Stopped when it was interrupted, after saving what `resume` needs. Every rank of
    several returns the same result; rank 0 alone says something.
    """
    chosen = recipe if isinstance(recipe, TrainRecipe) else TrainRecipe.read(recipe, changes)
    name = "model" if isinstance(recipe, TrainRecipe) else Path(recipe).stem
    folder = Path(out) if out is not None else Path("models") / name
    with joined() as ranks:
        return _pretrain(chosen, folder, resume, say if ranks.first else lambda line: None, ranks)


def _pretrain(chosen: TrainRecipe, folder: Path, resume: bool, say: Say, ranks: Ranks) -> PretrainResult:
    run = folder.with_name(f"{folder.name}.run")
    keep_freed_memory()
    started = time.time()
    ranks.agree(lambda: _intent(chosen, folder, resume, ranks.device))
    ranks.check(chosen.training)
    parts = ranks.first_alone(lambda: _prepare(chosen, folder, run, resume, say))
    text = ranks.together(lambda: open_prepared(chosen, run))
    tokenizer, train_shards, held_out = text.tokenizer, text.train, text.held_out
    ranks.agree(lambda: {"the packed text": [shards.digest() for shards in (train_shards, held_out)]})
    rows = ranks.together(lambda: rows_of(chosen, train_shards))
    network = network_of(chosen, tokenizer, train_shards, ranks.device)
    filled = ranks.together(lambda: _fill_embedding(chosen, network, tokenizer, run))
    model = LanguageModel(network, tokenizer)
    say(_plan(network, tokenizer, train_shards))
    if filled is not None:
        say(f"embedding      {filled.found:,} of {filled.rows:,} tokens begin as a word of {chosen.embedding.source}")

    def validate(network: Network) -> float:
        return stream_loss(network, held_out, chosen.training.context, chosen.validation.tokens).mean

    objective = objective_of(chosen)
    training = train(network, objective, rows, chosen.training, run, resume=resume, validate=validate, ranks=ranks)

    def finish() -> tuple[float, Measurement, dict[str, Any]]:
        assert parts is not None
        measured = training.validation if training.best_step is None else []
        loss = measured[-1][1] if measured else validate(network)
        bits = measure(
            model,
            parts.held_out,
            "held-out text",
            window=chosen.training.context,
            tokens=chosen.validation.tokens,
        ).bits_per_byte("held-out text")
        facts = _facts(chosen, model, parts, train_shards, held_out, training, loss, bits)
        facts["embedding"] = chosen.embedding.model_dump(include={"source", "frozen"}) | (
            vars(filled) if filled else {}
        )
        facts |= {"processes": ranks.size} | provenance(started)
        model.save(folder, facts)
        shutil.copyfile(run / "log.jsonl", folder / "log.jsonl")
        end_run(run, folder)
        return loss, bits, facts

    loss, bits, facts = ranks.same(ranks.first_alone(finish))  # type: ignore[misc]
    model.source, model.reference = folder, str(folder)
    return PretrainResult(folder, model, chosen, training, loss, bits, facts)


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


def _prepare(recipe: TrainRecipe, folder: Path, run: Path, resume: bool, say: Say) -> Split:
    """Everything that is made once: text, tokenizer and shards, which lie in the run's folder then."""
    refuse_foreign_files(folder)
    check_run(run, recipe, resume)
    parts = read_parts(recipe, say)
    start_run(run, recipe, data_hash(parts.train), recipe.data.text, resume)
    prepare(recipe, parts, run, resume)
    return parts


def prepare(recipe: TrainRecipe, parts: Split, folder: Path, resume: bool = False) -> None:
    """Write tokenizer, shards and word vectors into `folder`; a resumed run keeps what it has."""
    tokenizer = _tokenizer(recipe, parts, folder, resume)
    for side, documents in zip(SIDES, (parts.train, parts.held_out), strict=True):
        write_shards(documents, tokenizer, folder / side)
    _keep_vectors(recipe, tokenizer, parts, folder, resume)


def open_prepared(recipe: TrainRecipe, folder: Path) -> PreparedText:
    """What `prepare` wrote."""
    named = recipe.tokenizer
    tokenizer = load_tokenizer(named) if isinstance(named, str) else Tokenizer.load(folder / TOKENIZER)
    return PreparedText(folder, tokenizer, *(Shards(folder / side, tokenizer) for side in SIDES))


def assemble(recipe: TrainRecipe, text: PreparedText) -> tuple[LanguageModel, Objective, ShardRows]:
    """What is trained, what is minimised, and the rows to learn from."""
    rows = rows_of(recipe, text.train)
    network = network_of(recipe, text.tokenizer, text.train)
    _fill_embedding(recipe, network, text.tokenizer, text.folder)
    return LanguageModel(network, text.tokenizer), objective_of(recipe), rows


def fit(recipe: TrainRecipe, text: PreparedText, run: Path, report: Report | None = None) -> Fitted:
    """Train a fresh network on a prepared text, in this process; checkpoints and the log go into `run`.

    `report` hears of each validation while the run is on its way, and may end it by raising.
    """
    model, objective, rows = assemble(recipe, text)

    def validate(network: Network) -> float:
        return stream_loss(network, text.held_out, recipe.training.context, recipe.validation.tokens).mean

    training = train(model.network, objective, rows, recipe.training, run, validate=validate, report=report)
    measured = training.validation if training.best_step is None else []
    return Fitted(model, training, measured[-1][1] if measured else validate(model.network))


def sample(result: PretrainResult) -> Iterator[str]:
    """What the result writes behind the recipe's prompt, in pieces as they come."""
    settings = result.recipe.sample
    strategy = Sample(temperature=settings.temperature, seed=0) if settings.temperature else Greedy()
    longest = min(settings.max_new_tokens, result.model.config.context - 2)
    return result.model.stream(settings.prompt, strategy, max_new_tokens=longest)


def read_parts(recipe: TrainRecipe, say: Say = lambda line: None) -> Split:
    """The recipe's text, split into what is trained on and what is held out."""
    data = recipe.data
    reading, parts = read_split(data.text, data.held_out, data.hold_out)
    sizes = [sum(len(one.text.encode()) for one in side) / 1e3 for side in (parts.train, parts.held_out)]
    say(
        f"text           {reading.name}: train {len(parts.train):,} documents, {sizes[0]:,.0f} KB, "
        f"held out {len(parts.held_out):,} documents, {sizes[1]:,.0f} KB"
        + (f"; {parts.duplicates:,} exact duplicates left out" if parts.duplicates else "")
    )
    say_skipped(reading, say)
    return parts


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


def rows_of(recipe: TrainRecipe, shards: Shards) -> ShardRows:
    """The rows of a corpus as the recipe cuts them; DataError where there are less than a batch."""
    settings = recipe.training
    if recipe.data.rows == "documents":
        return PackedRows(shards, settings.context, seed=settings.seed)
    rows = Windows(shards, settings.context)
    if len(rows) < settings.rows:
        raise DataError(
            f"the training text has {shards.tokens:,} tokens, less than one batch of {settings.rows} rows of "
            f"{settings.context}; give more text, or lower training.rows or training.context"
        )
    return rows


def network_of(
    recipe: TrainRecipe, tokenizer: Tokenizer, shards: Shards, device: torch.device | str = "cpu"
) -> Network:
    """The recipe's network with fresh weights, for a tokenizer and the text that it packed; on the CPU, in what is fast on
    `device`."""
    size, ngrams = tokenizer.vocab_size, recipe.ngrams
    counted = []
    if ngrams.longest > 1:
        tokens = torch.from_numpy(shards.read(0, shards.tokens).astype(np.int64))
        counted = count_ngrams(tokens, size, ngrams.longest, ngrams.most)
    config = recipe.network(size, tuple(map(len, counted)))
    network = network_class(config)(config)
    network.initialise(recipe.training.seed, recipe.initialisation)
    if network.ngram_embedding is not None:
        network.ngram_embedding.know(counted)
    if isinstance(network.head, AdaptiveSoftmax):
        network.head.order_by(_token_counts(shards, size))
    return network.to(dtype_of(recipe.dtype) or fast_dtype(device))


def _keep_vectors(recipe: TrainRecipe, tokenizer: Tokenizer, parts: Split, run: Path, resume: bool) -> None:
    """The word vectors that the tokenizer can use, from a file or trained here, written into the run: a frozen embedding
    is in no checkpoint, and a file may have changed when the run is resumed."""
    settings, kept = recipe.embedding, run / VECTORS
    if settings.source == "random" or (resume and kept.exists()):
        return
    if settings.source == "glove":
        vectors = glove.train((glove.split_words(one.text) for one in parts.train), settings.glove)
    else:
        vectors = read_vectors(settings.source)
    vectors.of_tokens(tokenizer).save(kept)


def _fill_embedding(recipe: TrainRecipe, network: Network, tokenizer: Tokenizer, run: Path) -> Filled | None:
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


def objective_of(recipe: TrainRecipe) -> Objective:
    """What the recipe minimises."""
    settings = recipe.objective
    objective: Objective = CausalLM(label_smoothing=settings.label_smoothing, z_loss=settings.z_loss)
    if settings.l1:
        objective += L1(settings.l1)
    return objective + L2(settings.l2) if settings.l2 else objective


def _plan(network: Network, tokenizer: Tokenizer, shards: Shards) -> str:
    config = network.config
    part = "layers" if isinstance(network, RecurrentNetwork) else "blocks"
    inside = sum(one.numel() for name, one in network.named_parameters() if f"{part}." in name)
    every = sum(one.numel() for one in network.parameters())
    return (
        f"network        {config.layers} {part} x {config.dim}, vocabulary {tokenizer.vocab_size:,}: "
        f"{every / 1e6:.2f} M parameters, {inside / 1e6:.2f} M of them in {part}; {shards.tokens:,} tokens to train on"
    )


def _facts(
    recipe: TrainRecipe,
    model: LanguageModel,
    parts: Split,
    shards: Shards,
    held_out: Shards,
    training: TrainingResult,
    loss: float,
    bits: Measurement,
) -> dict[str, Any]:
    """What lmworks.json says."""
    results = {key: value for key, value in dataclasses.asdict(training).items() if key != "losses"}
    return {
        "recipe": recipe.model_dump(mode="json"),
        "data": {
            "train": data_hash(parts.train),
            "held_out": data_hash(parts.held_out),
            "documents": [len(parts.train), len(parts.held_out)],
            "tokens": [shards.tokens, held_out.tokens],
            "duplicates": parts.duplicates,
        },
        "validation_loss": loss,
        "bits_per_byte": bits.value,
        "measurements": [bits.to_json()],
        "training": {**results, "last_loss": training.losses[-1] if training.losses else None},
        "seeds": [recipe.training.seed],
        "dtype": str(model.network.dtype).removeprefix("torch."),
    }
