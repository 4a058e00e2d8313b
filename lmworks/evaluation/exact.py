"""Which answers and calls a model would write exactly as they stand in held-out records, told without writing them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate

import torch
from torch import Tensor

from lmworks.basics import progress
from lmworks.basics.errors import DataError
from lmworks.evaluation.likelihood import counted_tokens
from lmworks.evaluation.measurement import Measurement
from lmworks.evaluation.statistics import proportion
from lmworks.language_model import LanguageModel
from lmworks.text.document import Document

CALLS = "held-out calls"
"""What conversations with calls are called."""


@torch.inference_mode()
def exactly_answered(
    model: LanguageModel, documents: Sequence[Document], what: str, tokens: int | None = None
) -> list[bool]:
    """For each record, in the order of their hashes and up to about `tokens` tokens, whether every token of the
    assistant's turns is the one that the model finds likeliest. DataError for text without answers, and for a record
    longer than the model reads."""
    if plain := [one.source for one in documents if one.messages is None]:
        raise DataError(f"{what}: {plain[0]} has no answer; give records with answers, or measure bits per byte")
    found = []
    chosen = counted_tokens(model, documents, what, tokens)
    with progress.task(f"measuring {what}", len(chosen), "answers") as advance:
        for ids, counted in chosen:
            if len(ids) > model.longest + 1:
                raise DataError(f"{what}: a record has {len(ids):,} tokens, and the model reads {model.longest:,}")
            found.append(_is_likeliest(model.logits, ids, counted))
            advance(1)
    return found


@torch.inference_mode()
def calls_written(
    model: LanguageModel, base: Callable[[Tensor], Tensor], documents: Sequence[Document], tokens: int
) -> list[Measurement]:
    """Of conversations that call tools, whole, in the order of their hashes and up to about `tokens` tokens, the share
    in which a model would write every learnt answer exactly as it stands there: the base, whose logits `base` gives,
    and the model. What is longer than the model reads is left out."""
    every = [one for one in counted_tokens(model, documents, CALLS) if len(one[0]) <= model.longest + 1]
    read = accumulate(len(ids) for ids, _ in every)
    chosen = [one for place, (one, so_far) in enumerate(zip(every, read, strict=True)) if not place or so_far <= tokens]
    made = []
    with progress.task(f"measuring {CALLS}", 2 * len(chosen), "conversations") as advance:
        for when, logits in (("before", base), ("after", model.logits)):
            count = 0
            for ids, counted in chosen:
                count += _is_likeliest(logits, ids, counted)
                advance(1)
            if chosen:
                share, interval = proportion(count, len(chosen))
                name = f"{CALLS} written exactly, {when}"
                made.append(Measurement(name=name, value=share, interval=interval, n=len(chosen), ideal=1))
    return made


def _is_likeliest(logits: Callable[[Tensor], Tensor], ids: Sequence[int], counted: Sequence[bool]) -> bool:
    """Whether each counted token is the likeliest after those before it; `logits` maps (1, seq) to (1, seq, vocab)."""
    likeliest = logits(torch.tensor([ids[:-1]]))[0].argmax(-1).tolist()
    return all(a == b for a, b, counts in zip(likeliest, ids[1:], counted[1:], strict=True) if counts)
