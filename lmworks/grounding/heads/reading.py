"""Read an answer out of texts: the encoder reads the question with each text, in overlapping windows where it is long.

    (reading,) = reader().read("Who wrote Faust?", ["Faust is a play by Goethe."])
    text[reading.start : reading.end]      # "Goethe"

Source: Devlin et al. 2018, section 4.3, https://arxiv.org/abs/1810.04805.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lmworks.basics.arrays import Float, Int
from lmworks.encoding.embedding import AT_ONCE_CPU, rows_by_length
from lmworks.grounding.answer import BestSpan
from lmworks.grounding.cells import weighed
from lmworks.grounding.evidence import units
from lmworks.grounding.heads.calibration import Calibration, probabilities
from lmworks.grounding.words import content, coverage
from lmworks.models.runner import Runner
from lmworks.text.formats.rows import Cell, spelled_out
from lmworks.tokens.source import around_a_text
from lmworks.tokens.tokenizer import Tokenizer

WINDOW, OVERLAP = 192, 64
"""Tokens of a text that are read at once, and how many of them the next window reads again."""
LONGEST_QUESTION = 64
"""Tokens of a question; what follows them is left out."""
LONGEST_ANSWER = 30
"""Tokens of an answer."""
IN_A_ROW, WITHIN = 4.0, 8.0
"""How many times as much the question's words count in a table than in a sentence, and among the table's own cells: the
reader was not trained on tables. Chosen on the development tables of `benchmarks.tables`, where 6 to 12 are alike."""
WHOLE = 60
"""Characters of a cell that is an answer as a whole."""
ASKED_FOR = 5.0
"""What a sentence with all of the question's words weighs beside a span's score. Chosen on SQuAD 2's held-out articles,
where anything from 1 to 15 finds more answers than 0."""


_Share = tuple[int, float]


class WindowAnswer(NamedTuple):
    """What a window says."""

    start: int
    """Where the likeliest answer begins in the text, in characters."""
    end: int
    span: float
    """Log-odds of the likeliest span against there being none, as where it begins and ends says."""
    answers: float
    """Log-odds of there being an answer, as the first token says."""


@dataclass(frozen=True)
class _Window:
    """Tokens of a text."""

    text: int
    tokens: list[int]
    offsets: list[tuple[int, int]]


class Classifier(NamedTuple):
    """What makes a token's three scores of its state: for beginning and ending an answer, and, of the first token, for
    there being one."""

    weight: Float[np.ndarray, "labels dim"]
    bias: Float[np.ndarray, " labels"]

    def __call__(self, states: Float[np.ndarray, "*batch dim"]) -> Float[np.ndarray, "*batch labels"]:
        """In float32: in 16 bits neighbouring places would tie."""
        scores: np.ndarray = states @ self.weight.T + self.bias
        return scores


class SpanReader:
    """A `Reader` that chooses spans by a trained encoder."""

    def __init__(self, runner: Runner, classifier: Classifier, tokenizer: Tokenizer, calibration: Calibration) -> None:
        self.runner, self.classifier = runner, classifier
        self.tokenizer, self.calibration = tokenizer, calibration

    def read(self, question: str, texts: Sequence[str], headings: Sequence[str] = ()) -> list[BestSpan]:
        """A reading for each text; an empty text answers nothing. Spans count more in sentences with the question's
        words, and in cells that are named by them; in a table they are within the cell that they begin in. Of headings
        only that is looked at with which a text itself begins. Whether the text answers is judged by the likeliest
        span, wherever it is."""
        best = [BestSpan(0, 0, -math.inf, 0.0)] * len(texts)
        given = [spelled_out(text) for text in texts]
        texts = [one.text for one in given]
        rows = [one.rows for one in given]
        titles = [_title(text, above) for text, above in zip(texts, headings or [""] * len(texts), strict=True)]
        shares = [_shares(question, *one) for one in zip(texts, rows, titles, strict=True)]
        for place, found in self.found([(question, text) for text in texts], shares):
            score = self.calibration.score(found.span, found.answers)
            if score > best[place].score:
                start, end = _within_a_cell(texts[place], found.start, found.end, rows[place])
                best[place] = BestSpan(*given[place].back(start, end), score, float(probabilities(score)))
        return best

    def found(
        self, pairs: Sequence[tuple[str, str]], shares: Sequence[Sequence[_Share]] = ()
    ) -> list[tuple[int, WindowAnswer]]:
        """What each window of each pair of a question and a text says, with the number of the pair; `shares` of each
        pair's text say which of its sentences count more."""
        opening, closing = around_a_text(self.tokenizer)
        windows, rows, firsts = [], [], []
        for place, (question, text) in enumerate(pairs):
            asked = self.tokenizer.encode(question, special=False)[:LONGEST_QUESTION]
            for window in self._windows(place, text):
                windows.append(window)
                firsts.append(len(opening) + len(asked) + len(closing))
                rows.append([*opening, *asked, *closing, *window.tokens, *closing])
        found = []
        for places, tokens, mask in rows_by_length(rows, AT_ONCE_CPU):
            starts = [firsts[place] for place in places]
            of = segments(starts, tokens.shape[1]) if self.runner.config.segments > 1 else None
            states = self.runner.of_texts(lambda hidden, real: hidden, tokens, mask, segments=of)
            for place, row in zip(places, self.classifier(states), strict=True):
                window = windows[place]
                of_sentences = shares[window.text] if shares else ()
                found.append((window.text, _best(row, firsts[place], window, of_sentences)))
        return found

    def _windows(self, place: int, text: str) -> Iterator[_Window]:
        ids, offsets = self.tokenizer.encode_spans(text)
        for start in range(0, max(len(ids) - OVERLAP, 1), WINDOW - OVERLAP):
            if part := ids[start : start + WINDOW]:
                yield _Window(place, part, offsets[start : start + WINDOW])


def segments(firsts: Sequence[int], width: int) -> Int[np.ndarray, "batch seq"]:
    """0 on the tokens of the question, 1 after them."""
    return (np.arange(width) >= np.array(firsts)[:, None]).astype(np.int64)


def _title(text: str, above: str) -> int:
    """How many characters of a text are its own heading, the last of those above it."""
    words = above.rpartition(" > ")[2]
    return len(words) if words and text.startswith(f"{words}\n") else 0


def _shares(question: str, text: str, rows: Sequence[Sequence[Cell]], title: int) -> list[_Share]:
    """Where each sentence of an English text ends, and the share of the question's words that it holds; of a table each
    cell, with how much it is asked for. A heading holds for the sentences below it, and they for it."""
    asked, cells = content(question, "english"), weighed(question, text, rows)
    above, spans = content(text[:title], "english") if title else [], units(text)
    found = [(one.end, IN_A_ROW * one.held - WITHIN * one.behind) for one in cells]
    held = [coverage(asked, [*above, *content(text[start:end], "english")]) for start, end in spans]
    if title:
        found.append((title, max(held)))
    found += [(end, share) for (_, end), share in zip(spans, held, strict=True) if end > title]
    return sorted(found, key=lambda one: one[0])  # a row ends with its last cell, which is looked at first


def _within_a_cell(text: str, start: int, end: int, rows: Sequence[Sequence[Cell]]) -> tuple[int, int]:
    """A span within tables: the whole cell in which it begins (or in whose header), or its part of a long cell. A span
    that begins before a row ends where the row begins."""
    for row in rows:
        begin = text.rfind("\n", 0, row[0].start) + 1
        if start < begin < end:
            return start, begin
        cell = next((one for one in row if begin <= start < one.end), None)
        if cell is not None:
            if cell.end - cell.start <= WHOLE or end <= cell.start:
                return cell.start, cell.end
            return max(start, cell.start), min(end, cell.end)
    return start, end


def _best(
    scores: Float[np.ndarray, "seq labels"], first: int, window: _Window, shares: Sequence[_Share] = ()
) -> WindowAnswer:
    """The best span of a window."""
    begins, ends = scores[first : first + len(window.tokens), :2].T
    allowed = np.tril(np.triu(np.ones((len(begins), len(ends)), bool)), LONGEST_ANSWER - 1)
    both = np.where(allowed, begins[:, None] + ends[None, :], -np.inf)
    span = float(both.max() - scores[0, 0] - scores[0, 1])
    if shares:
        ends_at = [end for end, _ in shares]
        of = [min(bisect_right(ends_at, start), len(shares) - 1) for start, _ in window.offsets]
        both = both + ASKED_FOR * np.array([shares[at][1] for at in of])[:, None]
    start, end = divmod(int(both.argmax()), len(both))
    return WindowAnswer(window.offsets[start][0], window.offsets[end][1], span, float(scores[0, 2]))
