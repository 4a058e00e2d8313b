"""lmworks plan: what a run will need, before it is started."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING, Annotated

import typer

from lmworks.basics.amounts import counted
from lmworks.basics.terminal import for_shell
from lmworks.cli.options import Changes, Json, as_json, reads_text, say, table
from lmworks.cli.verb import verb

if TYPE_CHECKING:
    from lmworks.jobs.planning.own_data import OwnData
    from lmworks.jobs.planning.plan import Plan
    from lmworks.jobs.planning.published import Published
    from lmworks.jobs.planning.running import Running
    from lmworks.jobs.planning.ways import Way

WIDTH = 100
"""Columns of what is no table."""


@verb("Make a model", place=7)
@reads_text
def plan(
    recipe: Annotated[
        str,
        typer.Argument(
            help="A shipped recipe or a TOML file; or a model: an alias, a directory, a config.json, hf:org/name."
        ),
    ] = "adapt",
    data: Annotated[
        str | None,
        typer.Option(help="Text of your own, as `lmworks tune` takes it: the plan is of a tune on it."),
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="The method that is shown by its parts; all are shown side by side.")
    ] = None,
    retain: Annotated[
        str | None, typer.Option(help="How what the model could do is kept; `lmworks explain build` lists the ways.")
    ] = None,
    device: Annotated[str, typer.Option(help='H100, "8x H100", ...; cpu is this machine, measured.')] = "cpu",
    set_: Changes = None,
    published: Annotated[
        bool, typer.Option("--published", help="Figures of papers beside this planner's, with the difference.")
    ] = False,
    json_: Json = False,
) -> None:
    """Say what a run needs: memory, time, disk. Training from nothing, every way to tune, and serving stand side by
    side; with --data also what of your own text is learnt, in how many steps."""
    from lmworks.basics import progress

    if published:
        from lmworks.jobs.planning.published import published as figures

        _print_published(figures(), json_)
        return
    from lmworks.jobs.planning.recipes import read_recipe

    named = {"method": method, "retain": retain}
    changes = [*(f"{key}={value}" for key, value in named.items() if value is not None)]
    changes += [*(["grounding.index=false"] if data is not None else []), *(set_ or [])]
    tunes = data is not None or method is not None or retain is not None
    read_recipe(recipe, changes, tunes)  # what is wrong with it is said before torch is loaded, which takes seconds

    progress.at_once(f"planning {recipe}")
    from lmworks.jobs.planning.devices import find_device
    from lmworks.jobs.planning.plan import make_plan
    from lmworks.jobs.planning.reading import read_subject

    def told(line: str) -> None:
        progress.end_line()
        say(line)

    with progress.shown():
        devices = find_device(device)
        made = make_plan(read_subject(recipe, changes, data, told), devices)
    progress.end_line()
    if json_:
        as_json(made.to_json())
        return
    _print_plan(made)
    typer.echo("")
    for line in _next(made, recipe, data, {name: value for name, value in named.items() if value}, set_ or []):
        typer.echo(line)


def _print_plan(plan: Plan) -> None:
    config, device, own = plan.subject.model, plan.devices.device, plan.subject.own
    longest = plan.subject.training.context == config.context
    _say(
        f"{plan.subject.name}: {config.family}, {counted(config.layers, 'layer')} x {config.dim}, "
        f"vocabulary {config.vocab_size:,}, {plan.dtype}; {plan.rows} x {plan.subject.training.context:,} tokens at "
        f"once on each device{', all that the model reads' if own is None and longest else ''}"
    )
    _say(
        f"{plan.devices.name}: {size(device.memory)} and {digits(device.flops / 1e12)} TFLOP/s each, "
        f"{device.utilisation:.0%} of it expected in training ({device.source})"
    )
    typer.echo("")
    if own is not None:
        _print_own(own)
    else:
        counts = plan.parameters.by_part().items()
        _say("parameters: " + ", ".join(f"{name} {count:,}" for name, count in counts if name != "adapters"))
        typer.echo("")
    _print_ways(plan)
    _print_parts(plan.asked)
    if own is None:
        _print_serving(plan)
    elif plan.scoring_seconds is not None:
        typer.echo("")
        _say(
            f"Beside the run: about {duration(plan.scoring_seconds)} to say what was gained and lost "
            f"({own.scored:,} tokens scored, before and after)"
        )
    for note in plan.besides:
        typer.echo("")
        _say(note)


def _print_own(own: OwnData) -> None:
    typer.echo(f"text           {own.name}: {own.amounts}")
    for line in own.said:
        typer.echo(line)
    typer.echo(f"reads          {own.amount}\n")


def _print_ways(plan: Plan) -> None:
    """Each way to train in a row; what is empty in all of them is left out."""
    ways = [way for way in plan.ways if way.name != "serving"]
    mixed = len({way.timed for way in ways}) == 2
    columns = {
        "": [way.name for way in ways],
        "trained": [f"{way.trained:,}" for way in ways],
        "memory": [size(way.memory.peak) for way in ways],
        "fits": [_fits(way) for way in ways],
        "a step": [duration(way.seconds) for way in ways],
        "which is": [("timed" if way.timed else "assumed") if mixed else "" for way in ways],
        "tokens/s": [rate(way.tokens_per_second) for way in ways],
        "the run": ["" if way.run_seconds is None else duration(way.run_seconds) for way in ways],
        "checkpoint": [size(way.checkpoint) for way in ways],
        "result": [size(way.result) for way in ways],
    }
    shown = {name: cells for name, cells in columns.items() if any(cells)}
    table([*shown], [list(row) for row in zip(*shown.values(), strict=True)])


def _print_parts(way: Way) -> None:
    """What the memory of one way is, and its work."""
    name = way.name if way.chosen is not None else f"training {way.name}"
    typer.echo(f"\nMemory of {name} at its peak, {way.memory.moment}; in brackets: more at another moment")
    parts = way.memory.sizes.items()
    rows = [[name, _part(way.memory.at_peak.get(name, 0), whole)] for name, whole in parts if whole]
    table(["", ""], [*rows, ["all", size(way.memory.peak)]])
    how, attention = "timed" if way.timed else "assumed", 100 * way.flops.attention / way.flops.all
    share = f"{attention:.0f}" if attention >= 1 else f"{attention:.2g}"
    typer.echo(f"\nA step: {way.flops.all:.3g} FLOPs, {share}% of it attention; its time is {how}")


def _print_serving(plan: Plan) -> None:
    serving = plan.ways[-1]
    typer.echo("")
    _say(
        f"Serving: {size(serving.memory.peak)} with one text of {plan.subject.model.context:,} tokens, fits: "
        f"{_fits(serving)}; {duration(serving.seconds)} to read it ({serving.flops.all:.3g} FLOPs), "
        f"{rate(serving.tokens_per_second)} tokens/s after it"
    )
    if plan.running is not None:
        typer.echo(f"On this machine it runs {plan.running.how}")
        table(["", "tokens/s"], [[what, rate(found)] for what, found in _rates(plan.running).items() if found])


def _next(plan: Plan, recipe: str, data: str | None, named: dict[str, str], changes: list[str]) -> list[str]:
    """What to do now, in commands."""
    from lmworks.basics.memory import available_bytes

    asked = plan.asked
    lines = []
    free = available_bytes() if plan.devices.device.name == "cpu" else None
    if asked.fits is False:
        lines.append(f"but     {_too_much(plan)}")
    elif free is not None and asked.memory.peak > free:
        lines.append(f"but     {size(free)} are free just now, and {asked.name} takes {size(asked.memory.peak)}")
    own, context = plan.subject.own, plan.subject.training.context
    if own is not None and context < own.conversation <= plan.subject.model.context:
        lines.append(
            f"but     conversations are cut; to learn them whole, plan and tune with --set training.context="
            f"{own.conversation}"
        )
    reference = plan.subject.reference
    if reference is None:
        made_by = plan.subject.made_by or recipe
        of_its_kind = "" if made_by == recipe else "     one of its kind, from nothing"
        return [*lines, f"next    lmworks train {for_shell(made_by)}{of_its_kind}"]
    if data is None:
        return [*lines, f"next    lmworks plan {for_shell(recipe)} --data TEXT     a tune on text of your own"]
    options = [] if recipe in (reference, "adapt") else [f"--recipe {for_shell(recipe)}"]
    options += [f"--{name} {for_shell(value)}" for name, value in named.items()]
    options += [f"--set {for_shell(change)}" for change in changes]
    return [*lines, " ".join(["next    lmworks tune", for_shell(reference), "--data", for_shell(data), *options])]


def _too_much(plan: Plan) -> str:
    """Why what is asked for does not fit, and what would."""
    asked, memory, name = plan.asked, plan.devices.device.memory or 0, plan.devices.device.name
    fitting = [way.name for way in plan.ways if way.fits and way.chosen is not None]
    weights, less = asked.memory.sizes.get("weights", 0), "--set training.rows=1 --set training.recompute=true"
    instead = [f"{', '.join(fitting)} would"] if fitting else []
    if weights > memory:
        what = f"the weights of {asked.name} alone take {size(weights)} on each device, which has {size(memory)}"
        if name != "cpu":
            count = math.ceil(weights * plan.devices.count / memory)
            instead.append(f'{count:,} devices would hold them (--device "{count}x {name}")')
        return f"{what}; {', and '.join(instead) or 'no method takes as little as that'}"
    if plan.less_fits:
        instead.append(f"with less at once it does: {less}")
    return f"{asked.name} does not fit; {', and '.join(instead) or f'no method does, and it does not with {less}'}"


def _fits(way: Way) -> str:
    return "unknown" if way.fits is None else "yes" if way.fits else "no"


def _say(text: str) -> None:
    typer.echo(textwrap.fill(text, WIDTH, break_on_hyphens=False))


def _rates(running: Running) -> dict[str, float]:
    return {
        "generate, chat: written, one text": running.generate,
        "serve: written, eight texts side by side": running.serve,
        "evaluate: read, in whole windows": running.evaluate,
    }


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    units = ((365.25 * 86_400, "years"), (86_400, "days"), (3600, "h"), (60, "min"), (1, "s"), (1e-3, "ms"))
    size, unit = next((one for one in units if seconds >= 2 * one[0]), units[-1])
    return f"{digits(seconds / size)} {unit}"


def rate(value: float) -> str:
    """As many of something a second, or a share of one."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def digits(value: float) -> str:
    """Three digits, or all before the point; without an exponent, unless it is very small."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _part(at_peak: float, whole: float) -> str:
    if round(at_peak) == round(whole):
        return size(whole) if whole else ""
    return f"{size(at_peak)} ({size(whole)})"


def size(count: float | None) -> str:
    """Bytes in MB or GB of three digits."""
    if count is None:
        return "unknown memory"
    return f"{digits(count / 1e9)} GB" if count >= 1e9 else f"{digits(count / 1e6)} MB"


def _print_published(lines: list[Published], json_: bool) -> None:
    if json_:
        as_json([{**vars(line), "difference": line.difference} for line in lines])
        return
    table(
        ["figure", "published", "here", "difference", "source", "note"],
        [
            [
                line.what,
                f"{line.published:,.4g} {line.unit}",
                f"{line.ours:,.4g} {line.unit}",
                f"{line.difference:+.1%}",
                line.source,
                line.note,
            ]
            for line in lines
        ],
    )
