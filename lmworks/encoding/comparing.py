"""How well two texts belong together: a cross-encoder's score for each of several pairs, which it reads as one text.

scores = lm.load("reranker").compare([("how many people live in Berlin?", "Berlin has 3.5 million inhabitants.")])

Source: Nogueira and Cho 2019, https://arxiv.org/abs/1901.04085.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from lmworks.basics import progress
from lmworks.basics.arguments import two_texts
from lmworks.basics.arrays import Float
from lmworks.basics.errors import ConfigError, DataError, ModelError
from lmworks.encoding.embedding import at_once, rows_by_length
from lmworks.models.config import ModelConfig
from lmworks.models.files.model_folder import read_facts, read_json
from lmworks.models.runner import Runner
from lmworks.tokens.source import around_a_text, between_texts
from lmworks.tokens.tokenizer import Tokenizer

Pair = tuple[str, str]
"""A question and what may answer it, or any two texts in the order that the network was trained on."""


Scale = Literal["none", "sigmoid"]
"""What is done with a score: nothing, or a sigmoid brings it between 0 and 1."""
SCALES: dict[str, Scale] = {"Identity": "none", "Sigmoid": "sigmoid"}


def scale_of(folder: Path) -> Scale:
    """What a folder of ours or of sentence-transformers says is done with scores; ModelError for anything else."""
    if (own := read_facts(folder).get("scores")) in SCALES.values():
        return "sigmoid" if own == "sigmoid" else "none"
    beside, theirs = folder / "config_sentence_transformers.json", read_json(folder / "config.json")
    newest = read_json(beside) if beside.is_file() else {}
    newer = theirs.get("sentence_transformers")
    said = newest.get("activation_fn") or (newer.get("activation_fn") if isinstance(newer, dict) else None)
    said = said or theirs.get("sbert_ce_default_activation_function")
    name = str(said or "Identity").rpartition(".")[2]
    if name not in SCALES:
        raise ModelError(f"{folder}: scores through {said} are not supported; known are {', '.join(SCALES)}")
    return SCALES[name]


def compares(config: ModelConfig) -> bool:
    """Whether the network gives a pair of texts one score: an encoder whose classifier has one output."""
    return config.arrangement == "encoder" and len(config.labels) == 1 and config.labels_of == "texts"


def compare(
    runner: Runner,
    tokenizer: Tokenizer,
    pairs: Sequence[Pair],
    *,
    scale: Scale = "none",
    cut: bool = False,
    exact: bool = True,
) -> Float[np.ndarray, " pairs"]:
    """A score for each pair, in float32: the higher, the better they belong together. With `cut` the second text of a
    pair that is too long loses its end, and the first what exceeds half of the room; else it is a DataError.

    ConfigError for a network without such a head. `exact` as in `embed`.
    """
    config = runner.config
    if not compares(config):
        raise ConfigError(
            "the network gives pairs of texts no score; load a cross-encoder, an encoder whose classifier has one "
            "output, such as reranker"
        )
    rows, firsts = _rows(tokenizer, pairs, config.context, cut)
    scores = np.zeros(len(rows), np.float32)
    with progress.task("comparing", len(rows), "pairs") as advance:
        for places, tokens, mask in rows_by_length(rows, at_once(runner.device)):
            segments = None
            if config.segments > 1:
                ends = np.array([firsts[place] for place in places])
                segments = (np.arange(tokens.shape[1]) >= ends[:, None]).astype(np.int64)
            scores[places] = runner.classes(tokens, mask, segments, exact)[:, 0]
            advance(len(places))
    return np.exp(-np.logaddexp(0, -scores)) if scale == "sigmoid" else scores


def _rows(tokenizer: Tokenizer, pairs: Sequence[Pair], context: int, cut: bool) -> tuple[list[list[int]], list[int]]:
    """The ids of each pair, and how many of them belong to its first text."""
    pairs = list(pairs) if isinstance(pairs, Iterable) and not isinstance(pairs, str) else [pairs]
    if not all(two_texts(one) for one in pairs):
        raise DataError("compare takes a list of pairs of texts: [(question, passage), ...]")
    opening, closing = around_a_text(tokenizer)
    between = between_texts(tokenizer)
    room = context - len(opening) - len(between) - len(closing)
    read = tokenizer.encode_batch([text for pair in pairs for text in pair], special=False)
    rows, firsts = [], []
    for (text, other), first, second in zip(pairs, read[::2], read[1::2], strict=True):
        if not first or not second:
            raise DataError(f"a text of the pair {text[:40]!r}, {other[:40]!r} is empty; leave the pair out")
        if len(first) + len(second) > room and not cut:
            raise DataError(
                f"the pair {text[:40]!r}..., {other[:40]!r}... has {len(first) + len(second):,} tokens and the model "
                f"reads {room:,}; shorten it, or give cut=True"
            )
        ending = second[: max(room - len(first), room // 2)]
        beginning = [*opening, *first[: room - len(ending)]]
        rows.append([*beginning, *between, *ending, *closing])
        firsts.append(len(beginning) + len(closing))
    return rows, firsts
