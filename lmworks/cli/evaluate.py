"""lmworks evaluate: how well a model predicts a text, translates or summarises its sources, tells its classes, or
answers the questions of tasks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

from lmworks.cli.option_groups import Options
from lmworks.cli.options import Adapters, Base, Beams, Compress, Json, Model, as_json, on_model, reads_text, table
from lmworks.cli.task_tables import TaskOptions, tasks_measured
from lmworks.cli.verb import verb

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from lmworks.language_model import LanguageModel
    from lmworks.text.sources import Reading, Skipped

OF_A_TEXT = (
    "--adapter NAME=DIR goes with a text that is predicted, of which each document chooses; give --adapter DIR without "
    "a name"
)


@dataclass(frozen=True, kw_only=True)
class TextOptions(Options):
    """How a text is measured."""

    prompt: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Ask for the classes of the text's records by this prompt (lmworks prompt search)."
        ),
    ] = None
    window: Annotated[
        int | None, typer.Option(help="Tokens that the model reads at once; its whole context unless given.")
    ] = None
    tokens: Annotated[int | None, typer.Option(help="At most about this many tokens of the text.")] = None
    figure: Annotated[
        list[str] | None,
        typer.Option(help="Of an encoder-decoder: bleu, chrf or rouge; may be repeated. bleu and chrf unless given."),
    ] = None
    beams: Beams = None


@verb("Measure it", place=1)
@reads_text
def evaluate(
    model: Model,
    text: Annotated[
        str | None,
        typer.Argument(
            help="A file or folder, python-reference, or a name of the data registry (wikitext2); for an "
            "encoder-decoder or a classifier, records with `prompt` and `response` "
            "(multi30k-test2016-en-de, trec-test). Not with --task."
        ),
    ] = None,
    *,
    of_tasks: TaskOptions,
    of_text: TextOptions,
    compress: Compress = None,
    base: Base = None,
    adapter: Adapters = None,
    json_: Json = False,
) -> None:
    """Measure a model on a text or on tasks. Bits per byte with a 95 % interval; of an encoder-decoder BLEU, chrF or
    ROUGE of what it writes; of a classifier the share of classes that it tells; with --task the share of questions that
    are answered right, with n, interval and chance."""
    from lmworks.basics.errors import ConfigError

    if (text is None) == (not of_tasks.task):
        raise ConfigError("give a text to be predicted, or tasks with --task; one of the two")
    model, base, beside = on_model(model, base, adapter or ())
    if text is None:
        of_text.refuse("{} goes with a text; leave it out")
        if beside:
            raise ConfigError(OF_A_TEXT)
        tasks_measured(model, of_tasks, compress, base, json_)
    else:
        of_tasks.refuse("{} goes with --task; leave it out")
        if beside and of_text.prompt is not None:
            raise ConfigError(OF_A_TEXT)
        _text_measured(model, text, of_text, compress, base, beside, json_)


def _text_measured(
    model: str,
    text: str,
    how: TextOptions,
    compress: str | None,
    base: str | None,
    beside: Mapping[str, Path],
    json_: bool,
) -> None:
    """What the model is decides what is measured."""
    from functools import partial

    from lmworks.basics import progress
    from lmworks.basics.errors import ConfigError

    progress.at_once(f"reading {text}")
    _must_be_sound(how, compress, beside)
    from lmworks.encoding.classifying import classifies
    from lmworks.loading import add_adapter, load
    from lmworks.models.vision.config import reads_images
    from lmworks.text.sources import read_answered, without_refused
    from lmworks.tokens.chat.conversation import refusal

    reading = read_answered(text)
    progress.end_line()
    _say_skipped(reading.skipped)
    with progress.shown():
        language_model = load(model, base=base, compress=compress)
        if beside and (language_model.translates or classifies(language_model.config)):
            raise ConfigError(OF_A_TEXT)
        for name, folder in beside.items():
            add_adapter(language_model, name, folder)
        if how.prompt is not None:
            replace(how, prompt=None).refuse("{} does not go with --prompt; leave one of them out")
            language_model.must_converse()
            _by_prompt(language_model, reading, model, how.prompt, json_)
            return
        if reads_images(language_model.config):
            language_model.must_write()
        writes = language_model.translates
        of_pairs = writes or classifies(language_model.config)
        foreign = {"--window", "--tokens"} if of_pairs else set[str]()
        foreign |= set[str]() if writes else {"--figure", "--beams"}
        for name in how.given():
            if name in foreign:
                raise ConfigError(f"{name} does not go with {model}, which is of another kind; leave it out")
        if of_pairs:
            _of_pairs(language_model, reading, model, how.figure, how.beams, json_)
        else:
            whole = without_refused(reading, partial(refusal, language_model.tokenizer))
            _say_skipped([one for one in whole.skipped if one not in reading.skipped])
            _of_text(language_model, whole, model, how.window, how.tokens, json_)


def _must_be_sound(how: TextOptions, compress: str | None, beside: Mapping[str, Path]) -> None:
    """ConfigError for options that are wrong whatever the model and the text are, ModelError for a folder without an
    adapter."""
    from lmworks.adaptation.adapter_files import must_be_adapter
    from lmworks.cli.answer_options import made
    from lmworks.evaluation.answers import must_be_figures
    from lmworks.evaluation.likelihood import must_measure
    from lmworks.evaluation.prompts.prompt import Prompt
    from lmworks.generation.strategies import Beam
    from lmworks.kernels.choice import check_compress

    check_compress(compress)
    must_measure(how.tokens, how.window)
    must_be_figures(how.figure or ())
    if how.beams is not None:
        made(Beam, width=how.beams)
    if how.prompt is not None:
        Prompt.read(how.prompt)
    for folder in beside.values():
        must_be_adapter(folder)


def _say_skipped(skipped: Sequence[Skipped]) -> None:
    import sys

    for one in skipped[:5]:
        print(f"skipped   {one.path}: {one.reason}", file=sys.stderr)


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
    from lmworks.cli.answer_options import made
    from lmworks.evaluation.answers import answers_measured
    from lmworks.evaluation.labels import accuracy
    from lmworks.generation.strategies import Beam

    if language_model.translates:
        strategy = None if beams is None else made(Beam, width=beams)
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
    from collections import Counter

    from lmworks.basics.amounts import counted
    from lmworks.evaluation.likelihood import measure

    started = time.monotonic()
    likelihood = measure(
        language_model,
        reading.documents,
        reading.name,
        window=window,
        tokens=tokens,
        routed=bool(language_model.adapters),
    )
    seconds = time.monotonic() - started
    found = likelihood.bits_per_byte(reading.name)
    read = Counter(likelihood.readers)
    by = [(name, read[name]) for name in (*language_model.adapters, None) if read[name]]
    if json_:
        as_json(
            {
                "model": model,
                "measurements": [found.to_json()],
                "documents": len(reading.documents),
                "tokens": likelihood.tokens,
                "bytes": int(likelihood.bytes.sum()),
                "seconds": round(seconds, 2),
                **({"readers": [{"adapter": name, "texts": count} for name, count in by]} if by else {}),
            }
        )
        return
    if by:
        told = (f"by {name or 'the model itself'}: {counted(count, 'text')}" for name, count in by)
        typer.echo(f"lmworks: read {', '.join(told)}", err=True)
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
