"""What BERT and its relatives share: one body, and a class of transformers for each choice of heads on it.

config.json names the class. A `HeadClass` says which heads it has, and how its files name them where not as the
family's table does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lmworks.basics.errors import ModelError
from lmworks.models.config import MOST_LABELS, ModelConfig
from lmworks.models.families.tables import Family

if TYPE_CHECKING:
    import torch
    from torch import Tensor

MASKED = {"head_transform": True, "head_bias": True}
"""Of a masked language model."""
TOKENS = {"labels_of": "tokens"}
HEADS = ("head_transform", "head_bias", "pooler", "pooler_activation", "labels_of", "classifier_transform")
"""What a class decides, and whether there are labels."""
TOLD = (*HEADS, "labels")
DEFAULTS = {name: ModelConfig.model_fields[name].default for name in HEADS}
NO_POOLER = "add_pooling_layer"
"""Not in their config.json but an argument of the body's class: False where its file has no pooler."""


@dataclass(frozen=True)
class HeadClass:
    """A class of transformers: a body with some heads."""

    name: str
    has: Mapping[str, Any] = field(default_factory=dict)
    """Ours, of `HEADS`, where not their defaults."""
    needs: Mapping[str, Any] = field(default_factory=dict)
    """Ours that it always has so, whatever config.json says."""
    labels: bool = False
    """It has a classifier."""
    classes: tuple[str, ...] = ()
    """The names of its classes, where they are always the same."""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """How names of the family's table begin -> how they begin in this class's files."""

    @property
    def choices(self) -> dict[str, Any]:
        """Every one of `HEADS`, and whether there are labels."""
        return {**DEFAULTS, **self.has, "labels": self.labels}


@dataclass(frozen=True)
class EncoderFamily(Family):
    """An architecture with several classes. Files of the body alone leave its prefix out."""

    classes: tuple[HeadClass, ...] = ()
    """The body's class first."""
    other_names: Mapping[str, str] = field(default_factory=dict)
    """Ends of names in old files -> those of the table."""

    def config_from(self, theirs: Mapping[str, Any]) -> ModelConfig:
        """Our config from a config.json; ModelError, too, where its class does not go with its settings."""
        config = super().config_from(theirs)
        class_of(self.classes, config)
        return config

    def tensors_from(
        self,
        theirs: Mapping[str, Tensor],
        config: ModelConfig,
        dtype: torch.dtype | None = None,
        later: Callable[[str], bool] = lambda name: False,
    ) -> dict[str, Tensor]:
        """A file may hold more heads than the class that it is named by: they are left out."""
        known = class_of(self.classes, config)
        renamed = self._spelled(theirs)
        if known.renamed:  # heads under the names of the table are those of another class
            renamed = {
                _begun(name, known.renamed, back=True): tensor
                for name, tensor in renamed.items()
                if name.startswith(tuple(known.renamed.values())) or not name.startswith(tuple(known.renamed))
            }
        if known.has.get("head_bias"):  # a file of pretraining named by the one head that is wanted
            left_out: tuple[str, ...] = () if config.pooler else (f"{self.prefix}pooler.", "pooler.")
            left_out += () if config.labels else ("classifier.",)
            renamed = {name: one for name, one in renamed.items() if not name.startswith(left_out or "\0")}
        return super().tensors_from(renamed, config, dtype, later)

    def _spelled(self, theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Names of old files as they are today."""
        names = {name: name for name in theirs}
        for old, new in self.other_names.items():
            names = {name: one.removesuffix(old) + new if one.endswith(old) else one for name, one in names.items()}
        renamed = {names[name]: tensor for name, tensor in theirs.items()}
        # Of two names for one bias, that of what transformers adds.
        return renamed | {name: renamed[copy] for copy, name in self.copies.items() if copy in renamed}

    def tensors_to(self, ours: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
        """The tensors of a file of the config's class."""
        known, theirs = class_of(self.classes, config), super().tensors_to(ours, config)
        if known is self.classes[0]:
            return {name.removeprefix(self.prefix): tensor for name, tensor in theirs.items()}
        return {_begun(name, known.renamed): tensor for name, tensor in theirs.items()}


def _begun(name: str, renamed: Mapping[str, str], back: bool = False) -> str:
    """A name with another beginning, the first of the table that fits."""
    for ours, theirs in renamed.items():
        old, new = (theirs, ours) if back else (ours, theirs)
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def heads_from(classes: tuple[HeadClass, ...], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Our choice of heads for the class that config.json names; ModelError for one that is not known."""
    body = classes[0]
    name = (theirs.get("architectures") or [body.name])[0]
    known = next((one for one in classes if one.name == name), None)
    if known is None:
        raise ModelError(f"config.json: {name} is not supported; known are {', '.join(one.name for one in classes)}")
    ours = known.choices
    if known is body and theirs.get(NO_POOLER) is False:
        ours["pooler"] = False
    if not known.has.get("head_bias"):
        ours["tied"] = True  # there is no head that could have a matrix of its own
    ours["labels"] = (known.classes or labels_from(theirs)) if known.labels else ()
    return ours


def labels_from(theirs: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the classes that config.json lists; ModelError where they are not numbered from 0."""
    _must_choose_one(theirs)
    names = theirs.get("id2label") or _numbered(theirs.get("num_labels", 2))
    if sorted(map(int, names)) != list(range(len(names))):
        raise ModelError(
            f"config.json: id2label numbers its {len(names)} classes {', '.join(names)}; number them from 0"
        )
    return tuple(str(label) for _, label in sorted(names.items(), key=lambda item: int(item[0])))


def _numbered(count: Any) -> dict[str, str]:
    """The names that transformers gives this many classes."""
    if type(count) is not int or not 0 < count <= MOST_LABELS:
        raise ModelError(f"config.json: num_labels is {count!r}; give the number of classes, at most {MOST_LABELS:,}")
    return {str(number): f"LABEL_{number}" for number in range(count)}


def _must_choose_one(theirs: Mapping[str, Any]) -> None:
    """Numbers and several classes at once are told by the same tensors, and would be read as one class of them."""
    kind = theirs.get("problem_type")
    if kind not in (None, "single_label_classification"):
        raise ModelError(f"config.json: problem_type is {kind}, and a classifier here tells one class of several")


def heads_to(classes: tuple[HeadClass, ...], config: ModelConfig) -> dict[str, Any]:
    """config.json's words for our choice of heads; ModelError where no class has it."""
    known = class_of(classes, config)
    theirs: dict[str, Any] = {"architectures": [known.name]}
    if known is classes[0] and known.has.get("pooler") and not config.pooler:
        theirs[NO_POOLER] = False
    if config.labels:
        theirs["id2label"] = {str(number): label for number, label in enumerate(config.labels)}
        theirs["label2id"] = {label: number for number, label in enumerate(config.labels)}
    return theirs


def class_of(classes: tuple[HeadClass, ...], config: ModelConfig) -> HeadClass:
    """The class with this choice of heads; ModelError where there is none."""
    has = {name: getattr(config, name) for name in HEADS} | {"labels": bool(config.labels)}
    body = classes[0]
    for known, choices in [*((one, one.choices) for one in classes), (body, body.choices | {"pooler": False})]:
        if not config.tied and not known.has.get("head_bias"):
            continue  # no head is saved with it, so there would be nowhere for the matrix
        needs = {**known.needs, **({"labels": known.classes} if known.classes else {})}
        if has == choices and all(getattr(config, name) == value for name, value in needs.items()):
            return known
    raise ModelError(
        f"no {body.name.removesuffix('Model')} class has this choice of {', '.join(HEADS)}, labels, tied and "
        "activation; choose another family to save it as"
    )
