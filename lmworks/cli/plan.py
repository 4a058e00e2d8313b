"""lmworks plan: what a run will need, before it is started."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lmworks.basics.amounts import counted
from lmworks.cli.options import Changes, Json, as_json, reads_text, table
from lmworks.cli.verb import verb

if TYPE_CHECKING:
    from lmworks.jobs.planning.plan import Plan
    from lmworks.jobs.planning.published import Published
    from lmworks.jobs.planning.running import Running


@verb("Make a model", place=7)
@reads_text
def plan(
    recipe: Annotated[
        str,
        typer.Argument(
            help="A shipped recipe or a TOML file; or a model: an alias, a directory, a config.json, hf:org/name."
        ),
    ] = "adapt",
    device: Annotated[str, typer.Option(help='H100, "8x H100", ...; cpu is this machine, measured.')] = "cpu",
    set_: Changes = None,
    published: Annotated[
        bool, typer.Option("--published", help="Figures of papers beside this planner's, with the difference.")
    ] = False,
    json_: Json = False,
) -> None:
    """Say what a run needs: parameters, memory, FLOPs, time. Training from nothing, full fine-tuning, LoRA, QLoRA and
    serving stand side by side."""
    if published:
        from lmworks.jobs.planning.published import published as figures

        _print_published(figures(), json_)
        return
    from lmworks.jobs.planning.recipes import read_recipe

    read_recipe(recipe, set_ or [])  # what is wrong with it is said before torch is loaded, which takes seconds

    from lmworks.jobs.planning.devices import find_device
    from lmworks.jobs.planning.plan import make_plan
    from lmworks.jobs.planning.reading import read_subject

    subject = read_subject(recipe, set_ or [])
    made = make_plan(subject, find_device(device))
    if json_:
        as_json(made.to_json())
    else:
        _print_plan(made)


def _print_plan(plan: Plan) -> None:
    config, device = plan.subject.model, plan.devices.device
    typer.echo(
        f"{plan.subject.name}: {config.family}, {counted(config.layers, 'layer')} x {config.dim}, "
        f"vocabulary {config.vocab_size:,}, {plan.rows} x {plan.subject.training.context:,} tokens at once "
        f"on each device, {plan.dtype}"
    )
    typer.echo(
        f"{plan.devices.name}: {size(device.memory)} and {digits(device.flops / 1e12)} TFLOP/s each, "
        f"{device.utilisation:.0%} of it expected in training ({device.source})\n"
    )
    table(
        ["parameters", ""],
        [
            ["adapters, where trained" if name == "adapters" else name, f"{count:,}"]
            for name, count in plan.parameters.by_part().items()
        ],
    )
    typer.echo("\nMemory of a device at the peak; in brackets what a part takes where that is another moment")
    names = list(dict.fromkeys(name for way in plan.ways for name in way.memory.sizes))
    rows = [
        [name, *(_part(way.memory.at_peak.get(name, 0), way.memory.sizes.get(name, 0)) for way in plan.ways)]
        for name in names
    ]
    rows.append(["all", *(size(way.memory.peak) for way in plan.ways)])
    rows.append(["the peak is", *(way.memory.moment for way in plan.ways)])
    rows.append(["fits", *(("yes" if way.fits else "no") if way.fits is not None else "unknown" for way in plan.ways)])
    table(["", *(way.name for way in plan.ways)], rows)
    typer.echo("\nWork and time; in serving of a prompt as long as the model reads, and of an answer at most")
    table(
        ["", *(way.name for way in plan.ways)],
        [
            ["parameters trained", *(f"{way.trained:,}" for way in plan.ways)],
            ["FLOPs of a step, or a prompt", *(f"{way.flops.all:.3g}" for way in plan.ways)],
            ["of it attention", *(f"{way.flops.attention / way.flops.all:.0%}" for way in plan.ways)],
            ["time of it", *(duration(way.seconds) for way in plan.ways)],
            ["which is", *("timed" if way.timed else "assumed" for way in plan.ways)],
            ["tokens/s", *(f"{way.tokens_per_second:,.0f}" for way in plan.ways)],
            ["tokens of the run", *("" if way.run_tokens is None else f"{way.run_tokens:,}" for way in plan.ways)],
            ["time of the run", *("" if way.run_seconds is None else duration(way.run_seconds) for way in plan.ways)],
        ],
    )
    if plan.running is not None:
        typer.echo(f"\nOn this machine it runs {plan.running.how}")
        table(["", "tokens/s"], [[what, f"{rate:,.0f}"] for what, rate in _rates(plan.running).items() if rate])
    typer.echo("\n".join(["", *plan.besides]))


def _rates(running: Running) -> dict[str, float]:
    return {
        "generate, chat: written, one text": running.generate,
        "serve: written, eight texts side by side": running.serve,
        "evaluate: read, in whole windows": running.evaluate,
    }


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    units = ((86_400, "days"), (3600, "h"), (60, "min"), (1, "s"), (1e-3, "ms"))
    size, unit = next((one for one in units if seconds >= 2 * one[0]), units[-1])
    return f"{digits(seconds / size)} {unit}"


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
