"""The models of a server by their references: one that is loaded at once, or several that are loaded when they are
named; and what each will take, said before it takes it.

    models = one("smollm2", Opening(compress="int4"), name="small")
    models = several(["smollm2", "models/notes"], Opening(), memory=4e9, idle=300)
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from lmworks.adaptation.adapter_files import WEIGHTS, grid_of, led_by
from lmworks.basics import progress
from lmworks.basics.errors import ConfigError, ModelError
from lmworks.basics.memory import available_bytes
from lmworks.generation.engine import PREFIX_BYTES
from lmworks.generation.guessing import Lookup
from lmworks.grounding.index import Index
from lmworks.kernels.choice import check_compress
from lmworks.kernels.footprint import Footprint, in_gigabytes
from lmworks.kernels.pages import token_bytes
from lmworks.language_model import LanguageModel
from lmworks.loading import add_adapter, base_among, load, must_be_whole, network_path
from lmworks.models.files.references import must_be_somewhere
from lmworks.serving.log import Log
from lmworks.serving.models import ServedModel, ServedModels
from lmworks.serving.service import AUTO, Service, none_is_auto
from lmworks.serving.settings import ServerLimits

SHARE = 0.8
"""Of the free memory, for all models together unless somebody says more."""


@dataclass(frozen=True)
class Opening:
    """What holds for each model of a server."""

    compress: str | None = None
    embedder: str | None = None
    """One more model, for vectors."""
    index_of: Callable[[Path | None], Index | None] = lambda source: None
    """The documents that a model answers from."""
    lookup: Lookup | None = None
    keys: Collection[str] = ()
    limits: ServerLimits = field(default_factory=ServerLimits)
    log: Log = field(default_factory=lambda: Log(None))
    adapters: Mapping[str, Path] = field(default_factory=dict)
    """Folders of adapters, by the names that requests give."""
    routes: bool = True
    """Whether a text may choose among them."""

    def __post_init__(self) -> None:
        check_compress(self.compress)
        if self.embedder is not None:
            must_be_somewhere(self.embedder)


@dataclass(frozen=True)
class Foretold:
    """What a model takes when it is served, before it is loaded."""

    footprint: Footprint
    longest: int
    """Tokens that it reads."""
    weights: int
    """Bytes."""
    text: int
    """Bytes of the keys and values of a text as long as the model reads."""

    @classmethod
    def of(cls, reference: str, compress: str | None = None, base: str | None = None) -> Self:
        """Of a reference as `load` takes it. ModelError for what is no model."""
        path = network_path(reference, base)
        found = Footprint.of(path)
        config, weights = found.config, found.bytes(compress)
        if config.arrangement == "encoder":
            from lmworks.encoding.pooling import Pooling

            return cls(found, (Pooling.read(path) or Pooling()).within(config.context), weights, 0)
        text = token_bytes(config) * config.context
        return cls(found, config.context, weights, text)

    def said(self, name: str, seats: int) -> str:
        """A sentence."""
        most = in_gigabytes(seats * self.text + PREFIX_BYTES)
        keys = f", and the keys and values of its texts at most {most}" if self.text else ""
        return f"the weights of {name} take {in_gigabytes(self.weights)} of memory{keys}"


def one(
    reference: str, opening: Opening, *, name: str | None = None, adapter: str | None = None, base: str | None = None
) -> ServedModels:
    """A model that is loaded now, with an adapter on it where one is given, and never put away."""
    path, base, limits = adapter or reference, reference if adapter else base, opening.limits
    progress.note(Foretold.of(path, opening.compress, base).said(name or path, limits.seats))
    for folder in opening.adapters.values():
        base_among(folder, [path])
    model = _loaded(path, opening, base)
    embedder = None if opening.embedder is None else load(opening.embedder)
    service = Service(
        model,
        name=name,
        embedder=embedder,
        keys=tuple(opening.keys),
        limits=limits,
        lookup=opening.lookup,
        index=opening.index_of(model.source),
    )
    return ServedModels.of(service)


def several(references: Sequence[str], opening: Opening, *, memory: float | None, idle: float) -> ServedModels:
    """Models that are loaded when a request names them. `memory` in bytes, a share of what is free unless given;
    `idle` in seconds. ModelError for one that would not fit there alone, and for what is no model."""
    free = available_bytes()
    budget = memory or (None if free is None else SHARE * free)
    embedder, adapters = opening.embedder, {one: dict[str, Path]() for one in references}
    for name, folder in opening.adapters.items():
        adapters[base_among(folder, references)][name] = folder
    routes = sum(map(bool, adapters.values())) == 1  # of several bases, nothing would tell which one
    every = [(replace(opening, adapters=adapters[one], routes=routes), one) for one in references]
    every += [(replace(opening, adapters={}), one) for one in filter(None, [embedder])]
    models = [_named(one, how, budget, one == embedder) for how, one in every]
    more = {} if budget is None else {"memory": budget}
    return ServedModels(models, idle=idle, keys=opening.keys, limits=opening.limits, log=opening.log, **more)


def _named(reference: str, opening: Opening, budget: float | None, embeds: bool) -> ServedModel:
    found = Foretold.of(reference, opening.compress)
    progress.note(found.said(reference, opening.limits.seats))
    must_be_whole(network_path(reference), found.footprint.config)  # or its first request would be told
    beside = sum((folder / WEIGHTS).stat().st_size for folder in opening.adapters.values())
    needed = found.weights + found.text + beside
    if budget is not None and needed > budget:
        raise ModelError(
            f"{reference} takes {in_gigabytes(needed)} with the keys and values of one text, and all models together "
            f"may take {in_gigabytes(budget)}; give more --memory, or {found.footprint.largest_within(int(budget))}"
        )
    names = {reference: found.longest}
    names |= {name: found.longest - led_by(folder) for name, folder in opening.adapters.items()}
    if opening.routes and opening.adapters:
        from lmworks.adaptation.router import kinds_in  # imports torch, as adapters do when they are put beside

        if all(map(kinds_in, opening.adapters.values())):
            none_is_auto(names)
            names[AUTO] = min(names.values())
    if reference in opening.adapters:
        raise ConfigError(f"a model and an adapter are called {reference}; give the adapter another name")
    make = functools.partial(_made, reference, opening)
    index = opening.index_of(Path(reference))
    documents = None if index is None else index.place
    return ServedModel(names, make, needed, embeds, adapters=opening.adapters, documents=documents)


def _loaded(reference: str, opening: Opening, base: str | None = None) -> LanguageModel:
    """The model with its adapters beside it."""
    grid = grid_of(opening.adapters.values())
    model = load(reference, base=base, compress=opening.compress, grid=grid)
    if grid is not None:
        progress.note(
            f"{reference} is rounded to NF4, as its adapters were trained on that: what names none of them is answered "
            "by the rounded model, not by the values of its files"
        )
    for name, folder in opening.adapters.items():
        add_adapter(model, name, folder)
    return model


def _made(reference: str, opening: Opening) -> Service:
    model = _loaded(reference, opening)
    index = opening.index_of(model.source)
    return Service(model, name=reference, limits=opening.limits, lookup=opening.lookup, index=index)
