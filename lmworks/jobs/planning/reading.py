"""What is planned: the network and the settings that a recipe, a model reference or a config.json asks for.

Weights are never read: of a model on the hub only its config.json is fetched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from lmworks.adaptation.adapter_files import CONFIG, is_adapter
from lmworks.adaptation.declaration import Chosen
from lmworks.adaptation.lora_config import LoRAConfig
from lmworks.adaptation.methods import METHODS
from lmworks.adaptation.retention import RETENTIONS
from lmworks.basics.config import overrides
from lmworks.basics.errors import ConfigError, ModelError
from lmworks.jobs.planning.own_data import OwnData, read_own
from lmworks.jobs.planning.recipes import read_recipe
from lmworks.jobs.planning.workload import usual_objective
from lmworks.jobs.recipe import Recipe
from lmworks.jobs.training_recipe import TrainRecipe, check_row_length
from lmworks.kernels.footprint import Footprint
from lmworks.loading import learns_no_text, load_tokenizer, network_path
from lmworks.models.config import ModelConfig
from lmworks.models.files.gguf import stored_dtype
from lmworks.models.files.gguf_config import gguf_config
from lmworks.models.files.gguf_file import GGUFFile
from lmworks.models.files.gguf_groups import StoredInGGUF
from lmworks.models.files.model_folder import INDEX, ONNX, read_config, read_json
from lmworks.models.files.references import ALIASES, must_be_somewhere, resolve
from lmworks.objectives.declaration import ObjectiveSettings
from lmworks.text import hub
from lmworks.training.settings import TrainingConfig


@dataclass(frozen=True)
class PlannedRun:
    """What is planned."""

    name: str
    model: ModelConfig
    training: TrainingConfig
    lora: LoRAConfig
    dtype: str | None
    """float32, bfloat16, float16, or None for what is fast on the device."""
    objective: ObjectiveSettings
    """What is learnt."""
    chosen: Chosen | None = None
    """The method of a recipe of build; None for any other subject, and for a model that nothing adapts."""
    notes: tuple[str, ...] = ()
    """What of it is an upper bound, because the text decides."""
    footprint: Footprint | None = None
    """Of a model whose files are here."""
    own: OwnData | None = None
    """A text of one's own that is learnt, where one was named."""
    reference: str | None = None
    """The model that is adapted; None for a recipe of train, which makes one, and for a model that nothing adapts."""
    made_by: str | None = None
    """The recipe of train that makes the model, or one of its kind where nothing adapts it."""


ADAPTING = {"method", "retain", *METHODS, *RETENTIONS}
"""Keys of a recipe that say how a model is adapted: whoever sets one asks for a tune."""
TRAINED_WHOLE = (
    "Planned is a training of all weights, as `lmworks train` makes an {} with objective.kind = {}; what adapts a "
    "model (`lmworks tune`) is for those that write."
)
LIKE = {"masked": "bert-mini", "classification": "classify", "seq2seq": "translate-en-de"}
"""A shipped recipe of train for each objective by which a model is planned that nothing adapts."""
VOCABULARY = {"byte": 257, "character": 257}
"""Where the text decides how many tokens there are: as many as bytes, and the end of a document."""
USUAL_VOCABULARY = 4096
CLASSES = ("one", "other")


def read_subject(
    name: str, changes: Sequence[str] = (), data: str | None = None, say: Callable[[str], None] = lambda line: None
) -> PlannedRun:
    """A recipe of `build` or `train` by name or path, or a model (alias, directory, .gguf file, config.json,
    hf:org/name) with the settings of the default recipe; `changes` are `section.key=value`. With `data`, a tune of the
    model on that text, which is read; says what of it is left out.

    A model that does not write can be planned as `lmworks train` makes it, and with no method: ConfigError where one
    is named, as for unknown keys and values that make no sense; ModelError for a model that is none; DataError for a
    text that is none, or holds nothing to learn.
    """
    recipe = read_recipe(name, changes)
    if isinstance(recipe, TrainRecipe):
        return _from_nothing(name, recipe)
    tunes = data is not None or recipe is not None or bool(ADAPTING & overrides(changes).keys())
    if recipe is None:
        _must_be_there(name)
        recipe = Recipe(**overrides(changes))
        recipe = recipe.but(model=recipe.model.but(reference=name))
    config = model_config(recipe.model.reference)
    dtype, objective, training = recipe.model.dtype, usual_objective(config), recipe.training
    if data is None and type(config) is ModelConfig and "context" not in overrides(changes).get("training", {}):
        training = training.but(context=min(training.context, config.context))  # rows are full, so texts are as long
    held = footprint_of(recipe.model.reference)
    if type(config) is ModelConfig and config.arrangement != "decoder":
        if tunes:
            raise ConfigError(f"{recipe.model.reference} {learns_no_text(config)}")
        check_row_length(training.context, config)  # as `lmworks train` says, which makes such a model
        note, like = TRAINED_WHOLE.format(config.arrangement, objective.kind), LIKE[objective.kind]
        return PlannedRun(
            name, config, training, recipe.lora, dtype, objective, notes=(note,), footprint=held, made_by=like
        )
    chosen = replace(recipe.chosen, stored=_stored(recipe.model.reference, config))
    own = None if data is None else read_own(recipe.but(data=recipe.data.but(text=data)), say)
    return PlannedRun(
        name, config, training, recipe.lora, dtype, objective, chosen, (), held, own, recipe.model.reference
    )


def _from_nothing(name: str, recipe: TrainRecipe) -> PlannedRun:
    """The network that a recipe of `train` makes, with as many tokens and n-grams as it allows."""
    tokenizer = recipe.tokenizer
    if isinstance(tokenizer, str):
        on_hub = tokenizer.startswith(hub.PREFIX)  # of which only the config is fetched
        vocabulary = model_config(tokenizer).vocab_size if on_hub else load_tokenizer(tokenizer).vocab_size
    else:
        vocabulary = tokenizer.vocab_size or VOCABULARY.get(tokenizer.kind, USUAL_VOCABULARY)
    classes = CLASSES if recipe.objective.part.labelled else ()
    config = recipe.network(vocabulary, (recipe.ngrams.most,) * (recipe.ngrams.longest - 1), classes)
    notes = []
    if classes:
        notes.append("Two classes are assumed: the text's labels decide.")
    if not isinstance(tokenizer, str) and tokenizer.vocab_size is None and tokenizer.kind == "character":
        notes.append(f"A vocabulary of {vocabulary:,} is assumed: the text's characters decide.")
    if recipe.ngrams.longest > 1:
        notes.append("The n-grams are counted as the most that the recipe allows; a text may have far fewer.")
    if recipe.embedding.frozen:
        notes.append("The embedding is frozen; the gradient and the optimiser state that it does not need are counted.")
    return PlannedRun(
        name,
        config,
        recipe.training,
        LoRAConfig(),
        recipe.dtype,
        recipe.objective,
        notes=tuple(notes),
        made_by=name,
    )


def model_config(reference: str) -> ModelConfig:
    """The shape of a model, without its weights; of an adapter, that of the model it sits on."""
    path = _place(reference)
    if path.is_dir() and is_adapter(path):
        base = read_json(path / CONFIG).get("base_model_name_or_path")
        if not isinstance(base, str) or not base:
            raise ModelError(f"{path / CONFIG} does not name its base model; give the base itself")
        path = _place(base)
        if path.is_dir() and is_adapter(path):
            raise ModelError(f"{base}, the base of {reference}, is an adapter itself; give the model it sits on")
    return gguf_config(GGUFFile(path)) if path.suffix == ".gguf" else read_config(path)


def _stored(reference: str, config: ModelConfig) -> StoredInGGUF | None:
    """What a GGUF file holds in few bits."""
    path = _place(reference)
    file = GGUFFile(path) if path.suffix == ".gguf" else None
    return None if file is None or stored_dtype(file) is not None else StoredInGGUF(file, config)


def _must_be_there(name: str) -> None:
    """ModelError for a name that is nearly that of a shipped recipe, or a reference to no model."""
    if ":" in name or Path(name).exists():
        return
    recipes = [*TrainRecipe.shipped(), *Recipe.shipped()]
    close = get_close_matches(name, [*recipes, *ALIASES], n=1)
    if close and close[0] in recipes:
        raise ModelError(f"{name} is neither a recipe nor a model; did you mean {close[0]}?")
    must_be_somewhere(name)


def footprint_of(reference: str) -> Footprint | None:
    """What a model takes as it is stored; None where its weights are not on this machine."""
    if Path(reference).name == "config.json" or reference.startswith(hub.PREFIX):
        return None
    path = network_path(reference)
    if path.is_dir() and not any((path / name).is_file() for name in (INDEX, ONNX, "model.safetensors")):
        return None
    return Footprint.of(path)


def _place(reference: str) -> Path:
    """The directory or .gguf file; of a model on the hub only the config is fetched."""
    if Path(reference).name == "config.json":
        return Path(reference).parent
    if reference.startswith(hub.PREFIX):
        return hub.snapshot(reference, "model", ("config.json", CONFIG))
    return resolve(reference)
