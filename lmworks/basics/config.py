"""Settings: frozen, validated, each documented by the string below it; unknown names are errors.

One base class serves model configs, decoding strategies and recipes, so that command-line help, recipe keys
and the handbook read the same lines (`Config.explain`).
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import ErrorDetails

from lmworks.basics.errors import ArgumentError, ConfigError, UnknownSettingError
from lmworks.basics.files import regular
from lmworks.basics.meanings import meanings

_LARGEST = 2.0**127
"""What single precision and a whole number of 64 bits hold, with room to spare: larger numbers are typing errors."""
_LONGEST = 80  # characters of a wrong value that are shown


class Config(BaseModel):
    """A frozen, validated group of settings. Raises ConfigError with one sentence.

    No number is infinite, or larger than a network's weights could hold unless a class says `unbounded = True`.

    A class that says `explain_as: ClassVar[str] = "sample"` is what `lmworks explain sample` shows.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        protected_namespaces=(),
        allow_inf_nan=False,
    )

    unbounded: ClassVar[bool] = False
    """Whether numbers may be as large as they like, because the largest means something: never, no limit."""

    @model_validator(mode="after")
    def _numbers_fit(self) -> Self:
        for name in () if self.unbounded else type(self).model_fields:
            value = getattr(self, name)
            most = 2**63 if isinstance(value, int) else _LARGEST
            if isinstance(value, int | float) and abs(value) >= most:
                raise ConfigError(f"{{at}}{name} is {shortened(value)}; it should be less than {most:.2g} in size")
        return self

    def __new__(cls, *unnamed: Any, **values: Any) -> Self:
        """ArgumentError where a value is given without the name of its setting."""
        if unnamed:
            raise ArgumentError(
                f"{cls.__name__} takes its settings by their names, and {shortened(unnamed[0])} comes without one; "
                f"there are {', '.join(cls.model_fields)}"
            )
        return super().__new__(cls)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise _together([_in_words(type(self), detail) for detail in error.errors()]) from None

    def but(self, **changes: Any) -> Self:
        """A copy with some settings changed, validated again."""
        return type(self)(**{name: getattr(self, name) for name in type(self).model_fields} | changes)

    @classmethod
    def explain(cls) -> dict[str, str]:
        """Each setting's path and its meaning, sections opened up: what help and handbook print."""
        lines: dict[str, str] = {}
        said = meanings(cls)
        for name, field in cls.model_fields.items():
            kind = field.annotation
            if isinstance(kind, type) and issubclass(kind, Config):
                lines |= {f"{name}.{inner}": text for inner, text in kind.explain().items()}
            else:
                lines[name] = said[name]
        return lines

    @classmethod
    def setting_paths(cls) -> list[str]:
        """Every setting's path, for who names one without its section."""
        return list(cls.explain())


def read_toml(path: str | Path) -> dict[str, Any]:
    """The tables of a TOML file; ConfigError if it is missing or not TOML."""
    path = Path(path)
    try:
        return _parsed(regular(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist; give the path of a recipe, or the name of a shipped one") from None
    except IsADirectoryError:
        raise ConfigError(f"{path} is a folder; give the path of a TOML file") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}); give the path of a TOML file") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is no text in UTF-8; give the path of a TOML file") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not a TOML file: {error}") from None


def overrides(assignments: Iterable[str]) -> dict[str, Any]:
    """`["training.steps=40", "data.text=notes"]` as nested tables; values read as TOML, none as None, `[a,b]` as a list
    of words (a shell takes the quotes away that TOML wants), else as text."""
    tree: dict[str, Any] = {}
    for assignment in assignments:
        path, separator, text = assignment.partition("=")
        if not separator or not path.strip():
            raise ConfigError(f"--set {assignment}: write it as name=value, for example training.steps=40")
        try:
            value = _parsed(f"value = {text}")["value"] if "\n" not in text else text  # one value, not a file of them
        except tomllib.TOMLDecodeError:
            value = None if text == "none" else _words(text)
        *sections, name = path.strip().split(".")
        table = tree
        for section in sections:
            table = table.setdefault(section, {})
            if not isinstance(table, dict):
                raise ConfigError(f"--set {assignment}: {section} already has a value of its own")
        table[name] = value
    return tree


def _words(text: str) -> str | list[str]:
    listed = re.fullmatch(r"\[([\w.-]+(?:, *[\w.-]+)*)\]", text)
    return re.split(", *", listed[1]) if listed else text


def _parsed(text: str) -> dict[str, Any]:
    """TOML's tables; TOMLDecodeError also where Python's parser gives up: numbers of thousands of digits, nesting."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except ValueError:
        raise tomllib.TOMLDecodeError("a number has thousands of digits") from None
    except RecursionError:
        raise tomllib.TOMLDecodeError("its lists or tables are nested too deeply") from None


def shortened(value: Any) -> str:
    """A wrong value for a message: its beginning, if it is long."""
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text):,} characters)"


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Two trees of settings as one; where both name a value, the one above counts."""
    merged = dict(below)
    for name, value in above.items():
        under = merged.get(name)
        merged[name] = merge(under, value) if isinstance(under, Mapping) and isinstance(value, Mapping) else value
    return merged


def to_toml(tables: Mapping[str, Any]) -> str:
    """Nested tables as TOML: texts, numbers, truth values, lists of these, tables. None is left out."""
    return "\n".join(_toml_lines(tables)).lstrip("\n") + "\n"


def _toml_lines(tables: Mapping[str, Any], above: str = "") -> Iterator[str]:
    def key(name: str) -> str:
        return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _toml_value(name)

    for name, value in tables.items():
        if value is not None and not isinstance(value, Mapping):
            yield f"{key(name)} = {_toml_value(value)}"
    for name, value in tables.items():
        if isinstance(value, Mapping):
            yield f"\n[{above}{key(name)}]"
            yield from _toml_lines(value, f"{above}{key(name)}.")


def _toml_value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml_value, value))}]"
    if isinstance(value, float):
        return repr(value)  # json would write Infinity
    # A JSON text is a TOML text but for the one control character that JSON leaves as it is.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _inside(name: str, kind: type[Config]) -> list[str]:
    """The paths of settings of that name in the sections of `kind`: `training.steps` for `steps`."""
    return [path for path in kind.setting_paths() if path.endswith(f".{name}")]


def _together(errors: list[ConfigError]) -> ConfigError:
    """The first, or all names that are unknown: who misspells one may misspell two."""
    unknown = [error for error in errors if isinstance(error, UnknownSettingError)]
    if len(unknown) < 2:
        return [*unknown, *errors][0]
    from_here = [one.problem.replace("{at}", "{at}" + "".join(f"{part}." for part in one.at)) for one in unknown]
    return UnknownSettingError("; ".join(from_here))


def _in_words(kind: type[Config], detail: ErrorDetails) -> ConfigError:
    """One of pydantic's complaints as a sentence."""
    # Where a setting may be of several kinds, pydantic adds the kind that it tried: no name holds a bracket.
    where = tuple(str(part) for part in detail["loc"] if "[" not in str(part))
    cause = detail.get("ctx", {}).get("error")
    if isinstance(cause, ConfigError):
        return cause.inside(where)
    if not where:
        return ConfigError(str(cause or detail["msg"]))
    *sections, name = where
    at = tuple(sections)
    if detail["type"] == "extra_forbidden":
        close = _inside(name, kind) or difflib.get_close_matches(name, kind.model_fields, n=1)
        meant = " or ".join(f"{{at}}{one}" for one in close)
        hint = f"did you mean {meant}?" if close else "known here: " + ", ".join(kind.model_fields)
        return UnknownSettingError(f"{{at}}{name} is not a setting; {hint}", at)
    if detail["type"] == "missing":
        return ConfigError(f"{{at}}{name} is missing; it has no default", at)
    kinds = [words for begins, words in _KINDS.items() if detail["type"].startswith(begins)]
    message = (
        kinds[0]
        if kinds
        else detail["msg"].removeprefix("Value error, ").removeprefix("Input ").removeprefix("String ")
    )
    if message == _LIST and isinstance(given := detail["input"], str) and len(given) < _LONGEST:
        shown = ", ".join(f'"{one.strip()}"' for one in given.strip("[]").split(","))
        message += f": [{shown}], in a shell '{{at}}{name}=[{shown}]'"
    return ConfigError(f"{{at}}{name} is {shortened(detail['input'])}; it {message}", at)


_LIST = "should be a list"
_KINDS = {
    "int_parsing_size": "should be a smaller number",
    "int": "should be a whole number",
    "float": "should be a number",
    "bool": "should be true or false",
    "string_type": "should be a text",
    "tuple": _LIST,
    "list_type": _LIST,
    "model": "should be a table of settings",
    "dict": "should be a table of settings",
}
"""What a setting should be, by how pydantic's name for the complaint begins."""
