"""lmworks train: a tokenizer and a network from nothing, by a recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmworks.basics.terminal import for_shell
from lmworks.cli.options import Changes, Json, Resume, as_json, reads_text, say, table
from lmworks.cli.verb import verb

if TYPE_CHECKING:
    from lmworks.jobs.train import PretrainResult

NEXT = {
    "captions": "lmworks generate {0} --image PHOTO",
    "contrast": "lmworks embed {0} PHOTOS --out photos.vectors     lmworks search photos.vectors 'a red apple'",
    "classes": "lmworks classify {0} PHOTO",
    "fusion": "lmworks draw {0} 'a red apple'     lmworks generate {0} --image PHOTO",
    "image-tokens": "lmworks train emoji-fusion --set image_tokens={0}",
}
"""What to do with a model of images, by what its recipe learns."""


@verb("Make a model", place=4)
@reads_text
def train(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe (shakespeare-char, ...) or a TOML file.")],
    out: Annotated[str | None, typer.Option(help="Where the result goes; models/RECIPE unless given.")] = None,
    set_: Changes = None,
    resume: Resume = False,
    processes: Annotated[
        int, typer.Option(help="Processes on this machine that make the run together; torchrun for several machines.")
    ] = 1,
    json_: Json = False,
) -> None:
    """Train a tokenizer and a model from nothing."""
    from lmworks.basics import progress
    from lmworks.jobs.image_recipes import image_recipe
    from lmworks.jobs.training_recipe import TrainRecipe

    if (kind := image_recipe(recipe)) is not None:
        kind.read(recipe, set_ or [])
        _of_images(kind.kind, recipe, out, set_ or [], resume, processes, json_)
        return
    TrainRecipe.read(recipe, set_ or [])  # what is wrong with it is said before torch is loaded, which takes seconds

    if processes != 1:
        from lmworks.training.launch import launch

        arguments = ["train", recipe, *(["--out", out] if out else []), *(["--json"] if json_ else [])]
        arguments += [word for change in set_ or [] for word in ("--set", change)]
        raise typer.Exit(launch(processes, [*arguments, *(["--resume"] if resume else [])]))

    from lmworks.jobs.train import pretrain, sample
    from lmworks.training.processes import speaks

    with progress.shown():
        result = pretrain(
            recipe,
            out,
            changes=set_ or [],
            resume=resume,
            say=say,
        )
    if not speaks():
        return
    if json_:
        as_json({"folder": str(result.folder), **result.facts, "sample": "".join(sample(result))})
    else:
        _show(result)


def _of_images(
    kind: str, recipe: str, out: str | None, changes: list[str], resume: bool, processes: int, json_: bool
) -> None:
    """Two towers from images with captions, a classifier from images with classes, or a tokenizer of
    images, or a model that draws."""
    from lmworks.basics import progress
    from lmworks.basics.errors import ConfigError
    from lmworks.jobs.captions import caption
    from lmworks.jobs.contrast import contrast
    from lmworks.jobs.fusion import fuse
    from lmworks.jobs.image_classes import train_classes
    from lmworks.jobs.image_tokens import train_image_tokens

    if processes != 1:
        raise ConfigError("--processes is for models of text; leave it out")
    jobs: dict[str, Any] = {"contrast": contrast, "classes": train_classes}
    jobs |= {"image-tokens": train_image_tokens, "fusion": fuse, "captions": caption}
    with progress.shown():
        result = jobs[kind](
            recipe,
            out,
            changes=changes,
            resume=resume,
            say=say,
        )
    if json_:
        as_json({"folder": str(result.folder), **result.facts})
        return
    typer.echo("")
    done, one_of = result.training, {"contrast": "pair", "fusion": "token", "captions": "token"}.get(kind, "image")
    unit = f"nats/{one_of}" if kind != "image-tokens" else "squared error"
    table(
        ["not seen in training", ""],
        [
            *([one.name, str(one)] for one in result.measurements),
            ["validation loss", f"{result.validation_loss:.4f} {unit}"],
            ["steps", f"{done.steps:,}" + (f", back to {done.best_step:,}" if done.best_step is not None else "")],
            [f"{one_of}s", f"{done.tokens:,}"],
            ["training", f"{done.seconds:,.0f} s"],
        ],
    )
    typer.echo(f"saved   {result.folder} (recipe, data hashes and figures in lmworks.json)")
    typer.echo(f"next    {NEXT[kind].format(for_shell(result.folder))}")


def _show(result: PretrainResult) -> None:
    from lmworks.jobs.tasks.task import task_of
    from lmworks.jobs.train import sample

    typer.echo("")
    done, task = result.training, task_of(result.recipe)
    table(
        ["held-out text", ""],
        [
            ["validation loss", f"{result.validation_loss:.4f} {task.loss_unit}"],
            *(["bits per byte" if one.unit == "bits/byte" else one.name, str(one)] for one in result.measurements),
            ["steps", f"{done.steps:,}" + (f", back to {done.best_step:,}" if done.best_step is not None else "")],
            ["tokens", f"{done.tokens:,}"],
            ["training", f"{done.seconds:,.0f} s"],
        ],
    )
    typer.echo(f"saved   {result.folder} (recipe, data hashes and figures in lmworks.json)")
    typer.echo(f"next    {task.next_steps(result.folder)}\n")
    typer.echo(task.prompt, nl=False)
    for piece in sample(result):
        typer.echo(piece, nl=False)
    typer.echo("")
