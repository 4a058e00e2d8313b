"""Recipe: one validated TOML file that reproduces a run; saved beside its result.

recipe = Recipe.read("quick", ["training.steps=40"])
recipe = Recipe(method="full", training={"learning_rate": 5e-5})
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

from pydantic import (
    Field,
    SerializeAsAny,
    SerializerFunctionWrapHandler,
    create_model,
    model_serializer,
    model_validator,
)

from lmworks.adaptation.declaration import Chosen
from lmworks.adaptation.methods import METHODS
from lmworks.adaptation.retention import RETENTIONS
from lmworks.basics.config import Config
from lmworks.basics.errors import ConfigError, did_you_mean
from lmworks.basics.recipe_file import RecipeFile
from lmworks.evaluation.privacy.canary_config import CanaryConfig
from lmworks.training.private.settings import PrivateConfig, refuse
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
    """A folder, a file, python-reference, a name of the data registry or hf:org/name. Of a folder that `lmworks corpus`
    made, train/ is learnt and held_out/ measures."""

    held_out: float = Field(default=0.1, gt=0, lt=1)
    """Share of the documents that is never trained on and measures what was learnt."""

    counterfactual: str = "none"
    """Whose words are swapped in a counterpart of each training document that has some, which is learnt too: gender,
    gender-without-names, or a file with two words a line; none for no counterparts."""

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

    prompt: str | None = None
    """What the result is asked; None for a question made of the text's own headings."""

    max_new_tokens: int = Field(default=80, gt=0)
    """The longest answer."""


class GroundingSettings(Config):
    """The index of the text, from which the result answers with citations."""

    index: bool = True
    """Index the text too, in the model's directory. Where the extra `ground` or the embedder is missing and cannot be
    fetched, the build says so and goes on without."""

    embedder: str = "minilm"
    """The model whose vectors stand for passages and questions."""

    questions: int = Field(default=80, ge=0)
    """Questions made from the text, at most, by which the index tests itself and chooses settings; 0 for no test."""


_TABLES: dict[str, Any] = {
    name: (part.settings, Field(default=part.settings(), description=part.summary))
    for name, part in (METHODS | RETENTIONS).items()  # type: ignore[operator]
}
_Tables: Any = create_model("_Tables", __base__=RecipeFile, **_TABLES)


class Recipe(_Tables):  # type: ignore[misc]
    """Everything that shapes a run of `lmworks build`; each method has a table of its name."""

    explain_as: ClassVar[str] = "build"

    kind = "build"

    choices: ClassVar[dict[str, dict[str, Any]]] = {"method": METHODS, "retain": RETENTIONS}
    """Keys that name a part, each with the parts, whose tables have their names."""

    method: str = Field(
        default="lora",
        description="How the model is changed. "
        + "; ".join(f"{name}: {one.summary}" for name, one in METHODS.items())
        + ".",
    )
    retain: str = Field(
        default="nothing",
        description="How what the model could do is kept. "
        + "; ".join(f"{name}: {one.summary}" for name, one in RETENTIONS.items())
        + ".",
    )
    model: ModelSettings = ModelSettings()
    data: DataSettings = DataSettings()
    training: SerializeAsAny[TrainingConfig] = TrainingConfig()
    evaluation: EvaluationSettings = EvaluationSettings()
    generation: GenerationSettings = GenerationSettings()
    grounding: GroundingSettings = GroundingSettings()
    private: PrivateConfig = PrivateConfig()
    canaries: CanaryConfig = CanaryConfig()

    @property
    def chosen(self) -> Chosen:
        """The recipe's method and retention, with their tables."""
        return Chosen(
            METHODS[self.method], getattr(self, self.method), RETENTIONS[self.retain], getattr(self, self.retain)
        )

    @model_validator(mode="after")
    def _speaks_of_what_it_chose(self) -> Self:
        for key, parts in self.choices.items():
            chosen = getattr(self, key)
            if chosen not in parts:
                hint = did_you_mean(chosen, parts)
                raise ConfigError(f"{{at}}{key} is {chosen!r}; {hint}it can be {', '.join(parts)}")
            for name, part in parts.items():
                if name != chosen and getattr(self, name) != part.settings():
                    raise ConfigError(
                        f"the table {{at}}{name} is for {{at}}{key} = {name!r}, and {{at}}{key} is {chosen!r}; "
                        "leave out one of the two"
                    )
        return self

    @model_validator(mode="after")
    def _keeps_what_the_method_changes(self) -> Self:
        try:
            RETENTIONS[self.retain].must_go_with(METHODS[self.method].adapter)
        except ConfigError as error:
            raise error.inside((self.retain,)) from None
        return self

    @model_validator(mode="after")
    def _plants_in_text(self) -> Self:
        if self.canaries.count and self.kind != "build":
            raise ConfigError(f"{{at}}canaries are for lmworks tune and build, and this is lmworks {self.kind}")
        return self

    @model_validator(mode="after")
    def _is_private_throughout(self) -> Self:
        if not self.private.on:
            return self
        against = {
            f"{{at}}private is for lmworks tune and build, and this is lmworks {self.kind}": self.kind != "build",
            "{at}private says nothing of an index, which holds the text itself; set {at}grounding.index=false": (
                self.grounding.index
            ),
            "{at}private does not go with {at}retain = 'router', which saves the mean of hidden states of your own "
            "texts without noise, and that is not private; leave out {at}retain": self.retain == "router",
            f"{{at}}private goes with {{at}}retain = nothing or kl, and it is {self.retain!r}, which reads more text": (
                self.retain not in ("nothing", "kl")
            ),
            "{at}private protects each row by itself, and a document and its counterpart are two rows; leave out "
            "{at}data.counterfactual": self.data.counterfactual != "none",
        }
        refuse(self.training, against)
        return self

    @model_serializer(mode="wrap")
    def _without_idle_tables(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """The tables of what was not chosen hold defaults, which say nothing about this run."""
        dumped = dump(self)
        chosen = {key: getattr(self, key) for key in self.choices}
        idle = {name for parts in self.choices.values() for name in parts} - set(chosen.values())
        first = [name for pair in chosen.items() for name in pair]
        idle |= {name for name, used in (("private", self.private.on), ("canaries", self.canaries.count)) if not used}
        return {name: dumped[name] for name in (*first, *dumped) if name not in idle}
