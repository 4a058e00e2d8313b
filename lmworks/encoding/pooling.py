"""How the states of a text become one vector, and what is put before it: as a folder of ours or of
sentence-transformers says.

Source: Reimers and Gurevych 2019, https://arxiv.org/abs/1908.10084.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from lmworks.basics.config import Config
from lmworks.basics.errors import ConfigError, ModelError
from lmworks.models.families.gguf import POOLING
from lmworks.models.files.model_folder import FACTS, MODULES, read_facts, read_json

MODES = {"cls": "first", "mean": "mean", "max": "max", "lasttoken": "last"}
"""Theirs -> ours."""
OLD_MODES = {
    f"pooling_mode_{name}": name.removesuffix("_token").removesuffix("_tokens")
    for name in (
        *("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken"),
    )
}
"""How older folders say a mode, with true or false."""
ROLES = {"query": ("query",), "passage": ("document", "passage", "corpus")}
"""What a text may be to a search -> the names that its prompt has, the first that is there."""
VECTORS = "feature-extraction"
"""transformer_task of what makes vectors."""
UNKNOWN_LENGTH = 10**9
"""transformers writes 1e30 where a tokenizer knows no longest text."""


class Pooling(Config):
    """How the states of a text become one vector."""

    mode: Literal["mean", "first", "last", "max"] = "mean"
    """The mean over its tokens, the state of its first or last one, or the largest of each dimension."""

    normalise: bool = True
    """Bring each vector to length 1, so that dot products are cosines."""

    longest: int | None = Field(default=None, gt=0)
    """Tokens of the longest text, special tokens included; None for the network's context."""

    prompts: dict[str, str] = Field(default_factory=dict)
    """What may be put before a text, by name: "query" before a question that looks for passages."""

    default_prompt: str | None = None
    """The name of the one that is taken where none is named; None for none."""

    lower: bool = False
    """Texts are put into lower case."""

    dense: tuple[str, ...] = ()
    """The folders of dense layers that the pooled state goes through, beside the weights."""

    @model_validator(mode="before")
    @classmethod
    def _one_query(cls, values: Any) -> Any:
        """Earlier folders have a `query` and no other prompt."""
        if isinstance(values, dict) and isinstance(values.get("query"), str):
            query = values.pop("query")
            values["prompts"] = {**({"query": query} if query else {}), **(values.get("prompts") or {})}
        return values

    @model_validator(mode="after")
    def _default_is_there(self) -> Self:
        if self.default_prompt is not None and self.default_prompt not in self.prompts:
            raise ConfigError(
                f"{{at}}default_prompt is {self.default_prompt!r}, and {{at}}prompts has none of that name"
            )
        if any(Path(name).name != name for name in self.dense):
            raise ConfigError("{at}dense names a folder outside its own")
        return self

    def within(self, context: int) -> int:
        """Tokens of the longest text that a network of this context reads, special tokens included."""
        return min(self.longest or context, context)

    def prompt(self, name: str | None) -> str:
        """What is put before a text; nothing for a role (query, passage) that there is no prompt for. ConfigError for
        another name that does not exist."""
        if name is None:
            name = self.default_prompt or ""
        known = next((one for one in (name, *ROLES.get(name, ())) if one in self.prompts), None)
        if known is None and name and name not in ROLES:
            names = ", ".join(dict.fromkeys((*ROLES, *self.prompts)))
            raise ConfigError(f"there is no prompt {name!r}; there are {names}")
        return self.prompts[known] if known is not None else ""

    def prompted(self, texts: Sequence[str | Sequence[int]], name: str | None) -> list[str | Sequence[int]]:
        """The texts after the prompt of this name; ids stay as they are."""
        before = self.prompt(name)
        made = [before + text if isinstance(text, str) and text else text for text in texts]
        return [one.lower() if self.lower and isinstance(one, str) else one for one in made]

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """What a folder of ours or of sentence-transformers says; None where it says nothing. ModelError for another
        pooling."""
        if isinstance(said := read_facts(folder).get("pooling"), dict):
            return cls._made(said, f"{folder / FACTS}: pooling")
        modules = _modules(folder)
        kinds = [kind for kind, _ in modules]
        if not modules or (kinds == ["Transformer"] and _task(folder) != VECTORS):  # a cross-encoder, say
            return None
        settings = _of_texts(folder)
        settings["normalise"] = "Normalize" in kinds
        settings["dense"] = tuple(place for kind, place in modules if kind == "Dense")
        prompts = _said(folder / "config_sentence_transformers.json")
        settings["prompts"] = prompts.get("prompts") or {}
        settings["default_prompt"] = prompts.get("default_prompt_name")
        for place in (place for kind, place in modules if kind == "Pooling"):
            said = read_json(folder / place / "config.json")
            settings["mode"] = _mode(said, folder / place)
            if said.get("include_prompt") is False and settings["prompts"]:
                raise ModelError(f"{folder / place}: include_prompt = false is not supported, and there are prompts")
        return cls._made(settings, str(folder / MODULES))

    @classmethod
    def of_gguf(cls, said: Mapping[str, Any]) -> Self | None:
        """What a GGUF file's metadata says; None where it says nothing."""
        number = said.get(f"{said.get('general.architecture')}.pooling_type")
        settings = next(({"mode": mode} for known, mode in POOLING.items() if known == number), None)
        return None if settings is None else cls._made(settings, "pooling_type")

    @classmethod
    def _made(cls, settings: Mapping[str, Any], where: str) -> Self:
        try:
            return cls(**settings)
        except ConfigError as error:
            raise ModelError(f"{where}: {error}") from None


def _mode(said: Mapping[str, Any], folder: Path) -> str:
    """Our name of the one mode that a pooling's config.json says."""
    modes = said.get("pooling_mode", [name for key, name in OLD_MODES.items() if said.get(key)])
    modes = [modes] if isinstance(modes, str) else list(modes or ["mean"])
    if len(modes) != 1 or modes[0] not in MODES:
        raise ModelError(
            f"{folder}: pooling by {' and '.join(map(str, modes))} is not supported; known are {', '.join(MODES)}"
        )
    return MODES[modes[0]]


def _of_texts(folder: Path) -> dict[str, Any]:
    """How long a text may be, and whether its letters are lowered. sentence-transformers 6 leaves the length to the
    tokenizer."""
    said = _said(folder / "sentence_bert_config.json")
    if _task(folder) != VECTORS:
        raise ModelError(f"{folder}: the transformer_task {_task(folder)!r} gives no vectors")
    longest = said.get("max_seq_length")
    if longest is None:
        longest = _said(folder / "tokenizer_config.json").get("model_max_length")
        if not isinstance(longest, int) or longest > UNKNOWN_LENGTH:
            longest = None
    return {"longest": longest, "lower": said.get("do_lower_case") is True}


def _task(folder: Path) -> object:
    """What the network is loaded for."""
    return _said(folder / "sentence_bert_config.json").get("transformer_task", VECTORS)


def _said(path: Path) -> dict[str, Any]:
    """What a file says; nothing where there is none."""
    return read_json(path) if path.is_file() else {}


def _modules(folder: Path) -> list[tuple[str, str]]:
    """The parts of a sentence-transformers model, each a kind and its folder; ModelError for one that is not known, or
    another order."""
    path = folder / MODULES
    if not path.is_file():
        return []
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
        modules = [(str(one["type"]).rpartition(".")[2], str(one["path"])) for one in listed]
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise ModelError(f"{path} is no list of modules ({error}); fetch or copy it again") from None
    order = ("Transformer", "Pooling", "Dense", "Normalize")
    kinds = [kind for kind, _ in modules]
    if unknown := sorted(set(kinds) - {*order}):
        raise ModelError(
            f"{path}: a module of the type {unknown[0]} is not supported, and without it vectors would differ"
        )
    if kinds != sorted(kinds, key=order.index) or any(kinds.count(kind) > 1 for kind in order if kind != "Dense"):
        raise ModelError(f"{path}: the modules {', '.join(kinds)} in this order are not supported")
    if not all((folder / place).resolve().is_relative_to(folder.resolve()) for _, place in modules):
        raise ModelError(f"{path} names a folder outside its own; fetch it again")
    return modules
