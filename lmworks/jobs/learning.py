"""Learning: what a run of `build` makes of its text: how it is split, its rows, what is minimised, figures of its own.

The one of this file learns to write every document, or what the assistant says of a conversation; `lmworks prefer`
brings another (prefer.py). Everything else of a run is the same for all: base, method, retention, gain and loss.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from lmworks.adaptation.declaration import Original, Setup
from lmworks.evaluation.exact import calls_written
from lmworks.evaluation.measurement import Measurement
from lmworks.jobs.build_text import Tokenizes, read_text, rows_of, with_canaries
from lmworks.jobs.private import private_rows
from lmworks.jobs.recipe import Recipe
from lmworks.language_model import LanguageModel
from lmworks.objectives import CausalLM, Objective
from lmworks.text.document import Document
from lmworks.text.splits import Split
from lmworks.tokens.batch import Row

Say = Callable[[str], None]


@dataclass
class Learning:
    """Of plain text and conversations."""

    compares_with_base: ClassVar[bool] = False
    """Does the loss compare with the base?"""

    calling: list[Document] = field(default_factory=list)
    """Of what is held out, the conversations that call tools."""

    def objective(self, recipe: Recipe) -> Objective:
        """What is minimised, before a retention adds to it."""
        return CausalLM()

    def read(self, recipe: Recipe, say: Say) -> Split:
        """The text in two parts; says what was read."""
        return read_text(recipe, recipe.model.reference, say)

    def rows(self, recipe: Recipe, model: Tokenizes, parts: Split, say: Say) -> Sequence[Row]:
        """What is learnt."""
        self.calling = [one for one in parts.held_out if one.calls]
        if recipe.canaries.count:
            parts = with_canaries(recipe.canaries, model, parts, say)
        return (private_rows if recipe.private.on else rows_of)(recipe, model, parts, say)

    def before_the_first_step(self, recipe: Recipe, setup: Setup, base: Original, run: Path, resume: bool) -> Setup:
        """The last chance to look at the base, of a network that has its method's changes."""
        return setup

    def measure(
        self, recipe: Recipe, model: LanguageModel, base: Callable[[], Callable[[Tensor], Tensor]]
    ) -> list[Measurement]:
        """Figures beside gain and loss, of the trained model; `base()` gives what gives the base's logits."""
        return calls_written(model, base(), self.calling, recipe.evaluation.tokens) if self.calling else []

    def facts(self) -> dict[str, Any]:
        """More about the data for lmworks.json."""
        return {}
