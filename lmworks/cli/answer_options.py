"""The options that say how an answer is written, of `lmworks generate` and `lmworks chat`.

Each verb takes them as one value, `how: AnswerOptions`. The options of strategies are read from the strategies'
settings (`Sample`, `Beam` and `Contrastive`: their types and docstrings); the others are fields of AnswerOptions.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, get_args, get_origin

import typer

from lmworks.cli.option_groups import Options, option_name, parameter
from lmworks.cli.options import on_model

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from lmworks.generation.constraints import Constraint
    from lmworks.generation.guessing import Draft, Lookup
    from lmworks.generation.limits import Finish
    from lmworks.generation.request import Prompt
    from lmworks.generation.strategies import Strategy
    from lmworks.generation.tool_calls import Tools
    from lmworks.language_model import LanguageModel
    from lmworks.models.config import RopeScaling

DRAWN, BEAMS, CONTRAST = "A token drawn by its probability", "Whole answers side by side", "Contrastive search"
CHANGES, FORM = "What comes less often, or not at all", "The form of the answer"
CALLS = "What the answer may call"
FASTER, LONG = "Faster, the answer unchanged", "Longer than the model's window"
NAMES = {"width": "beams", "groups": "beam_groups", "alpha": "contrastive"}
"""Settings of strategies whose options have other names."""


@dataclass(frozen=True, kw_only=True)
class AnswerOptions(Options):
    """What the options say; None where they say nothing."""

    chosen: Mapping[str, Any] = field(default_factory=dict)
    """The options of strategies that were given, by their names."""
    stop: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="End the answer before this text; may be repeated.")
    ] = None
    schema: Annotated[
        str | None,
        typer.Option(metavar="FILE|JSON", help="JSON that this JSON schema describes.", rich_help_panel=FORM),
    ] = None
    regex: Annotated[
        str | None,
        typer.Option(metavar="PATTERN", help="A text that this matches as a whole.", rich_help_panel=FORM),
    ] = None
    choice: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="This text, or that of another --choice.", rich_help_panel=FORM),
    ] = None
    tools: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|JSON",
            help="Functions that the answer may call: a list of tools in OpenAI's form.",
            rich_help_panel=CALLS,
        ),
    ] = None
    tool_choice: Annotated[
        str | None,
        typer.Option(
            metavar="auto|required|none|NAME",
            help="Words or calls, calls, words, or a call of this function; auto unless given.",
            rich_help_panel=CALLS,
        ),
    ] = None
    lookup: Annotated[
        bool,
        typer.Option(
            "--lookup", help="Guess that text goes on as it did where it stood before.", rich_help_panel=FASTER
        ),
    ] = False
    draft: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Guess what this smaller model with the same vocabulary writes.",
            rich_help_panel=FASTER,
        ),
    ] = None
    most_guessed: Annotated[int | None, typer.Option(help="Tokens of one guess.", rich_help_panel=FASTER)] = None
    window: Annotated[
        str,
        typer.Option(
            metavar="stop|slide",
            help="At its end: stop, or keep the first tokens and the last half, and go on.",
            rich_help_panel=LONG,
        ),
    ] = "stop"
    rope_scaling: Annotated[
        str | None,
        typer.Option(
            metavar="KIND:FACTOR",
            help="Read FACTOR times as much; KIND is linear, dynamic (NTK) or yarn.",
            rich_help_panel=LONG,
        ),
    ] = None

    @classmethod
    def parameters(cls) -> list[inspect.Parameter]:
        """The fields, but for the options of strategies in the place of `chosen`."""
        chosen, first, *others = super().parameters()
        assert chosen.name == "chosen"
        return [first, *_strategy_options(), *others]

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> Self:
        """With the options of strategies that were given in `chosen`."""
        strategies = {one.name: said[one.name] for one in _strategy_options()}
        own = {name: value for name, value in said.items() if name not in strategies}
        return cls(chosen={name: value for name, value in strategies.items() if value is not None}, **own)

    def strategy(self) -> Strategy | None:
        """How tokens are chosen; None where nothing is said. ConfigError for what makes no sense."""
        from lmworks.basics.errors import ConfigError
        from lmworks.generation.strategies import Beam, Contrastive, Greedy, Sample, Strategy

        changes = self._settings(Strategy)
        drawn, beams, contrast = (self._settings(kind, Strategy) for kind in (Sample, Beam, Contrastive))
        if beams and "width" not in beams:
            raise ConfigError(f"{_option(next(iter(beams)))} is about beams; give --beams too")
        if "width" in beams and "alpha" in contrast:
            raise ConfigError("--beams and --contrastive are two ways to write an answer; leave out one of them")
        if ("groups" in beams) != ("diversity_penalty" in beams):
            raise ConfigError(
                "--beam-groups and --diversity-penalty go together: the penalty keeps groups apart, which would all "
                "write the same without it; give both, or neither"
            )
        if beams:
            if drawn:
                raise ConfigError(f"--beams draws nothing; leave out {_option(next(iter(drawn)))}, or --beams")
            return made(Beam, **beams, **changes)
        if "alpha" in contrast:
            if foreign := [name for name in drawn if name not in contrast]:
                raise ConfigError(f"--contrastive draws nothing; leave out {_option(foreign[0])}, or --contrastive")
            return made(Contrastive, **contrast, **changes)
        if drawn:
            return Sample(**drawn, **changes)
        return Greedy(**changes) if changes else None

    def _settings(self, kind: type[Strategy], without: type[Strategy] | None = None) -> dict[str, Any]:
        """The settings of a strategy that were given; those of `without` are left out."""
        return {
            name: _value(NAMES.get(name, name), self.chosen[NAMES.get(name, name)], info)
            for name, info in kind.model_fields.items()
            if NAMES.get(name, name) in self.chosen and (without is None or name not in without.model_fields)
        }

    def constraint(self) -> Constraint | None:
        """The form of the answer. ConfigError for two forms, for one that no model could follow, and for a file that
        is not there."""
        from lmworks.basics.errors import ConfigError
        from lmworks.generation.constraints import Choice, Form, JsonSchema, Regex

        said = self._said("schema", "regex", "choice")
        if len(said) > 1:
            one, other = list(said)[:2]
            raise ConfigError(f"{_option(one)} and {_option(other)} are two forms of one answer; leave out one of them")
        if not said:
            return None
        form: Form
        if self.schema is not None:
            form = JsonSchema(_schema(self.schema))
        else:
            form = Choice(self.choice or ()) if self.regex is None else Regex(self.regex)
        form.must_be_sound()
        return form

    def called(self) -> Tools | None:
        """What the answer may call. ConfigError for a choice without tools, and for tools beside a form."""
        from lmworks.basics.errors import ConfigError

        if self.tools is None:
            if self.tool_choice is not None:
                raise ConfigError("--tool-choice is about tools; give --tools too")
            return None
        if form := self._said("schema", "regex", "choice"):
            raise ConfigError(
                f"--tools and --{next(iter(form))} both say the form of the answer; leave one of them out"
            )
        from lmworks.generation.tool_calls import Tools
        from lmworks.tokens.chat.tools import read_tools

        return Tools(read_tools(self.tools), self.tool_choice or "auto")

    def guess(self) -> Lookup | Draft | None:
        """Who guesses; a draft is loaded here."""
        from lmworks.basics import progress
        from lmworks.basics.errors import ConfigError
        from lmworks.generation.guessing import Draft, Lookup
        from lmworks.loading import load

        most = {} if self.most_guessed is None else {"most": self.most_guessed}
        if self.lookup and self.draft is not None:
            raise ConfigError("--lookup and --draft both guess the same tokens; leave out one of them")
        if most and not self.lookup and self.draft is None:
            raise ConfigError("--most-guessed is about guesses; give --lookup or --draft too")
        if self.lookup:
            return Lookup(**most)
        if self.draft is None:
            return None
        with progress.shown():
            return Draft(load(self.draft), **most)

    def loaded(
        self, reference: str, base: str | None, compress: str | None, adapters: Sequence[str] = ()
    ) -> LanguageModel:
        """The model, with an adapter on it, several beside it, or none, its window stretched where that is asked for.
        ConfigError for several of which a text cannot choose one."""
        from lmworks.adaptation.adapter_files import grid_of
        from lmworks.basics import progress
        from lmworks.loading import add_adapter, load

        reference, base, named = on_model(reference, base, adapters)
        scaling = _scaling(self.rope_scaling)
        with progress.shown():
            grid = grid_of(named.values())
            if named:
                from lmworks.adaptation.router import AdapterRouter, must_say_which_texts

                must_say_which_texts(named)
            model = load(reference, base=base, rope_scaling=scaling, compress=compress, grid=grid)
            for name, folder in named.items():
                add_adapter(model, name, folder)
        if named:
            AdapterRouter.beside(model)
        return model

    def said(self, max_new_tokens: int) -> dict[str, Any]:
        """What `model.generate` and `model.stream` take besides prompt and strategy."""
        from lmworks.basics.errors import ConfigError

        if self.window not in ("stop", "slide"):
            raise ConfigError(f"--window is {self.window}; say stop or slide")
        if max_new_tokens < 1:
            raise ConfigError(f"max_new_tokens is {max_new_tokens}; give at least 1")
        least = 0 if (strategy := self.strategy()) is None else strategy.min_new_tokens
        if least > max_new_tokens:
            raise ConfigError(
                f"min_new_tokens is {least:,} and max_new_tokens is {max_new_tokens:,}, which is less; change one of "
                "them"
            )
        said = {"constraint": self.constraint(), "tools": self.called(), "guess": self.guess(), "window": self.window}
        return {"max_new_tokens": max_new_tokens, "stop": self.stop or (), **said}

    def _said(self, *names: str) -> dict[str, Any]:
        return {name: value for name in names if (value := getattr(self, name)) is not None}


def _strategy_options() -> list[inspect.Parameter]:
    """An option for each setting of each strategy; one that two of them have is an option of the first."""
    from lmworks.basics.meanings import meanings
    from lmworks.generation.strategies import Beam, Contrastive, Sample, Strategy

    found: dict[str, inspect.Parameter] = {}
    for kind, heading in ((Sample, DRAWN), (Beam, BEAMS), (Contrastive, CONTRAST), (Strategy, CHANGES)):
        meaning = meanings(kind)
        for name, info in kind.model_fields.items():
            if name in found or (kind is not Strategy and name in Strategy.model_fields):
                continue
            said, metavar = _as_typed(info.annotation)
            option = typer.Option(
                _option(name),
                help=meaning[name],
                metavar=metavar,
                rich_help_panel=heading,
            )
            found[name] = parameter(NAMES.get(name, name), Annotated[said | None, option])
    return list(found.values())


def _as_typed(annotation: Any) -> tuple[Any, str | None]:
    """How a setting of this type is typed on the command line: the type for typer, and what the help shows for it."""
    kinds = [one for one in get_args(annotation) if one is not NoneType] or [annotation]
    if get_origin(annotation) is Literal:
        return str, "|".join(_word(one) for one in get_args(annotation))
    if get_origin(annotation) is dict:
        return list[str], "TOKEN=BIAS"
    return (kinds[0] if kinds[0] in (int, float, bool) else str), None


def _value(option: str, said: Any, info: FieldInfo) -> Any:
    """What was typed, as the setting takes it."""
    from lmworks.basics.errors import ConfigError

    if get_origin(info.annotation) is dict:
        return dict(map(_bias, said))
    if get_origin(info.annotation) is not Literal:
        return said
    known = {_word(one): one for one in get_args(info.annotation)}
    if said not in known:
        *others, last = known
        raise ConfigError(f"{option_name(option)} is {said}; say {', '.join(others)} or {last}")
    return known[said]


def _word(value: Any) -> str:
    return {True: "yes", False: "no"}.get(value, str(value))


def routed(model: LanguageModel, prompts: Sequence[Prompt]) -> list[str | None]:
    """Which of the adapters beside a model reads each prompt; None for each where there are none."""
    if not model.adapters:
        return [None] * len(prompts)
    from lmworks.adaptation.router import route

    return route(model, prompts)


def tell_adapter(model: LanguageModel, name: str | None, where: str = "") -> None:
    """Say on standard error which of the adapters beside the model was chosen, where there are any."""
    if model.adapters:
        typer.echo(f"lmworks: {where}read by {name or 'the model itself'}", err=True)


def tell_cut(model: LanguageModel, finish: Finish | None, where: str = "") -> None:
    """Say on standard error that an answer ends because the model reads no further."""
    if finish == "window":
        hint = "" if model.translates else "; shorten the prompt, or go on with --window slide"
        what = f"the end of the window cut the answer: the model reads {model.longest:,} tokens"
        typer.echo(f"lmworks: {where}{what}{hint}", err=True)


def made(kind: type[Strategy], **settings: Any) -> Strategy:
    """A strategy of these settings; what is wrong with one is said of its option: `--beams is 0`."""
    from lmworks.basics.errors import ConfigError

    try:
        return kind(**settings)
    except ConfigError as error:
        name, _, rest = str(error).partition(" ")
        raise ConfigError(f"{_option(name)} {rest}") if name in NAMES else error from None


def _option(name: str) -> str:
    return option_name(NAMES.get(name, name))


def _bias(said: str) -> tuple[int, float]:
    from lmworks.basics.errors import ConfigError

    token, _, bias = said.partition("=")
    try:
        return int(token), float(bias)
    except ValueError:
        raise ConfigError(f"--logit-bias is {said}; write it as TOKEN=BIAS, for example 198=-100") from None


def _schema(said: str) -> str:
    """The schema's text: what is no JSON object is the name of a file."""
    from lmworks.basics.errors import ConfigError
    from lmworks.basics.files import regular

    if said.lstrip().startswith("{"):
        return said
    try:
        return regular(Path(said)).read_text(encoding="utf-8")
    except (OSError, ValueError):
        raise ConfigError(
            f"--schema {said} is neither a file that can be read nor JSON that begins with {{; give one of the two"
        ) from None


def _scaling(said: str | None) -> RopeScaling | None:
    from lmworks.basics.errors import ConfigError
    from lmworks.models.config import RopeScaling

    if said is None:
        return None
    kind, _, factor = said.partition(":")
    try:
        value = float(factor)
    except ValueError:
        value = 0.0
    if kind not in ("linear", "dynamic", "yarn") or not 1 < value < float("inf"):
        how = "KIND:FACTOR (linear, dynamic or yarn), for example yarn:4"
        above = ", with a factor above 1" if kind in ("linear", "dynamic", "yarn") and 0 < value <= 1 else ""
        raise ConfigError(f"--rope-scaling is {said}; write it as {how}{above}")
    return RopeScaling(kind=kind, factor=value)  # type: ignore[arg-type]
