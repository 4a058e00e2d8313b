"""The options that say how an answer is written, of `lmworks generate` and `lmworks chat`.

Each verb takes them as one value, `how: Answering`; `answering` puts an option for each of its fields into the verb's
signature, and `GroupedCommand` prints them under the headings of their groups.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer
from typer.core import TyperCommand

if TYPE_CHECKING:
    from lmworks.generation.constraints import Constraint
    from lmworks.generation.guessing import Draft, Lookup
    from lmworks.generation.limits import Finish
    from lmworks.generation.strategies import Strategy
    from lmworks.language_model import LanguageModel
    from lmworks.models.config import RopeScaling

DRAWN, BEAMS, CONTRAST = "A token drawn by its probability", "Whole answers side by side", "Contrastive search"
CHANGES, FORM = "What comes less often, or not at all", "The form of the answer"
FASTER, LONG = "Faster, the answer unchanged", "Longer than the model's window"


@dataclass(frozen=True)
class Answering:
    """What the options say; None where they say nothing."""

    stop: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="End the answer before this text; may be repeated.")
    ] = None
    temperature: Annotated[
        float | None,
        typer.Option(help="Divides the logits: below 1 sharper, above 1 flatter; 0 is greedy.", rich_help_panel=DRAWN),
    ] = None
    top_k: Annotated[int | None, typer.Option(help="Keep the k most probable tokens.", rich_help_panel=DRAWN)] = None
    top_p: Annotated[
        float | None,
        typer.Option(help="Keep the fewest tokens that reach this probability together.", rich_help_panel=DRAWN),
    ] = None
    min_p: Annotated[
        float | None,
        typer.Option(help="Keep tokens this many times as probable as the best.", rich_help_panel=DRAWN),
    ] = None
    typical_p: Annotated[
        float | None,
        typer.Option(
            help="Keep the tokens of usual surprise that reach this probability together.", rich_help_panel=DRAWN
        ),
    ] = None
    seed: Annotated[int | None, typer.Option(help="Same seed, same text.", rich_help_panel=DRAWN)] = None
    beams: Annotated[
        int | None,
        typer.Option(help="Write this many and give the best as a whole.", rich_help_panel=BEAMS),
    ] = None
    length_penalty: Annotated[
        float | None,
        typer.Option(
            help="Compare log-probabilities / length ** this; above 1 for longer answers.", rich_help_panel=BEAMS
        ),
    ] = None
    early_stopping: Annotated[
        str | None,
        typer.Option(
            metavar="yes|no|never",
            help="With all beams finished: stop; stop if none looks better; or go on as long as one could become better.",
            rich_help_panel=BEAMS,
        ),
    ] = None
    beam_groups: Annotated[
        int | None, typer.Option(help="Beams in this many groups that differ.", rich_help_panel=BEAMS)
    ] = None
    diversity_penalty: Annotated[
        float | None, typer.Option(help="What a token costs that an earlier group took.", rich_help_panel=BEAMS)
    ] = None
    contrastive: Annotated[
        float | None,
        typer.Option(
            metavar="ALPHA",
            help="Of the --top-k likeliest tokens (4) the one least like the text so far; 0 is greedy, 0.6 is usual.",
            rich_help_panel=CONTRAST,
        ),
    ] = None
    repetition_penalty: Annotated[
        float | None,
        typer.Option(help="Above 1, what occurred, the prompt included, becomes less likely.", rich_help_panel=CHANGES),
    ] = None
    frequency_penalty: Annotated[
        float | None,
        typer.Option(help="Taken off for each time that the answer has a token (-2 to 2).", rich_help_panel=CHANGES),
    ] = None
    presence_penalty: Annotated[
        float | None,
        typer.Option(help="Taken off once the answer has a token (-2 to 2).", rich_help_panel=CHANGES),
    ] = None
    no_repeat_ngram: Annotated[
        int | None, typer.Option(help="No run of this many tokens comes twice.", rich_help_panel=CHANGES)
    ] = None
    logit_bias: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TOKEN=BIAS",
            help="Added to the logit of a token id; -100 forbids it; may be repeated.",
            rich_help_panel=CHANGES,
        ),
    ] = None
    min_new_tokens: Annotated[
        int | None, typer.Option(help="No end before this many tokens are written.", rich_help_panel=CHANGES)
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

    def strategy(self) -> Strategy | None:
        """How tokens are chosen; None where nothing is said. ConfigError for what makes no sense."""
        from lmworks.basics.errors import ConfigError
        from lmworks.generation.strategies import Beam, Contrastive, Greedy, Sample

        drawn = self._said("temperature", "top_k", "top_p", "min_p", "typical_p", "seed")
        beams = self._said("length_penalty", "early_stopping", "beam_groups", "diversity_penalty")
        changes = self._said(
            "repetition_penalty", "frequency_penalty", "presence_penalty", "no_repeat_ngram", "min_new_tokens"
        )
        if self.logit_bias:
            changes["logit_bias"] = dict(map(_bias, self.logit_bias))
        if self.beams is None and beams:
            raise ConfigError(f"{_option(next(iter(beams)))} is about beams; give --beams too")
        if self.beams is not None and self.contrastive is not None:
            raise ConfigError("--beams and --contrastive are two ways to write an answer; leave out one of them")
        if self.beams is not None:
            if drawn:
                raise ConfigError(f"--beams draws nothing; leave out {_option(next(iter(drawn)))}, or --beams")
            beams = {"groups" if name == "beam_groups" else name: value for name, value in beams.items()}
            if "early_stopping" in beams:
                beams["early_stopping"] = _early_stopping(beams["early_stopping"])
            return Beam(width=self.beams, **beams, **changes)
        if self.contrastive is not None:
            candidates = {"top_k": drawn.pop("top_k")} if self.top_k is not None else {}
            if drawn:
                raise ConfigError(f"--contrastive draws nothing; leave out {_option(next(iter(drawn)))}, or it")
            return Contrastive(alpha=self.contrastive, **candidates, **changes)
        if drawn:
            return Sample(**drawn, **changes)
        return Greedy(**changes) if changes else None

    def constraint(self) -> Constraint | None:
        """The form of the answer. ConfigError for two forms, and for a file that is not there."""
        from lmworks.basics.errors import ConfigError
        from lmworks.generation.constraints import Choice, JsonSchema, Regex

        said = self._said("schema", "regex", "choice")
        if len(said) > 1:
            one, other = list(said)[:2]
            raise ConfigError(f"{_option(one)} and {_option(other)} are two forms of one answer; leave out one of them")
        if self.schema is not None:
            return JsonSchema(_schema(self.schema))
        if self.regex is not None:
            return Regex(self.regex)
        return Choice(self.choice) if self.choice is not None else None

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

    def loaded(self, reference: str, base: str | None, compress: str | None) -> LanguageModel:
        """The model, its window stretched where that is asked for."""
        from lmworks.basics import progress
        from lmworks.loading import load

        scaling = _scaling(self.rope_scaling)
        with progress.shown():
            return load(reference, base=base, rope_scaling=scaling, compress=compress)

    def said(self, max_new_tokens: int) -> dict[str, Any]:
        """What `model.generate` and `model.stream` take besides prompt and strategy."""
        from lmworks.basics.errors import ConfigError

        if self.window not in ("stop", "slide"):
            raise ConfigError(f"--window is {self.window}; say stop or slide")
        said = {"constraint": self.constraint(), "guess": self.guess(), "window": self.window}
        return {"max_new_tokens": max_new_tokens, "stop": self.stop or (), **said}

    def _said(self, *names: str) -> dict[str, Any]:
        return {name: value for name in names if (value := getattr(self, name)) is not None}


class GroupedCommand(TyperCommand):
    """A verb whose help shows its options under the headings of their groups."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Arguments, options without a group, then one group after another."""
        groups: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                heading = "Arguments" if parameter.param_type_name == "argument" else "Options"
                groups.setdefault(getattr(parameter, "rich_help_panel", None) or heading, []).append(record)
        for heading, records in groups.items():
            with formatter.section(heading):
                formatter.write_dl(records)


def answering(verb: Callable[..., None]) -> Callable[..., None]:
    """Put an option for each field of Answering in the place of the verb's parameter `how`."""
    signature = inspect.signature(verb, eval_str=True)
    hints = get_type_hints(Answering, include_extras=True)
    options = [
        inspect.Parameter(one.name, inspect.Parameter.KEYWORD_ONLY, default=one.default, annotation=hints[one.name])
        for one in fields(Answering)
    ]

    @functools.wraps(verb)
    def with_options(**given: Any) -> None:
        how = Answering(**{one.name: given.pop(one.name) for one in fields(Answering)})
        verb(**given, how=how)

    own = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in signature.parameters.values()]
    at = next(place for place, one in enumerate(own) if one.name == "how")
    parameters = [*own[:at], *options, *own[at + 1 :]]
    with_options.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    with_options.__annotations__ = {one.name: one.annotation for one in parameters} | {"return": None}
    return with_options


def tell_cut(model: LanguageModel, finish: Finish | None, where: str = "") -> None:
    """Say on standard error that an answer ends because the model reads no further."""
    if finish == "window":
        hint = "" if model.translates else "; shorten the prompt, or go on with --window slide"
        what = f"the end of the window cut the answer: the model reads {model.config.context:,} tokens"
        typer.echo(f"lmworks: {where}{what}{hint}", err=True)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _early_stopping(said: str) -> bool | str:
    from lmworks.basics.errors import ConfigError

    known: dict[str, bool | str] = {"yes": True, "no": False, "never": "never"}
    if said not in known:
        raise ConfigError(f"--early-stopping is {said}; say yes, no or never")
    return known[said]


def _bias(said: str) -> tuple[int, float]:
    from lmworks.basics.errors import ConfigError

    token, _, bias = said.partition("=")
    try:
        return int(token), float(bias)
    except ValueError:
        raise ConfigError(f"--logit-bias is {said}; write it as TOKEN=BIAS, 198=-100 say") from None


def _schema(said: str) -> str:
    """The schema's text: what is no JSON object is the name of a file."""
    from lmworks.basics.errors import ConfigError

    if said.lstrip().startswith("{"):
        return said
    try:
        return Path(said).read_text(encoding="utf-8")
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
        raise ConfigError(f"--rope-scaling is {said}; write it as KIND:FACTOR, yarn:4 say (linear, dynamic or yarn)")
    return RopeScaling(kind=kind, factor=value)  # type: ignore[arg-type]
