"""Rows of old text, for those who keep what a model can do: real text, or what the model itself writes.

A model's own text keeps nearly as much as real text does (Huang et al. 2024, https://arxiv.org/abs/2403.01244).
"""

from __future__ import annotations

from lmworks.basics import progress
from lmworks.basics.amounts import counted
from lmworks.basics.errors import ConfigError, DataError
from lmworks.generation.strategies import Sample
from lmworks.language_model import LanguageModel
from lmworks.text.sources import read
from lmworks.tokens.batch import Example, Row, examples_of, pack
from lmworks.tokens.chat.conversation import refusal
from lmworks.tokens.tokenizer import Tokenizer

TEXTS, LENGTH = 16, 128


def own_texts(model: LanguageModel, texts: int = TEXTS, length: int = LENGTH, first_seed: int = 0) -> list[list[int]]:
    """Texts that the model itself writes, at temperature 1 and each from its own seed, as ids."""
    start = [model.tokenizer.document_start or 0]
    with progress.task("base writes", texts * length, "tokens") as advance:
        answers = model.generate_batch(
            [start] * texts, [Sample(seed=first_seed + one) for one in range(texts)], max_new_tokens=length
        )
        advance(sum(len(answer.tokens) for answer in answers))
    return [[*answer.prompt, *answer.tokens] for answer in answers]


def rows_read(
    text: str, measured: frozenset[str], tokenizer: Tokenizer, rows: int, context: int, seed: int
) -> list[Row]:
    """Up to this many rows of a text; tells of conversations that cannot be learnt, which are left out. ConfigError
    where one of its documents measures the model, by their hashes; DataError where none can be learnt."""
    documents = read(text).documents
    if measuring := [one.source for one in documents if one.hash in measured]:
        raise ConfigError(
            f"{{at}}text is {text}, which holds {measuring[0]}, by which the model is measured "
            f"({len(measuring):,} such documents): take another text, or leave it out for text that the model writes"
        )
    examples: list[Example] = []
    left_out: list[str] = []
    for document in documents:
        why_not = refusal(tokenizer, document) if document.is_answered else "the assistant answers nothing in it"
        if why_not is not None:
            left_out.append(f"{document.source}: {why_not}")
            continue
        examples += examples_of(document, tokenizer)
        if sum(len(one.tokens) for one in examples) > 2 * rows * context:
            break
    if not examples:
        raise DataError(f"{text} holds nothing to learn: {left_out[0]}")
    if left_out:
        progress.note(f"{text}: {counted(len(left_out), 'conversation')} left out; the first: {left_out[0]}")
    return pack(examples, context, seed=seed)[:rows]


def rows_written(model: LanguageModel, rows: int, context: int, seed: int) -> list[Row]:
    """This many rows of text that the model writes at temperature 1; fewer where it ends at once."""
    examples: list[Example] = []
    missing = rows * context
    while missing > 0:
        texts = own_texts(model, -(-missing // context), context - 1, first_seed=seed + len(examples))
        written = [ids for ids in texts if len(ids) > 1]
        if not written:  # it ends at once, and would for ever
            break
        examples += [Example(ids, [False] + [True] * (len(ids) - 1), "written by the model") for ids in written]
        missing -= sum(map(len, written))
    return pack(examples, context, seed=seed)[:rows]
