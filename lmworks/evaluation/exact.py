"""Which answers a model would write exactly as they stand in held-out records, told without writing them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lmworks.basics import progress
from lmworks.basics.errors import DataError
from lmworks.evaluation.likelihood import counted_tokens
from lmworks.language_model import LanguageModel
from lmworks.text.document import Document


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
            likeliest = model.logits([ids[:-1]])[0].argmax(-1).tolist()
            found.append(all(a == b for a, b, counts in zip(likeliest, ids[1:], counted[1:], strict=True) if counts))
            advance(1)
    return found
