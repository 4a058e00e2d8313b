"""lmworks explain: what each setting means, from the lines beside the setting itself.

No setting is listed here: verbs declare themselves, classes of settings say `explain_as`, and parts are declared in the
folders of PARTS.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Protocol, runtime_checkable

import typer

from lmworks.basics.declared import declared
from lmworks.cli.explained import explained
from lmworks.cli.options import Json, as_json, table
from lmworks.cli.verb import Verb, verb, verbs
from lmworks.jobs.handbook import glossary

if TYPE_CHECKING:
    from lmworks.basics.config import Config

PARTS = (
    "lmworks.objectives.kinds",
    "lmworks.objectives.preferences",
    "lmworks.training.optimisers",
    "lmworks.adaptation.methods",
    "lmworks.adaptation.retention",
    "lmworks.generation.filters",
)
"""Folders whose files declare parts with a `name` and `settings`."""


@verb("Find out more", place=2)
def explain(
    what: Annotated[
        str | None,
        typer.Argument(
            help="A verb, a kind of recipe or network, a strategy, a part of one, a setting by its name, or a word of "
            "the glossary (perplexity); all that can be set if not given."
        ),
    ] = None,
    json_: Json = False,
) -> None:
    """Say what each setting of a recipe, a network or a verb means, and the words of the field."""
    if what is None:
        lines, columns = _summaries(), ["lmworks explain", "which is"]
    else:
        lines = _meanings(what)
        columns = ["setting" if lines.keys() - glossary() else "word", "meaning"]
    if json_:
        as_json(lines)
    else:
        table(columns, [[name, meaning] for name, meaning in lines.items()])


def _summaries() -> dict[str, str]:
    """Everything that can be explained, with what it is in a sentence."""
    lines = {name: one.help for name, one in verbs().items()}
    lines |= {name: kind.__doc__ or "" for name, kind in explained().items() if name not in lines}
    first = {name: _first_sentence(text) for name, text in lines.items()}
    for name, part in parts().items():
        what = _first_sentence(getattr(part, "summary", part.settings.__doc__ or ""))
        first[name] = f"{first[name]}; also {what}" if name in first else what  # prompt is a verb, and a way to tune
    return first


def _first_sentence(text: str) -> str:
    return " ".join(text.split()).partition(". ")[0].rstrip(".")


def _meanings(asked: str) -> dict[str, str]:
    """The options of a verb, then the settings of that name; of neither, what the glossary says of the word, and the
    settings that are called so. Capitals and lines in place of underscores are as good."""
    from lmworks.basics.errors import ConfigError, did_you_mean

    known = list(dict.fromkeys([*verbs(), *explained(), *parts()]))
    what = next((one for one in known if _plain(one) == _plain(asked)), None)
    if what is not None:
        return (dict(_options(verbs()[what])) if what in verbs() else {}) | _settings(what)
    called: dict[tuple[str, str], list[str]] = {}
    every = [(of, *one) for of in known for one in _settings(of).items()]
    for of, setting, meaning in every:
        if _plain(asked) in (_plain(setting), _plain(setting).rpartition(".")[2]):
            called.setdefault((setting, meaning), []).append(of)
    words = {term: terms for terms in glossary() for term in (terms, *terms.split(", "))}
    said = {terms: glossary()[terms] for term, terms in words.items() if _plain(term) == _plain(asked)}
    if not called and not said:
        names = [*known, *(name for _, setting, _ in every for name in (setting, setting.rpartition(".")[2]))]
        hint = did_you_mean(_plain(asked).replace("-", "_"), dict.fromkeys(names)) or did_you_mean(asked, words)
        raise ConfigError(f"explain does not know {asked!r}; {hint}lmworks explain lists what it knows")
    return said | {f"{setting} ({', '.join(owners)})": meaning for (setting, meaning), owners in called.items()}


def _plain(name: str) -> str:
    return name.lower().replace("_", "-").replace(" ", "-")


def _settings(what: str) -> dict[str, str]:
    """The settings of that name; none where it has none."""
    from lmworks.basics.meanings import meanings

    if what in explained():
        return explained()[what].explain()
    return meanings(parts()[what].settings) if what in parts() else {}


def _options(one: Verb) -> Iterator[tuple[str, str]]:
    """What a verb can be told, in the words of its own help."""
    command = one.command()
    for below in getattr(command, "commands", {"": command}).values():
        for parameter in below.params:
            label = next((name for name in parameter.opts if name.startswith("--")), parameter.name)
            yield f"{below.name} {label}" if below is not command else label, parameter.help


@functools.cache
def parts() -> dict[str, Explainable]:
    """Every declared part that has settings, by its name."""
    kind: Any = Explainable
    found = {name: part for room in PARTS for name, part in declared(room, kind).items()}
    return {name: part for name, part in found.items() if getattr(part.settings, "model_fields", None)}


@runtime_checkable
class Explainable(Protocol):
    """What a file of PARTS declares."""

    name: str
    settings: type[Config]
