"""lmworks evaluate: how well a model predicts a text, translates or summarises its sources, tells its classes, or
answers the questions of tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lmworks.cli.options import Base, Beams, Compress, Json, Model, as_json, reads_text, table
from lmworks.cli.verb import verb

if TYPE_CHECKING:
    from lmworks.language_model import LanguageModel
    from lmworks.text.sources import Reading


@verb("Measure it", place=1)
@reads_text
def evaluate(  # noqa: PLR0913, PLR0917 (each is an option that people know by name)
    model: Model,
    text: Annotated[
        str | None,
        typer.Argument(
            help="A file or folder, python-reference, or a name of the data registry (wikitext2); for an "
            "encoder-decoder or a classifier, records with `prompt` and `response` "
            "(multi30k-test2016-en-de, trec-test). Not with --task."
        ),
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(
            help="Questions with known answers, in the place of a text: arc-easy, arc-challenge, piqa, openbookqa, "
            "winogrande, blimp (blimp:GROUP), xquad, multiarith, of bias crows-pairs, winobias, bbq, weat, seat, of "
            "calls bfcl-simple, bfcl-multiple, bfcl-parallel, bfcl-irrelevance, or a .jsonl or .csv file of your own; "
            "several with commas.",
            rich_help_panel="Tasks",
        ),
    ] = None,
    shots: Annotated[
        int | None, typer.Option(help="This many solved items stand before each.", rich_help_panel="Tasks")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Measure this many items.", rich_help_panel="Tasks")] = None,
    pmi: Annotated[
        bool,
        typer.Option("--pmi", help="Compare choices also by what the question adds to them.", rich_help_panel="Tasks"),
    ] = False,
    beside: Annotated[
        str | None, typer.Option(help="Another model: the difference, item by item.", rich_help_panel="Tasks")
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            help="Keep each item's scores in this folder; a run that was stopped goes on there.",
            rich_help_panel="Tasks",
        ),
    ] = None,
    trained_on: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="A text that the model was trained on: which items it holds, and the figure of the others.",
            rich_help_panel="Tasks",
        ),
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Ask for the classes of the text's records by this prompt (lmworks prompt search)."
        ),
    ] = None,
    window: Annotated[
        int | None, typer.Option(help="Tokens that the model reads at once; its whole context unless given.")
    ] = None,
    tokens: Annotated[int | None, typer.Option(help="At most about this many tokens of the text.")] = None,
    figure: Annotated[
        list[str] | None,
        typer.Option(help="Of an encoder-decoder: bleu, chrf or rouge; may be repeated. bleu and chrf unless given."),
    ] = None,
    beams: Beams = None,
    compress: Compress = None,
    base: Base = None,
    json_: Json = False,
) -> None:
    """Measure a model on a text or on tasks. Bits per byte with a 95 % interval; of an encoder-decoder BLEU, chrF or
    ROUGE of what it writes; of a classifier the share of classes that it tells; with --task the share of questions that
    are answered right, with n, interval and chance."""
    import sys

    from lmworks.basics import progress
    from lmworks.basics.errors import ConfigError

    if (text is None) == (not task):
        raise ConfigError("give a text to be predicted, or tasks with --task; one of the two")
    of_tasks: dict[str, object] = {"shots": shots, "limit": limit, "beside": beside, "out": out, "pmi": pmi or None}
    of_tasks["trained-on"] = trained_on
    of_texts: dict[str, object] = {
        "prompt": prompt,
        "window": window,
        "tokens": tokens,
        "figure": figure,
        "beams": beams,
    }
    for name, value in (of_texts if task else of_tasks).items():
        if value is not None:
            raise ConfigError(f"--{name} goes with {'a text' if task else '--task'}; leave it out")
    if task:
        from lmworks.cli.task_tables import TaskRun, tasks_measured

        names = [name.strip() for one in task for name in one.split(",") if name.strip()]
        tasks_measured(TaskRun(model, names, shots or 0, limit, pmi, beside, out, compress, base, trained_on), json_)
        return
    assert text is not None

    progress.at_once(f"reading {text}")
    from lmworks.encoding.classifying import classifies
    from lmworks.loading import load
    from lmworks.text.sources import read

    reading = read(text)
    progress.end_line()
    for skipped in reading.skipped[:5]:
        print(f"skipped   {skipped.path}: {skipped.reason}", file=sys.stderr)
    with progress.shown():
        language_model = load(model, base=base, compress=compress)
        if prompt is not None:
            if given := [name for name in ("window", "tokens", "figure", "beams") if of_texts[name] is not None]:
                raise ConfigError(f"--{given[0]} does not go with --prompt; leave one of them out")
            language_model.must_converse()
            _by_prompt(language_model, reading, model, prompt, json_)
            return
        writes = language_model.translates
        of_pairs = writes or classifies(language_model.config)
        foreign: list[tuple[str, object]] = [("--window", window), ("--tokens", tokens)] if of_pairs else []
        foreign += [] if writes else [("--figure", figure), ("--beams", beams)]
        for name, value in foreign:
            if value is not None:
                raise ConfigError(f"{name} does not go with {model}, which is of another kind; leave it out")
        if of_pairs:
            _of_pairs(language_model, reading, model, figure, beams, json_)
            return
        _of_text(language_model, reading, model, window, tokens, json_)


def _by_prompt(language_model: LanguageModel, reading: Reading, model: str, prompt: str, json_: bool) -> None:
    import sys

    from lmworks.evaluation.prompts.prompt import Prompt
    from lmworks.evaluation.prompts.search import labelled, measured

    asked, pairs = Prompt.read(prompt), labelled(reading.documents)
    found = measured(language_model, asked, pairs, reading.name)
    if (seen := sum(asked.has_seen(text) for text, _ in pairs)) > 0:
        print(
            f"lmworks: {prompt} was chosen by {seen:,} of these {len(pairs):,} texts, on which it looks better than it "
            "is; measure it on others",
            file=sys.stderr,
        )
    if json_:
        told = [one.to_json() for one in found]
        as_json({"model": model, "prompt": prompt, "measurements": told, "documents": len(pairs)})
        return
    table(["classes of", "by prompt", ""], [[one.name, prompt, str(one)] for one in found])


def _of_pairs(
    language_model: LanguageModel,
    reading: Reading,
    model: str,
    figure: list[str] | None,
    beams: int | None,
    json_: bool,
) -> None:
    from lmworks.evaluation.answers import answers_measured
    from lmworks.evaluation.labels import accuracy
    from lmworks.generation.strategies import Beam

    if language_model.translates:
        strategy = None if beams is None else Beam(width=beams)
        found = answers_measured(language_model, reading.documents, figure or ["bleu", "chrf"], strategy)
    else:
        found = [accuracy(language_model, reading.documents)]
    if json_:
        as_json(
            {
                "model": model,
                "measurements": [one.to_json() for one in found],
                "documents": len(reading.documents),
            }
        )
        return
    table(["pairs", "figure", ""], [[reading.name, one.name, str(one)] for one in found])


def _of_text(
    language_model: LanguageModel, reading: Reading, model: str, window: int | None, tokens: int | None, json_: bool
) -> None:
    import time

    from lmworks.evaluation.likelihood import measure

    started = time.monotonic()
    likelihood = measure(language_model, reading.documents, reading.name, window=window, tokens=tokens)
    seconds = time.monotonic() - started
    found = likelihood.bits_per_byte(reading.name)
    if json_:
        as_json(
            {
                "model": model,
                "measurements": [found.to_json()],
                "documents": len(reading.documents),
                "tokens": likelihood.tokens,
                "bytes": int(likelihood.bytes.sum()),
                "seconds": round(seconds, 2),
            }
        )
        return
    table(
        ["text", "bits per byte", "tokens", "bytes", "tokens/s"],
        [
            [
                reading.name,
                str(found),
                f"{likelihood.tokens:,}",
                f"{int(likelihood.bytes.sum()):,}",
                f"{likelihood.tokens / seconds:,.0f}",
            ]
        ],
    )
