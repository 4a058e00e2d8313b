"""Settings of which one names a part: what else may stand beside it is what that part declares.

    class ObjectiveSettings(PartSettings):
        named_by = "kind"
        kind: str = "causal"
        ...
        @classmethod
        def parts(cls):
            return declared("lmworks.objectives.kinds", ObjectiveKind)

    ObjectiveSettings(kind="masked", share=0.2)     # a MaskedSettings, which the file of "masked" declares

The settings of each part are a child of that class. Fields of a recipe are written `SerializeAsAny[ObjectiveSettings]`,
so that what is dumped is the child.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

from pydantic import BaseModel, create_model
from pydantic.fields import FieldInfo

from lmworks.basics.config import Config, shortened
from lmworks.basics.errors import ConfigError, did_you_mean
from lmworks.basics.meanings import meanings


class DeclaredPart(Protocol):
    """What names a part, says what it is for, and holds its settings."""

    @property
    def name(self) -> str:
        """What a recipe calls it."""

    @property
    def summary(self) -> str:
        """What it is, in a clause."""

    @property
    def settings(self) -> type[Config]:
        """What can be set, a child of the PartSettings in which the part is named."""


class _ByPart(type(BaseModel)):  # type: ignore[misc]
    """Calls the class of the part that is named."""

    def __call__(cls, **values: Any) -> Any:
        part = cls._part_named(values)
        return super(_ByPart, part.settings).__call__(**cls._of_part(part, values))


if TYPE_CHECKING:  # a type checker would ask each child for the metaclass
    _Callable = Config
else:

    class _Callable(Config, metaclass=_ByPart):
        """Settings that are called by the part that they name."""


class PartSettings(_Callable):
    """Settings in which the one called `named_by` names a part.

    A setting that only other parts have is refused, unless it has the value that it has there by default: recipes that
    were saved with older models hold the settings of every part.
    """

    named_by: ClassVar[str]
    """The setting that names the part."""

    others_are_idle: ClassVar[bool] = False
    """Leave out what only other parts have, if one of them would take the value, and do not refuse it."""

    @classmethod
    def parts(cls) -> Mapping[str, DeclaredPart]:
        """Every part that can be named."""
        raise NotImplementedError

    def but(self, **changes: Any) -> Self:
        """A copy with some settings changed. Another part gets its own defaults, not those of the old part."""
        values: dict[str, Any] = {name: getattr(self, name) for name in type(self).model_fields}
        home: Any = next(one for one in type(self).__mro__ if "named_by" in vars(one))
        if changes.get(self.named_by, values[self.named_by]) != values[self.named_by]:
            values = {
                name: value
                for name, value in values.items()
                if name in home.model_fields or value != type(self).model_fields[name].get_default()
            }
        made: Self = type(self)(**values | changes)
        return made

    @classmethod
    def explain(cls) -> dict[str, str]:
        """Each setting and its meaning: those of all parts first, then those of some, with the names of these."""
        parts, common = cls.parts(), meanings(cls)
        common[cls.named_by] += " " + "; ".join(f"{name}: {part.summary}" for name, part in parts.items()) + "."
        by_name: dict[str, dict[str, list[str]]] = {}
        for part in parts.values():
            for name, text in meanings(part.settings).items():
                if name not in common:
                    by_name.setdefault(name, {}).setdefault(text, []).append(part.name)
        own = {
            name: " ".join(
                text if len(of) == len(parts) else f"{', '.join(_families(of))}: {text}"
                for text, of in by_meaning.items()
            )
            for name, by_meaning in by_name.items()
        }
        return common | own

    @classmethod
    def fields_named(cls, name: str) -> Iterator[FieldInfo]:
        """The setting of that name in each part that has it."""
        return (part.settings.model_fields[name] for part in cls.parts().values() if name in part.settings.model_fields)

    @classmethod
    def _part_named(cls, values: Mapping[str, Any]) -> DeclaredPart:
        parts, default = cls.parts(), cls.model_fields[cls.named_by].default
        named = values.get(cls.named_by, default)
        if isinstance(named, str) and named in parts:
            return parts[named]
        hint = did_you_mean(str(named), parts)
        raise ConfigError(f"{{at}}{cls.named_by} is {shortened(named)}; {hint}it can be {', '.join(parts)}")

    @classmethod
    def _of_part(cls, part: DeclaredPart, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values without those that only other parts have; ConfigError for one that is not a default there."""
        kept = dict(values)
        for name in [name for name in values if name not in part.settings.model_fields]:
            others = {
                one.name: one.settings.model_fields[name]
                for one in cls.parts().values()
                if name in one.settings.model_fields
            }
            if not others:
                continue  # unknown to all: the part's settings say so
            value = kept.pop(name)
            if cls.others_are_idle:
                _taken(name, value, others)
            elif all(value != field.get_default() for field in others.values()):
                raise ConfigError(
                    f"{{at}}{name} is for {{at}}{cls.named_by} {' and '.join(_families(others))}, and "
                    f"{{at}}{cls.named_by} is {part.name!r}; leave it out"
                )
        return kept


def _taken(name: str, value: Any, fields: Mapping[str, FieldInfo]) -> None:
    """Raise ConfigError if none of these parts takes the value for its setting of that name."""
    refused: list[ConfigError] = []
    for field in fields.values():
        one = create_model("One", __base__=Config, **{name: (field.annotation, field)})  # type: ignore[call-overload]
        try:
            one(**{name: value})
            return
        except ConfigError as error:
            refused.append(error)
    raise refused[0]


def _families(names: Iterable[str]) -> list[str]:
    """The names without those that only add something to another: "masked" for "masked" and "masked+next-sentence"."""
    return list(dict.fromkeys(name.partition("+")[0] for name in names))
