"""Recipe: one validated TOML file that reproduces a run; saved beside its result.

recipe = Recipe.read("quick", ["training.steps=40"])
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from lmworks.adaptation.lora_config import LoRAConfig
from lmworks.basics.config import Config
from lmworks.basics.recipe_file import RecipeFile
from lmworks.training.settings import TrainingConfig


class ModelSettings(Config):
    """The model that is adapted."""

    reference: str = "smollm2"
    """An alias, a directory, a .gguf file or hf:org/name."""

    dtype: str | None = None
    """float32 or bfloat16; None for what is fast here: bfloat16 where the processor multiplies it natively."""


class DataSettings(Config):
    """The text."""

    text: str = "python-reference"
    """A folder, a file, python-reference, a name of the data registry or hf:org/name; of a folder that `lmworks corpus` made
    the train/ is learnt, and the held_out/ measures."""

    held_out: float = Field(default=0.1, gt=0, lt=1)
    """Share of the documents that is never trained on and measures what was learnt."""

    general: str = "wikitext2"
    """Text that has nothing to do with yours: how well the model still reads it shows what it forgot."""


class EvaluationSettings(Config):
    """What is measured before and after."""

    tokens: int = Field(default=20_000, gt=0)
    """At most about this many tokens of each text."""

    window: int = Field(default=1024, ge=8)
    """Tokens that the model reads at once."""


class GenerationSettings(Config):
    """The answer at the end."""

    prompt: str = "In one sentence, what is a list in Python?"
    """What the result is asked."""

    max_new_tokens: int = Field(default=80, gt=0)
    """The longest answer."""


class Recipe(RecipeFile):
    """Everything that shapes a run of `lmworks build`."""

    explain_as: ClassVar[str] = "build"

    kind = "build"

    model: ModelSettings = ModelSettings()
    data: DataSettings = DataSettings()
    lora: LoRAConfig = LoRAConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationSettings = EvaluationSettings()
    generation: GenerationSettings = GenerationSettings()
