"""What a build makes besides the model: an index of its text, and an answer from it, before anything is trained.

The index lies in the run's folder until the model directory takes it in.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmworks.basics.errors import LmworksError
from lmworks.basics.extras import require
from lmworks.grounding.answer import GroundedAnswer
from lmworks.grounding.beside import index_facts
from lmworks.grounding.index import Index, IndexSettings, build, open_index
from lmworks.grounding.self_test.outcome import SelfTestOutcome
from lmworks.grounding.self_test.run import self_test
from lmworks.grounding.telling import facts_of, lines_of
from lmworks.jobs.recipe import Recipe
from lmworks.models.files.model_folder import INDEX_FOLDER
from lmworks.models.files.references import ALIASES, resolve
from lmworks.text.corpus.folder import corpus_of

Say = Callable[[str], None]


@dataclass(frozen=True)
class Grounded:
    """An index that a build made, and what it answered."""

    facts: dict[str, Any]
    """What lmworks.json says of the index; `tested`: its own test's figures."""
    answer: GroundedAnswer
    told: list[str]
    """The answer as lines for a terminal."""
    told_facts: dict[str, Any]
    """The answer for programs."""
    outcome: SelfTestOutcome | None
    """Of the index's own test."""


def grounded(recipe: Recipe, run: Path, question: str, resume: bool, say: Say) -> Grounded | None:
    """Index the text into the run's folder and ask the index; None, and a line that says why, where that is not to be.

    Of a corpus, what it holds out is indexed too: an index learns nothing.
    """
    if not recipe.grounding.index:
        return None
    if missing := _missing(recipe.grounding.embedder):
        say(f"index          left out, so nothing is cited: {missing}")
        return None
    index = _index(recipe, run / INDEX_FOLDER, resume)
    say(f"index          {index.counts}")
    answer = index.ask(question)
    told = lines_of(answer, index)
    say(f"asked          {question}")
    for number, line in enumerate(told):
        say(f"{'' if number else 'answer':<15}{line}".rstrip())
    outcome = self_test(index, recipe.grounding.questions) if recipe.grounding.questions else None
    if outcome is not None:
        say(f"own test       {outcome.counts}")
        for line in outcome.lines:
            say(f"{'':<15}{line}")
    return Grounded(index_facts(index), answer, told, facts_of(answer, index), outcome)


def _index(recipe: Recipe, folder: Path, resume: bool) -> Index:
    if resume and folder.is_dir():
        return open_index(folder)  # of the same text: the run was checked
    shutil.rmtree(folder, ignore_errors=True)  # of a run that ended before its first checkpoint
    text = corpus_of(recipe.data.text) or recipe.data.text
    return build(text, folder, IndexSettings(embedder=recipe.grounding.embedder))


def _missing(embedder: str) -> str:
    """Why there can be no index: a package, or an embedder that cannot be fetched; a misspelt one is an error."""
    try:
        require("snowballstemmer", "ground")
        resolve(embedder)
    except LmworksError as error:
        if embedder not in ALIASES:
            raise
        return str(error)
    return ""
