"""A question and a text as one row of an encoder, and what is to be learnt of it.

    row = Row.of(question_ids, text_ids, (5, 7), tokenizer)      # [CLS] question [SEP] text [SEP]

Codes say of each token what it may be: `BEGINS` and `ENDS` (added where it does both), 0 for a token that could, IGNORE
for one of the question. A text without the answer has both on the first token, [CLS] (Devlin et al. 2018, section 4.3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch

from lmworks.grounding.heads.reading import segments
from lmworks.tokens.batch import Batch
from lmworks.tokens.labels import IGNORE
from lmworks.tokens.pairs import RowsByLength, padded, real
from lmworks.tokens.source import around_a_text
from lmworks.tokens.tokenizer import Tokenizer

BEGINS, ENDS = 1, 2


@dataclass(frozen=True)
class ReadingRow:
    """What an encoder reads at once."""

    tokens: list[int]
    first: int
    """Where the text's tokens begin."""
    codes: list[int]

    @classmethod
    def of(cls, question: list[int], text: list[int], answer: tuple[int, int] | None, tokenizer: Tokenizer) -> Self:
        """The row; `answer` is the first and the last token of the text that belong to it."""
        opening, closing = around_a_text(tokenizer)
        beginning = [*opening, *question, *closing]
        codes = [0, *[IGNORE] * (len(beginning) - 1), *[0] * len(text), *[IGNORE] * len(closing)]
        start, end = (0, 0) if answer is None else (len(beginning) + answer[0], len(beginning) + answer[1])
        codes[start] += BEGINS
        codes[end] += ENDS
        return cls([*beginning, *text, *closing], len(beginning), codes)


class ReadingRows(RowsByLength):
    """Rows to learn reading from."""

    def __init__(self, rows: Sequence[ReadingRow]) -> None:
        self.rows = rows
        self.lengths = [(len(row.tokens),) for row in rows]

    def batch(self, places: Sequence[int]) -> Batch:
        """Rows as tensors; `classes` holds the codes."""
        chosen = [self.rows[place] for place in places]
        tokens = padded([row.tokens for row in chosen])
        return Batch(
            tokens,
            torch.full_like(tokens, IGNORE),
            torch.arange(tokens.shape[1]).expand_as(tokens),
            torch.where(real([row.tokens for row in chosen]), 0, -1),
            segments=torch.from_numpy(segments([row.first for row in chosen], tokens.shape[1])),
            classes=padded([row.codes for row in chosen], IGNORE),
        )
