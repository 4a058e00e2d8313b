"""What each way to change a trained model declares of itself: recipes, `lmworks build` and `lmworks explain` read it.

    setup = METHODS["lora"].prepare(Setup(network, CausalLM(), rows), LoRAConfig(rank=4))
    train(setup.network, setup.objective, setup.rows, ...)

Each file of lmworks/adaptation/methods holds one. Recipes are read without torch, which takes seconds to load: such a
file imports it, and what needs it, inside the functions that use it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from lmworks.basics.config import Config
from lmworks.basics.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from lmworks.language_model import LanguageModel
    from lmworks.models.network import Network
    from lmworks.objectives import Objective
    from lmworks.objectives.divergence import Predictions
    from lmworks.tokens.batch import Batch, Row


@dataclass(frozen=True)
class Setup:
    """What a run trains, what it minimises, and what it reads."""

    network: Network
    """Trained is what requires gradients."""
    objective: Objective
    """Objectives add up, so a penalty is one more summand."""
    rows: Sequence[Row]
    """More rows can be mixed in; each epoch shuffles them all."""
    seed: int = 0
    stored: object = None
    """What the model's file holds in few bits (`LanguageModel.stored`)."""
    calibration: Sequence[Row] = ()
    """Rows by which a method may choose where training begins. None in a private run, where only noisy gradients may
    tell of a row, and none where the loss compares with the base: there it begins at the base."""
    beside: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict, hash=False)
    """Files of tensors that are saved beside what is learnt, by their names."""


@dataclass(frozen=True)
class Adapter:
    """How to handle what is learnt beside frozen weights."""

    write: Callable[[Path, Network, str], None]
    """Writes the adapter into a folder that exists, with the reference of the base it belongs to."""
    read: Callable[[Path, Network], Network]
    """Puts the adapter of a folder on a network, in place; ModelError, and the network as it was, where the files do
    not fit it."""
    tensors: Callable[[Network], dict[str, Tensor]]
    """What is trained, by the names that the file has; empty for a network without such an adapter."""
    off: Callable[[Network], AbstractContextManager[None]]
    """Within this context the network is the base."""
    merges: bool = True
    """Can weights take over what it does? Then `merge_adapters` leaves a plain network."""
    kind: str = "lora"
    """The kind of update: "lora" adds a product of low rank to a plain matrix."""
    type: str = "LORA"
    """What adapter_config.json calls it; kinds of one type are read alike."""


@dataclass(frozen=True)
class Method:
    """One way to change a trained model."""

    name: str
    """What `method` is in a recipe; also the name of the table with the method's settings, so a Python name."""
    summary: str
    """What it is, in a clause."""
    settings: type[Config]
    """The table; its docstrings are the help."""
    prepare: Callable[[Setup, Any], Setup]
    """Changes a setup by the settings, with the network in place: freezes, adds layers, adds to objective or rows.
    ConfigError for a network that the method does not fit; `{at}` in it is the method's table. The network may be on
    the meta device, without rows to learn from: that tells early whether the method fits, and lets a planner count."""
    settle: Callable[[Network], None] = lambda network: None
    """What is done, in place, once training has ended: a base in few bits becomes plain matrices of the same values."""
    few_bits: bool = False
    """The frozen matrices are kept in few bits, for the memory."""
    from_file: Callable[[Any], bool] = lambda settings: False
    """Do these settings start from how the base's file stores its weights? Then a config alone cannot say whether the
    method fits."""
    adapter: Adapter | None = None
    """None for a method that changes the weights themselves: then the whole model is saved."""
    kinds: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {"": {}}, hash=False)
    """Settings that take memory and time of their own, each with a word for it: a plan shows them side by side."""


@dataclass(frozen=True)
class Original:
    """The model before it is trained, for those who keep what it can do."""

    model: LanguageModel | None
    """Its network is the one that is trained, with the method's changes and not trained yet; None where nothing is
    read or written, as memory is only planned."""
    adapter: Adapter | None
    """The method's; None where the weights themselves are trained."""
    context: int
    """Tokens of a row."""
    measured: frozenset[str]
    """Hashes of the documents by which gain and loss are measured: nothing may be learnt from them."""

    def old_rows(self, text: str | None, rows: int, seed: int) -> list[Row]:
        """Up to this many rows of old text, which the model writes itself where `text` is None. ConfigError for a text
        that holds a document by which the model is measured."""
        from lmworks.adaptation.old_text import rows_read, rows_written

        assert self.model is not None
        if text is None:
            off = nullcontext() if self.adapter is None else self.adapter.off(self.model.network)
            with off:
                return rows_written(self.model, rows, self.context, seed)
        return rows_read(text, self.measured, self.model.tokenizer, rows, self.context, seed)

    def states_of(self, network: Network) -> Callable[[Batch], Predictions]:
        """What the base predicts of a batch: the network with its adapter off, or, where its weights are trained, a
        copy that is made now."""
        from lmworks.adaptation.near_base import base_predictions

        return base_predictions(network, None if self.adapter is None else self.adapter.off)


@dataclass(frozen=True)
class Retention:
    """One way to keep what a model could do, beside any method."""

    name: str
    """What `retain` is in a recipe, and the name of the table with its settings."""
    summary: str
    """What it does, in a clause."""
    settings: type[Config]
    """The table; its docstrings are the help."""
    prepare: Callable[[Setup, Original, Any], Setup]
    """Changes a setup that the method has prepared: more rows, or more to minimise. ConfigError where it does not fit;
    `{at}` in it is the table."""
    keeps: Callable[[Network, Adapter | None], float] = lambda network, adapter: 0.0
    """Bytes that it keeps beside a prepared network from the first step to the last."""
    rows: Callable[[int, Any], int] = lambda rows, settings: rows
    """How many rows are learnt, by the settings, where the new text alone has that many."""
    apart: bool = False
    """It keeps the base by leaving it as it is, beside an adapter that is never merged."""
    passes: float = 0.0
    """Forward passes of the base that a step takes beside those of what is trained."""
    must_go_with: Callable[[Adapter | None], None] = lambda adapter: None
    """ConfigError for a method, by its adapter, whose changes this cannot keep in bounds; `{at}` in it is the table. A
    recipe asks it where it is read, before there is a model."""


@dataclass(frozen=True)
class Chosen:
    """A method, a way to keep what the model could do, and their settings: what a recipe chose."""

    method: Method
    settings: Config
    retention: Retention | None = None
    kept_by: Config | None = None
    """The retention's settings."""
    stored: object = None
    """What the model's file holds in few bits, for methods that leave it so."""

    def prepare(self, setup: Setup, context: int = 0) -> Setup:
        """Change a setup by the method; ConfigError, with the path of the setting, where it does not fit the network,
        or where texts of `context` tokens do not fit: beside what it puts before them, or into learned positions."""
        try:
            found = self.method.prepare(replace(setup, stored=self.stored), self.settings)
        except ConfigError as error:
            raise error.inside((self.method.name,)) from None
        prompt, longest = found.network.prompt, found.network.longest
        if prompt is not None and context > longest:
            raise ConfigError(
                f"{{at}}training.context is {context:,}, and beside a trained prompt of {len(prompt.vectors):,} the "
                f"model reads {longest:,} tokens; give {{at}}training.context={longest}"
            )
        learned = found.network.encoding.longest(found.network.config)
        if learned is not None and context > learned:
            raise ConfigError(
                f"{{at}}training.context is {context:,}, and the network has learned {learned:,} positions; give "
                f"{{at}}training.context={learned}"
            )
        return found

    def kept(self, network: Network) -> float:
        """Bytes that the retention keeps beside a prepared network."""
        return 0.0 if self.retention is None else self.retention.keeps(network, self.method.adapter)

    def retain(self, setup: Setup, base: Original | None = None) -> Setup:
        """Change a prepared setup by the retention; without a base nothing is read or written, as for a plan.
        ConfigError as above."""
        base = base or Original(None, self.method.adapter, 0, frozenset())
        if self.retention is None:
            return setup
        try:
            return self.retention.prepare(setup, base, self.kept_by)
        except ConfigError as error:
            raise error.inside((self.retention.name,)) from None
