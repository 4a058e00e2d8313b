"""A verb of the command line: one file of this folder, which declares itself.

    @verb("Use it", place=2)
    def generate(model: Model, ...) -> None:
        "Continue a text with a model. ..."

Its parameters are its arguments and options; a parameter may also be a group of them (option_groups.py).
`lmworks --help` shows the first sentence under the heading. A command is built only when it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from lmworks.basics.declared import declared
from lmworks.basics.errors import ConfigError
from lmworks.cli.option_groups import with_options

HEADINGS = ("Make a model", "Use it", "Measure it", "Find out more")
"""What people want to do, in the order of `lmworks --help`; a heading that is not among them comes last."""


@dataclass(frozen=True)
class Verb:
    """What a file of this folder declares."""

    name: str
    heading: str
    place: int
    """Lower places come first under their heading."""
    run: Callable[..., None] | typer.Typer
    """A function whose parameters are the options, or the application of several verbs below this one."""

    @property
    def help(self) -> str:
        """What it does, in a sentence."""
        text = self.run.info.help if isinstance(self.run, typer.Typer) else self.run.__doc__
        return " ".join((text or "").split("\n\n", maxsplit=1)[0].split())

    def command(self) -> Any:
        """The command that reads its options."""
        if isinstance(self.run, typer.Typer):
            for below in self.run.registered_commands:
                below.cls = GroupedCommand
            made = typer.main.get_group(self.run)
        else:
            alone = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
            alone.command(self.name, cls=GroupedCommand)(with_options(self.run))
            made = typer.main.get_command(alone)  # type: ignore[assignment]
        made.name = self.name
        return made


def verb(heading: str, place: int = 100) -> Callable[[Callable[..., None]], Verb]:
    """Declare a function as the verb of its name, in which a line stands for an underscore."""
    return lambda run: Verb(run.__name__.replace("_", "-"), heading, place, run)


def verbs() -> dict[str, Verb]:
    """Every verb by its name, in the order of the help."""
    found = declared("lmworks.cli", Verb).values()
    headings = [*HEADINGS, *sorted({one.heading for one in found} - {*HEADINGS})]
    return {one.name: one for one in sorted(found, key=lambda one: (headings.index(one.heading), one.place, one.name))}


class Commands(Mapping[str, Any]):
    """The commands of all verbs, each built when it is asked for."""

    def __getitem__(self, name: str) -> Any:
        return verbs()[name].command()

    def __iter__(self) -> Iterator[str]:
        return iter(verbs())

    def __len__(self) -> int:
        return len(verbs())


class Verbs(TyperGroup):
    """`lmworks` itself."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = Commands()  # type: ignore[assignment]

    def list_commands(self, ctx: Any) -> list[str]:
        """Their names, in the order of the help."""
        return list(self.commands)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The verbs under their headings, each with what it does."""
        rows: dict[str, list[tuple[str, str]]] = {}
        for one in verbs().values():
            rows.setdefault(one.heading, []).append((one.name, one.help.partition(". ")[0].rstrip(".")))
        _sections(formatter, rows)


REFERENCES = {
    *("adapter", "base", "beside", "chat_template", "data", "draft", "embedder", "file", "files", "folder", "graph"),
    *("index", "judge", "mapping", "members", "model", "models", "non_members", "out", "recipe", "server", "source"),
    *("space", "student", "teacher", "text", "trained_on", "what"),
}
"""Parameters whose text is a path, or a name that counts before one."""


MOST_NAMED = 3
"""Settings that are named where several are called so."""
NUMBERS = {"int_parsing": "a whole number", "float_parsing": "a number", "bool_parsing": "true or false"}
"""What was to be given, by pydantic's names of what is wrong."""


class GroupedCommand(TyperCommand):
    """A verb whose help shows its options under the headings of their groups."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """The arguments. A number that is none is named in our words: pydantic's, which typer takes, leave it out. An
        unknown option that is a setting of the recipe gets an error that names the setting."""
        try:
            return list(super().parse_args(ctx, args))
        except Exception as error:
            unknown = getattr(error, "option_name", None)
            has_settings = any("--set" in one.opts for one in self.get_params(ctx))
            if unknown and has_settings and (found := _settings_called(self.name or "", unknown)):
                said = " or ".join(f"--set {one}=..." for one in found)
                error.message = f"{unknown} is a setting of the recipe: {said}"  # type: ignore[attr-defined]
                error.possibilities = None  # type: ignore[attr-defined]
            wrong: list[Any] = getattr(error.__cause__, "errors", list)()
            if wrong and wrong[0]["type"] in NUMBERS and hasattr(error, "message"):
                error.message = f"{wrong[0]['input']!r} is not {NUMBERS[wrong[0]['type']]}"
            raise

    def invoke(self, ctx: Any) -> Any:
        """Run it. ConfigError for an empty path, as of a shell's variable that is not set: it would stand for the
        folder in which the command is given."""
        for parameter in self.get_params(ctx):
            given = ctx.params.get(parameter.name)
            if parameter.name in REFERENCES and "" in (given if isinstance(given, list) else [given]):
                is_option = parameter.param_type_name == "option"
                said = parameter.opts[0] if is_option else parameter.metavar or parameter.name
                raise ConfigError(f"{said} is empty; give a path or a name, and . for the folder in which you are")
        return super().invoke(ctx)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Arguments, options without a group, then one group after another."""
        groups: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                heading = "Arguments" if parameter.param_type_name == "argument" else "Options"
                groups.setdefault(getattr(parameter, "rich_help_panel", None) or heading, []).append(record)
        _sections(formatter, groups)


OTHER_NAMES = {
    "batch-size": "rows",
    "lr": "learning-rate",
    "max-steps": "steps",
    "num-train-epochs": "epochs",
    "r": "rank",
    "max-length": "context",
}
"""What settings are called elsewhere."""


def _settings_called(verb: str, option: str) -> list[str]:
    """The settings of a verb's recipe that an option's name may mean."""
    from lmworks.cli.explained import explained

    kind = explained().get("build" if verb == "tune" else verb)  # tune reads the recipes of build
    name = option.lstrip("-").replace("_", "-").lower()
    wanted = OTHER_NAMES.get(name, name).replace("-", "_")
    known = list(kind.explain()) if kind is not None else []
    found = [one for one in known if one.rpartition(".")[2] == wanted]
    return [one for one in found if one.startswith("training.")] or found[:MOST_NAMED]


def _sections(formatter: Any, rows: Mapping[str, list[tuple[str, str]]]) -> None:
    """Lists of names and what they are, under their headings."""
    for heading, records in rows.items():
        if records:
            with formatter.section(heading):
                formatter.write_dl(records)
