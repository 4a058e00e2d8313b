"""Questions whose answers are written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from lmworks.basics.errors import ConfigError, DataError
from lmworks.evaluation.tasks.asked import AskedTask
from lmworks.evaluation.tasks.declaration import Program, Question
from lmworks.evaluation.tasks.kind import Kind
from lmworks.evaluation.tasks.scores import ItemScores, of_answer
from lmworks.generation.continuations import Reading
from lmworks.generation.engine import Engine
from lmworks.generation.handle import RequestHandle
from lmworks.generation.request import LogprobOptions, Prompt, without_sliding
from lmworks.language_model import LanguageModel

AT_ONCE = 16
UNTOLD = LogprobOptions(written=False)


def _scored(model: LanguageModel, asked: AskedTask, left: Sequence[Question], reading: Reading) -> Iterator[ItemScores]:
    """Written side by side; on the compiled path the engine reads shared beginnings once."""
    with Engine(model, seats=AT_ONCE, queue=len(left)) as engine:
        for item, handle in [(one, begun(engine, model, asked, one, ["\n"])) for one in left]:
            yield of_answer(item, handle.answer().text.strip())


def begun(
    engine: Engine, model: LanguageModel, asked: AskedTask, item: Question | Program, stop: list[str]
) -> RequestHandle:
    """The request for an item's answer, which one of `stop` ends. DataError for one longer than the window."""
    text = asked.examples + item.prompt
    prompt: Prompt = [{"role": "user", "content": text}] if asked.chat else text
    try:
        request = model.request(prompt, max_new_tokens=asked.task.longest, stop=stop, logprobs=UNTOLD)
        return engine.run(replace(request, skips_space=asked.task.waits))
    except ConfigError as error:  # the prompt is longer than the window
        raise DataError(f"{item.name}: {without_sliding(error)}") from None


def _judged(item: Question, found: ItemScores) -> ItemScores:
    return of_answer(item, found.written or "")


QUESTIONS = Kind("questions", Question, _scored, _judged)
