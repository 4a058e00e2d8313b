"""Service: a model with its engine, as the server's routes see it.

service = Service(lm.load("smollm2"), name="smollm2")
app = create_app(ServedModels.of(service))      # see `app.py`, `models.py`
service.close()
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from lmworks.basics.errors import ConfigError
from lmworks.drawing_model import DrawingModel
from lmworks.generation.engine import Engine
from lmworks.generation.guessing import Lookup
from lmworks.generation.request import Prompt
from lmworks.grounding.answer import GroundedAnswer, Way
from lmworks.grounding.index import Index
from lmworks.language_model import LanguageModel
from lmworks.seeing_model import SeeingModel
from lmworks.serving.api.token_texts import TokenTexts
from lmworks.serving.pytorch_worker import PyTorchWorker, twin
from lmworks.serving.settings import ServerLimits

if TYPE_CHECKING:
    from lmworks.adaptation.router import AdapterRouter

AUTO = "auto"
"""The name by which a request leaves it to its text which of the adapters, or the model itself, answers."""


class Service:
    """What is served: a model that writes, one that makes vectors, or both."""

    def __init__(
        self,
        model: LanguageModel,
        *,
        name: str | None = None,
        embedder: LanguageModel | None = None,
        keys: Sequence[str] = (),
        limits: ServerLimits | None = None,
        lookup: Lookup | None = None,
        index: Index | None = None,
    ) -> None:
        self.model = model
        self.name = name or model.reference or "model"
        """What clients call the model."""
        self.adapters = tuple(model.adapters)
        """What clients call the adapters beside it."""
        self.router = _router(model)
        """Chooses among them by a text; None where one does not say what it has learnt from."""
        if self.router is not None:
            none_is_auto((self.name, *self.adapters))
        self.writes = model.config.arrangement != "encoder" and not model.hears
        """Whether it continues text; an encoder makes vectors alone, and what hears writes down recordings."""
        self.embedder = embedder or (None if model.translates else model)
        """What makes vectors; None where nothing does."""
        self.embedder_name = self.name if embedder is None else embedder.reference or "embedder"
        if embedder is not None and self.embedder_name == self.name:
            raise ConfigError(f"two models are called {self.name}; give one of them another name")
        self.texts = TokenTexts(model.tokenizer)
        self.keys, self.limits, self.lookup = tuple(keys), limits or ServerLimits(), lookup
        self.index = index
        """The documents that it answers from; None where it answers by itself."""
        self.worker = PyTorchWorker(self.limits.queue)
        self.stopping = False
        """Whether the server was asked to stop; it takes no more requests then."""
        self._engine = Engine(model, seats=self.limits.seats, queue=self.limits.queue) if self.writes else None

    @property
    def engine(self) -> Engine:
        """What writes; ConfigError where the model makes vectors alone."""
        if self._engine is None:
            self.model.must_write()
            raise AssertionError("a model that writes has an engine")
        return self._engine

    def about(self, adapter: str | None = None) -> dict[str, Any]:
        """What can be done with the model, alone or with an adapter, and how large it is, for clients that show it."""
        config, converses = self.model.config, self.writes and not self.model.translates
        return {
            "writes": self.writes,
            "chats": converses and self.model.tokenizer.chat_template is not None,
            "translates": self.model.translates and not self.model.hears,
            "documents": self.index is not None,
            "hears": self.model.hears,
            "draws": isinstance(self.model, DrawingModel),
            "sees": isinstance(self.model, DrawingModel | SeeingModel),
            "layers": config.layers,
            "heads": config.heads,
            "parameters": self.model.parameters_with(adapter),
            "runner": self.model.runner.name if self.writes else None,
            "rounded_to": self.model.rounded_to,
        }

    async def adapters_for(self, prompts: Sequence[Prompt]) -> list[str | None]:
        """The adapters that the router chooses, None for the model itself. An LmworksError for what it cannot read."""
        router = self.router
        assert router is not None
        return await self.worker.run(lambda: router.choose(self.router_reads, prompts, self.model.longest))

    @property
    def router_reads(self) -> LanguageModel:
        """What reads a text before its adapter is chosen: the model itself where the compiled path runs it, which
        answers one thread after another and leaves the weights in their file; otherwise a copy for the worker."""
        return self.model if self.model.runner.own_threads() else self._twin

    @functools.cached_property
    def _twin(self) -> LanguageModel:
        return twin(self.model)

    def ask(self, question: str, way: Way = "extract", min_right: float | None = None) -> GroundedAnswer:
        """What the documents answer; for the worker's thread, as it computes."""
        assert self.index is not None
        return self.index.ask(question, twin(self.model) if way == "write" else None, way, min_right=min_right)

    def close(self, finish: bool = False, timeout: float | None = 30) -> bool:
        """Stop the engine, with or without finishing what it has begun; returns whether it is done."""
        self.stopping = True
        self.worker.close()
        return self._engine is None or self._engine.close(finish, timeout)


def none_is_auto(names: Collection[str]) -> None:
    """ConfigError where a text may choose and a model or an adapter has the name that says so."""
    if AUTO in names:
        raise ConfigError(f"{AUTO} is how a request leaves the choice to its text; call the model or adapter otherwise")


def _router(model: LanguageModel) -> AdapterRouter | None:
    if not model.adapters:
        return None
    from lmworks.adaptation.router import AdapterRouter  # imports torch, which serving alone does without

    return AdapterRouter.where_known(model)
