"""TrainRecipe: everything that shapes a run of `lmworks train`, from raw text to a model of one's own.

recipe = TrainRecipe.read("shakespeare-char", ["depth=6"])
config = recipe.network(vocab_size=65)

`depth` is the one dial: it sets what the recipe leaves open by rules of thumb (64 of width and a head for each block,
20 tokens a parameter, a rate that falls with the root of the depth; not tuned here). What the recipe says itself stays.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, SerializeAsAny, SerializerFunctionWrapHandler, model_serializer, model_validator

from lmworks.basics.config import Config
from lmworks.basics.errors import ConfigError, ModelError
from lmworks.basics.recipe_file import RecipeFile
from lmworks.jobs.training_sections import (
    EmbeddingSettings,
    NGramSettings,
    SampleSettings,
    TextSettings,
    ValidationSettings,
)
from lmworks.models.config import ExpertSettings, ModelConfig
from lmworks.models.families import family_of
from lmworks.models.files.references import resolve
from lmworks.models.relatives.recurrent_config import RECURRENT, network_config
from lmworks.models.scheme import Scheme
from lmworks.objectives.declaration import ObjectiveSettings
from lmworks.tokens.trainer import TokenizerConfig
from lmworks.training.private.settings import PrivateConfig, refuse
from lmworks.training.settings import TrainingConfig

HEAD_DIM = 64
TOKENS_A_PARAMETER = 20
"""Training tokens for each parameter of the blocks: the optimum of a given budget (Hoffmann et al. 2022, table 3)."""
BALANCE = 0.01
"""Of the load of experts: Fedus et al. 2021, section 2.2."""
RECURRENT_LAYERS = 2
"""Of a recurrent network, at any depth: the dial sets its width alone."""
BATCH_TOKENS = 16_384
"""Tokens of a step at depth 4; they grow with the depth."""


class TrainRecipe(RecipeFile):
    """Everything that shapes a run of `lmworks train`."""

    explain_as: ClassVar[str] = "train"

    kind = "train"

    depth: int = Field(default=4, gt=0, le=1000)
    """The dial: blocks; and from them, where nothing is said, width, heads, batch, learning rate and steps."""

    upcycle: str | None = None
    """A dense model to begin from (an alias, a directory, ...): each of its feed-forwards becomes the experts of
    [model.experts], which is all that [model] says then. Its tokenizer is taken."""

    data: TextSettings = TextSettings()
    tokenizer: TokenizerConfig | str = TokenizerConfig()
    """How to train the tokenizer; or one that is there: a folder of `lmworks tokens train`, or a model reference."""
    model: dict[str, Any] = Field(default_factory=dict)
    """Settings of the network, as `lmworks explain model` lists them; with kind = "recurrent" it is an LSTM or another
    recurrent network, as `lmworks explain recurrent` does."""
    ngrams: NGramSettings = NGramSettings()
    embedding: EmbeddingSettings = EmbeddingSettings()
    initialisation: Scheme = "normal"
    """normal: deviation 0.02, smaller for what writes into the residual stream (GPT-2); zero-output: what writes into
    it, and the head, begins at zero, the rest by its width (as in modded-nanogpt and nanochat); width: all by their
    width, so that signals keep their size (for networks without norms)."""
    dtype: Literal["float32", "bfloat16"] | None = None
    """Type of weights and activations; None for what is fast here. The optimiser keeps float32 masters."""
    objective: SerializeAsAny[ObjectiveSettings] = ObjectiveSettings()
    training: SerializeAsAny[TrainingConfig] = TrainingConfig()
    private: PrivateConfig = PrivateConfig()
    validation: ValidationSettings = ValidationSettings()
    sample: SampleSettings = SampleSettings()

    @classmethod
    def setting_paths(cls) -> list[str]:
        """See Config: those of the network too."""
        return [*(f"model.{name}" for name in ModelConfig.model_fields), *super().setting_paths()]

    @model_validator(mode="before")
    @classmethod
    def _turn_the_dial(cls, values: Any) -> Any:
        """Fill in what `depth` decides and the recipe does not say."""
        depth = values.get("depth", 4) if isinstance(values, dict) else None
        if type(depth) is not int or depth < 1:
            return values
        if isinstance(values.get("upcycle"), str):
            return _begun(values)
        if not all(isinstance(values.get(name) or {}, dict | Config) for name in ("model", "training")):
            return values
        model, training = dict(values.get("model") or {}), dict(values.get("training") or {})
        recurrent = model.get("kind") == RECURRENT
        objective = ObjectiveSettings.parts().get(_named("kind", values.get("objective"), "causal"))
        network = {} if objective is None else dict(objective.network)
        if recurrent:  # the rest of it is a transformer's
            network = {name: value for name, value in network.items() if name == "arrangement"}
        if model.get("positions", "learned") != "learned":  # of learned ones, as they are where nothing is said
            network = {name: value for name, value in network.items() if name != "position_offset"}
        shape: dict[str, Any] = {"layers": RECURRENT_LAYERS if recurrent else depth, "dim": HEAD_DIM * depth}
        model = shape | {"context": 256} | network | model
        if isinstance(model["dim"], int) and not recurrent:
            model.setdefault("heads", max(1, model["dim"] // HEAD_DIM))
        context = training.setdefault("context", model["context"])
        if not {"rows", "accumulate"} & set(training):
            training |= {"rows": max(1, BATCH_TOKENS * depth // 4 // max(int(context), 1) // 4), "accumulate": 4}
        rows, accumulate = training.get("rows", 2), training.get("accumulate", 1)
        optimiser = TrainingConfig.parts().get(_named("optimiser", training, "adamw"))
        if optimiser is not None:
            training.setdefault("learning_rate", optimiser.usual_rate(depth))
        if not {"steps", "epochs", "max_seconds"} & set(training):
            parameters = (8 if recurrent else 12) * model["layers"] * model["dim"] ** 2
            training["steps"] = math.ceil(TOKENS_A_PARAMETER * parameters / (rows * accumulate * context))
        return values | {"model": model, "training": training, "embedding": _as_wide(values.get("embedding"), model)}

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        config = self.network(vocab_size=65_536 if self.ngrams.longest == 1 else 256)
        if self.data.test is not None and not self.objective.part.paired:
            paired = [name for name, one in ObjectiveSettings.parts().items() if one.paired]
            raise ConfigError(
                f"{{at}}data.test is for objective.kind {' and '.join(paired)}, and it is {self.objective.kind!r}; "
                "leave it out"
            )
        if self.embedding.frozen and config.tied:
            raise ConfigError(
                "{at}embedding.frozen keeps the head from learning, which is tied to it; set {at}model.tied = false"
            )
        if getattr(self.objective, "label_smoothing", 0.0) and getattr(config, "adaptive_cutoffs", None):
            raise ConfigError(
                "{at}objective.label_smoothing spreads over the whole vocabulary, which the softmax of "
                "{at}model.adaptive_cutoffs never computes in training; leave out one of the two"
            )
        if self.embedding.source == "glove" and self.embedding.glove.dim != config.dim:
            raise ConfigError(
                f"{{at}}embedding.glove.dim ({self.embedding.glove.dim}) is not {{at}}model.dim ({config.dim}); "
                "leave it out"
            )
        return self

    @model_validator(mode="after")
    def _is_private_throughout(self) -> Self:
        if not self.private.on:
            return self
        learnt = isinstance(self.tokenizer, TokenizerConfig) and self.tokenizer.kind != "byte"
        against = {
            "{at}private bounds what the network tells of a document, and a tokenizer that is learnt from the same "
            "text has no noise; give {at}tokenizer, a folder or a model, whose tokenizer comes from other text, or "
            "{at}tokenizer.kind = 'byte'": learnt,
            "{at}private is for {at}objective.kind = 'causal', of which each document is one row; it is "
            f"{self.objective.kind!r}": self.objective.kind != "causal",
            "{at}data.hold_out = 'end' measures on the ends of documents that are learnt, which {at}private is to "
            "protect; leave it out": self.data.hold_out != "documents",
            "{at}ngrams.longest counts the text, without the noise of {at}private; leave it out": (
                self.ngrams.longest > 1
            ),
            "{at}embedding.source = 'glove' learns from the text, without the noise of {at}private; give a file of "
            "word vectors, or leave it out": self.embedding.source == "glove",
            "{at}model.adaptive_cutoffs counts the text, without the noise of {at}private; leave it out": bool(
                self.model.get("adaptive_cutoffs")
            ),
            "{at}private training does not go with experts: which of them a token reaches depends on the other "
            "documents of its batch; leave out {at}model.experts": self.model.get("experts") is not None,
        }
        refuse(self.training, against)
        return self

    @model_serializer(mode="wrap")
    def _without_idle_tables(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A run that is not private says nothing of it."""
        dumped: dict[str, Any] = dump(self)
        return {name: one for name, one in dumped.items() if name != "private" or self.private.on}

    def network(self, vocab_size: int, ngrams: tuple[int, ...] = (), labels: tuple[str, ...] = ()) -> ModelConfig:
        """The network's config for a vocabulary, numbers of 2-grams, 3-grams, ..., and the classes of the text."""
        for name in ("vocab_size", "ngrams"):
            if name in self.model:
                raise ConfigError(f"{{at}}model.{name} follows from the text; leave it out")
        if self.upcycle is not None:
            return self._upcycled(self.upcycle)
        if self.ngrams.longest > 1 and self.model.get("family") != "lmworks":
            raise ConfigError(
                "{at}ngrams.longest needs {at}model.family = 'lmworks': no public architecture has such embeddings"
            )
        try:
            sizes: dict[str, Any] = {"vocab_size": vocab_size} | ({"ngrams": ngrams} if ngrams else {})
            sizes |= {"labels": labels} if labels else {}
            config = network_config({"context": self.training.context} | self.model | sizes)
        except ConfigError as error:
            raise error.inside(("model",)) from None
        self._check_recurrent()
        self._checked(config)
        try:
            family_of(config.family).config_to(config)  # what could not be saved is not trained
        except ModelError as error:
            raise ConfigError(f"{{at}}model.family: {error}") from None
        return config

    def _upcycled(self, reference: str) -> ModelConfig:
        """The config of a dense model with the recipe's experts in it."""
        # What reads models loads torch, for which other recipes need not wait.
        from lmworks.models.files.gguf_config import gguf_config
        from lmworks.models.files.gguf_file import GGUFFile
        from lmworks.models.files.model_folder import read_config
        from lmworks.models.upcycling import upcycled_config

        if set(self.model) != {"experts"}:
            raise ConfigError(
                "{at}upcycle takes the network of a model that is there, and {at}model.experts is all that can be said "
                "of it"
            )
        for name, said in (
            ("embedding.source", self.embedding.source != "random"),
            ("ngrams", self.ngrams.longest > 1),
        ):
            if said:
                raise ConfigError(f"{{at}}{name} is for a network from nothing; leave out it or {{at}}upcycle")
        if self.tokenizer != reference:
            raise ConfigError("{at}tokenizer is that of the model that {at}upcycle names; leave it out")
        try:
            settings = ExpertSettings(**self.model["experts"])
        except TypeError:
            raise ConfigError("{at}model.experts is no table of settings") from None
        except ConfigError as error:
            raise error.inside(("model", "experts")) from None
        path = resolve(reference)
        config = gguf_config(GGUFFile(path)) if path.suffix == ".gguf" else read_config(path)
        if not isinstance(config, ModelConfig):
            raise ConfigError(
                f"{{at}}upcycle: {reference} is no transformer, and has no feed-forward to become experts"
            )
        try:
            made = upcycled_config(config, settings)
        except ConfigError as error:
            raise error.inside(("model", "experts")) from None
        return self._checked(made)

    def balance(self, vocab_size: int) -> float:
        """The strength of the loss that levels the load of experts; 0 where there are none, or a bias does it."""
        config = self.network(vocab_size, (1,) * (self.ngrams.longest - 1))
        experts = config.experts if isinstance(config, ModelConfig) else None
        if experts is None:
            return 0.0
        said = self.objective.load_balance
        return said if said is not None else 0.0 if experts.bias_rate else BALANCE

    def _checked(self, config: ModelConfig) -> ModelConfig:
        """What the recipe asks of any network."""
        self._check_heads(config)
        self._check_experts(config)
        check_row_length(self.training.context, config)
        return config

    def _check_experts(self, config: ModelConfig) -> None:
        """ConfigError for what experts cannot learn, or what there are none for."""
        experts = config.experts if isinstance(config, ModelConfig) else None
        if experts is None:
            for name in ("load_balance", "router_z_loss"):
                if getattr(self.objective, name):
                    raise ConfigError(
                        f"{{at}}objective.{name} is for a network with experts; leave it out, or set "
                        "{at}model.experts"
                    )
            return
        if experts.normalised and experts.top_k == 1:
            raise ConfigError(
                "{at}model.experts.normalised makes the weight of a single expert 1, so that its router learns nothing "
                "from the text; set {at}model.experts.normalised = false, or {at}model.experts.top_k = 2"
            )
        if self.training.compile:
            raise ConfigError("{at}training.compile does not go with {at}model.experts; set it to false")

    def _check_recurrent(self) -> None:
        """ConfigError where a recurrent network is asked for what is a transformer's."""
        if self.model.get("kind") != RECURRENT:
            return
        for name, value, usual in (
            ("initialisation", self.initialisation, "normal"),
            ("training.distribution", self.training.distribution, "ddp"),
            ("training.compile", self.training.compile, False),
            ("training.recompute", self.training.recompute, False),
        ):
            if value != usual:
                raise _for_blocks(name, value)
        if self.training.part.for_blocks:
            raise _for_blocks("training.optimiser", self.training.optimiser)

    def _check_heads(self, config: ModelConfig) -> None:
        """ConfigError for an arrangement, or a head, that the objective does not train."""
        kind, objective = self.objective.kind, self.objective.part
        if config.arrangement != objective.arrangement:
            raise ConfigError(
                f"{{at}}model.arrangement is {config.arrangement!r}, and {{at}}objective.kind = {kind!r} trains the "
                f"arrangement {objective.arrangement!r}; leave it out, or choose another objective"
            )
        for name in ("pooler", "labels", "head_transform"):
            trained = objective.network.get(name) or (objective.labelled and name not in self.model)
            if getattr(config, name) and not trained:
                raise ConfigError(f"{{at}}model.{name} is not trained by {{at}}objective.kind = {kind!r}; leave it out")
        if objective.network.get("labels") and len(config.labels) != 2:
            raise ConfigError(
                f"{{at}}model.labels are the two answers of {{at}}objective.kind = {kind!r}; leave them out"
            )


def check_row_length(context: int, config: ModelConfig) -> None:
    """ConfigError for rows of more tokens than the network that is trained from nothing reads."""
    if config.context < context:
        raise ConfigError(
            f"{{at}}training.context ({context}) is longer than {{at}}model.context "
            f"({config.context}), which is all that the network reads"
        )


def _begun(values: dict[str, Any]) -> dict[str, Any]:
    """What follows from a model to begin from: its tokenizer, and a rate for a network that knows something."""
    training = dict(values.get("training") or {})
    training.setdefault("learning_rate", 3e-4)
    return {"tokenizer": values["upcycle"]} | values | {"training": training}


def _named(setting: str, section: Any, usual: str) -> str:
    """The part that a section asks for, before it is checked."""
    said = section.get(setting, usual) if isinstance(section, dict) else getattr(section, setting, usual)
    return str(said)


def _for_blocks(name: str, value: object) -> ConfigError:
    return ConfigError(
        f"{{at}}{name} = {value!r} is for the blocks of a transformer, and {{at}}model.kind is {RECURRENT!r}; "
        "leave out one of the two"
    )


def _as_wide(embedding: Any, model: dict[str, Any]) -> Any:
    """The settings of the embedding, with GloVe's width the network's where nothing else is said."""
    if not isinstance(embedding, dict) or embedding.get("source") != "glove":
        return embedding if embedding is not None else {}
    glove = embedding.get("glove", {})
    return embedding | {"glove": {"dim": model["dim"]} | glove} if isinstance(glove, dict) else embedding
