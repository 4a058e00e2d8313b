"""Train a model on data of one's own: `build` without an index, by any method and any way to keep what it could do.

result = tune("smollm2", "chats.jsonl", method="dora", retain="kl", out="models/chats")
print(preview("smollm2", "chats.jsonl")[0])       # what is read, and what of it is learnt
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from lmworks.basics.arguments import checked
from lmworks.basics.errors import DataError
from lmworks.jobs.build import BuildResult, build
from lmworks.jobs.build_text import say_how, say_undescribed
from lmworks.jobs.recipe import Recipe
from lmworks.jobs.runs import say_skipped
from lmworks.loading import load_tokenizer, must_learn_text
from lmworks.text.corpus.folder import corpus_of
from lmworks.text.sources import read_answered
from lmworks.tokens.batch import Example, examples_of
from lmworks.tokens.chat.conversation import refusal
from lmworks.tokens.tokenizer import Tokenizer

LEARNT = ("[", "]")
"""What stands around a run of tokens that carry loss in a preview."""


@checked
def tune(
    model: str | os.PathLike[str],
    data: str | os.PathLike[str],
    method: str = "lora",
    retain: str = "nothing",
    out: str | os.PathLike[str] | None = None,
    *,
    recipe: str | Path = "adapt",
    changes: Sequence[str] = (),
    resume: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> BuildResult:
    """Train `model` on `data` (conversations, instructions, or plain text); a result as of `build`, with what was
    gained on held-out data and lost on general text. Of conversations the assistant's turns are learnt, with the token
    that ends each."""
    chosen = Recipe.read(recipe, [f"method={method}", f"retain={retain}", "grounding.index=false", *changes])
    return build(data, model, out, recipe=chosen, resume=resume, say=say)


def preview(
    model: str,
    data: str | os.PathLike[str],
    count: int = 3,
    say: Callable[[str], None] = lambda line: None,
    context: int | None = None,
) -> list[str]:
    """The first examples as the model reads them, with what is learnt in brackets; says what is left out, which of
    these conversations are longer than `context` tokens, and which call tools that they do not describe. Of a folder
    that `lmworks corpus` made, its train/. DataError where there are none."""
    must_learn_text(model)
    tokenizer = load_tokenizer(model)
    corpus = corpus_of(str(data))
    reading = read_answered(str(data) if corpus is None else corpus / "train", partial(refusal, tokenizer))
    say_skipped(reading, say)
    documents = reading.documents[:count]
    if not documents:
        raise DataError(f"{data} holds no text and no conversation")
    every = [examples_of(document, tokenizer) for document in documents]
    if context is not None:
        say_how(every, documents, context, say)
    say_undescribed(documents, say)
    return [marked(tokenizer, example) for examples in every for example in examples]


def marked(tokenizer: Tokenizer, example: Example) -> str:
    """The text of an example's tokens, special ones too, runs that carry loss in brackets."""
    run: list[int] = []
    pieces, learnt = [f"{example.source}\n"], False
    for token, carries in [*zip(example.tokens, example.supervised, strict=True), (-1, not example.supervised[-1])]:
        if run and carries != learnt:
            text = tokenizer.decode(run, skip_special=False)
            pieces.append(f"{LEARNT[0]}{text}{LEARNT[1]}" if learnt else text)
            run = []
        run.append(token)
        learnt = carries
    return "".join(pieces)
