"""Subject: the model that a report is about, with what its sections ask of it."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from lmworks.basics.errors import ConfigError
from lmworks.evaluation.training_text import is_here, named_text
from lmworks.grounding.beside import index_beside
from lmworks.grounding.index import Index
from lmworks.lab.scale import Scale
from lmworks.language_model import LanguageModel
from lmworks.loading import load
from lmworks.models.files.model_folder import read_facts
from lmworks.models.full_precision import in_full_precision
from lmworks.models.network import Network
from lmworks.reporting.own_file import OwnFile
from lmworks.text.document import Document
from lmworks.text.sources import read
from lmworks.text.splits import data_hash

Value = TypeVar("Value")
GENERAL = "wikitext2"
"""The text that no model here was adapted to."""


@dataclass(frozen=True)
class Subject:
    """A model, the scale of its report, and the text that it was trained on where that is known."""

    model: LanguageModel
    name: str
    scale: Scale
    folder: Path
    """Where sections may keep items as they are measured."""
    trained_on: str | None = None
    questions: tuple[str, ...] = ()
    """Files of the user's own questions."""
    named: bool = False
    """Whether nobody gave the text, and the model's lmworks.json names it."""
    beside: Subject | None = None
    """Another model of the same text, with or without differential privacy, whose leaks stand beside."""

    @classmethod
    def of(
        cls,
        model: LanguageModel | str | os.PathLike[str],
        scale: Scale,
        folder: Path,
        trained_on: str | None = None,
        questions: tuple[str, ...] = (),
        beside: LanguageModel | str | os.PathLike[str] | None = None,
    ) -> Subject:
        """Load a model where it is a reference. Where no text is given, what it was trained on is the text that its
        lmworks.json names, if that is here; "" is for none. ConfigError for one that does not continue a text, and for
        a model beside it that did not learn the same documents."""
        loaded = model if isinstance(model, LanguageModel) else load(model)
        loaded.must_converse()
        text = named_text(loaded.source) if trained_on is None and loaded.source is not None else None
        named = text is not None and is_here(text)
        known = text if named else trained_on or None
        name = loaded.reference or "a model in memory"
        other = None if beside is None else cls.of(beside, scale, folder, trained_on)
        made = cls(loaded, name, scale, folder, known, questions, named, other)
        if other is not None:
            _must_have_learnt_the_same(made, other)
        return made

    def scaled(self, quick: Value, full: Value) -> Value:
        """One value for the quick scale, another for the full one."""
        return full if self.scale == "full" else quick

    @cached_property
    def general(self) -> list[Document]:
        """Text for bits per byte and prompts. DataError where it is not here and cannot be fetched."""
        return read(GENERAL).documents

    @cached_property
    def training_text(self) -> list[Document]:
        """What the model was trained on."""
        assert self.trained_on is not None
        return read(self.trained_on).documents

    @cached_property
    def trained_on_hash(self) -> str | None:
        """What tells one training text from another, and a split that a recipe says from any other."""
        if self.trained_on is None:
            return None
        return data_hash(self.training_text) + (" as the recipe splits it" if self.named else "")

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What the model's lmworks.json says; nothing where there is none."""
        source = self.model.source
        return read_facts(source) if source is not None and source.is_dir() else {}

    @cached_property
    def index(self) -> Index | None:
        """The documents that travel with the model."""
        return index_beside(self.model.source)[0]

    @cached_property
    def own_files(self) -> list[OwnFile]:
        """The user's own questions. DataError or ConfigError, with the place, for what cannot be asked, and for two
        files of one name, whose figures nobody could tell apart."""
        names = [Path(one).name for one in self.questions]
        if twice := next((one for one in names if names.count(one) > 1), None):
            raise ConfigError(f"two files of questions are called {twice}; rename one of them")
        return [OwnFile.of(Path(one), self.index is not None) for one in self.questions]

    @property
    def own_hashes(self) -> list[str]:
        """What tells other questions, and other documents or a later test of theirs, from these."""
        return [
            *([] if self.index is None else [self.index.digest, json.dumps(self.index.tested, sort_keys=True)]),
            *(f"{one.name} {one.sha256}" for one in self.own_files),
        ]

    @contextmanager
    def running(self, compress: str) -> Iterator[LanguageModel]:
        """The model as `compress` runs it (int4, int8, none); what ran it before runs it again after the block."""
        model = self.model
        before = model.runner, model.embeds_compiled, model._embedder
        try:
            model.choose_runner(compress)
            yield model
        finally:
            model.runner, model.embeds_compiled, model._embedder = before

    @cached_property
    def exact(self) -> Network:
        """The network in float32, in evaluation: a copy unless it is that already."""
        found = in_full_precision(self.model.network, self.name)
        return copy.deepcopy(found).eval().requires_grad_(False) if found.training else found


def _must_have_learnt_the_same(one: Subject, other: Subject) -> None:
    """ConfigError unless both models say that they learnt the same documents, and held out the same. Of what it learnt
    a private one says the number alone, as a hash of it would be without noise."""
    for each in (one, other):
        told = "documents" if each.facts.get("private") else "train"
        if not {told, "held_out"} <= (each.facts.get("data") or {}).keys():
            raise ConfigError(
                f"{each.name} does not say which documents it learnt, so that nobody knows whether its leaks compare; "
                "give a folder that lmworks made of the same text"
            )
    ours, theirs = one.facts["data"], other.facts["data"]
    for part, what in (("held_out", "held out"), ("train", "learnt"), ("documents", "learnt")):
        if part in ours and part in theirs and ours[part] != theirs[part]:
            raise ConfigError(
                f"{one.name} and {other.name} {what} different documents, as their lmworks.json say, and leaks compare "
                "only on the same; tune one of them again on the other's text"
            )
