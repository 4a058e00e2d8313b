"""Beam search: several answers are written side by side, and those that are best as a whole go on.

    model.generate("Guten Tag", Beam(width=5, length_penalty=1.0)).others      # the other finished answers

Each step tries every token after every beam and keeps the `width` best sums of log-probabilities that do not end;
one that ends, and is among the `width` best of its step, is finished. Finished answers are compared by their sum /
length ** length_penalty, the end counted, and the `width` best of them are kept. This is what transformers does
(5.24); groups are what it did as long as it had them (Vijayakumar et al. 2016, https://arxiv.org/abs/1610.02424):
one after another, each with the counts of the tokens that earlier groups took taken off, a penalty that stays in the
sums. Sources: Graves 2012, https://arxiv.org/abs/1211.3711; length: Wu et al. 2016,
https://arxiv.org/abs/1609.08144, section 7.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from collections.abc import Sequence as List
from dataclasses import dataclass

import numpy as np

from lmworks.basics.arrays import Float
from lmworks.generation.distribution import largest, log_softmax
from lmworks.generation.limits import Finish, Limits
from lmworks.generation.request import Request
from lmworks.generation.sequence import RowInput, Sequence
from lmworks.generation.strategies import Beam
from lmworks.tokens.stream import StreamDecoder


@dataclass(frozen=True)
class Hypothesis:
    """An answer, or the beginning of one."""

    tokens: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    """Of each token under the model itself."""
    total: float = 0.0
    """Sum of what beams are compared by: log-probabilities after the strategy's adjustments."""
    finish: Finish | None = None

    def score(self, length_penalty: float, length: int | None = None) -> float:
        """The sum / length ** length_penalty, for its own length unless another is given."""
        return self.total / (length or len(self.tokens)) ** length_penalty


class BeamSequence(Sequence):
    """Texts by beam search, a row for each beam; it has text only when it is finished."""

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        assert isinstance(request.strategy, Beam)
        self.strategy = request.strategy
        self.hypotheses: list[Hypothesis] = []
        """The finished answers, the best first."""
        each = self.strategy.width // self.strategy.groups
        self._groups = [_Group(self, each) for _ in range(self.strategy.groups)]

    @property
    def held(self) -> list[list[int]]:
        """The beams without their last tokens."""
        return [[*self.request.prompt, *one.tokens[:-1]] for group in self._groups for one in group.running]

    def observe(self, logits: Float[np.ndarray, "rows vocab"]) -> str:
        """One more token for every beam; the text when no beam goes on."""
        # Before the first token there is one row, and every group begins with it.
        starts = [0] * len(self._groups)
        if self._groups[0].begun:
            sizes = [len(group.running) for group in self._groups]
            starts = [sum(sizes[:at]) for at in range(len(sizes))]
        self.rows, taken = [], Counter[int]()
        for group, start in zip(self._groups, starts, strict=True):
            kept = group.step(logits[start : start + len(group.running)], taken)
            taken.update(token for _, token in kept)
            if group.running:
                self.rows += [RowInput(start + row, (token,)) for row, token in kept]
        return "" if self.rows else self._finished()

    def adjusted(self, logprobs: Float[np.ndarray, " vocab"], written: List[int]) -> Float[np.ndarray, " vocab"]:
        """Log-probabilities of what comes after an answer's tokens, after the strategy's own steps."""
        read = [*self.request.words, *written]
        return self.strategy.adjusted(logprobs, read, len(written), self.limits)

    def ends(self, tokens: tuple[int, ...]) -> bool:
        """Whether an answer is over with its last token."""
        return tokens[-1] in self.limits.ends or (bool(self.request.stop) and self.text_of(tokens)[1])

    def text_of(self, tokens: tuple[int, ...]) -> tuple[str, bool]:
        """The text of an answer, and whether a stop string ended it."""
        stream = StreamDecoder(self.request.tokenizer, self.request.stop)
        text = "".join(stream.push(token) for token in tokens if token not in self.limits.ends) + stream.finish()
        return text, stream.stopped is not None

    def _finished(self) -> str:
        ranked = [one for group in self._groups for one in group.finished]
        self.hypotheses = sorted(ranked, key=lambda one: -one.score(self.strategy.length_penalty))
        best = self.hypotheses[0]
        self.tokens, self.logprobs, self.finish = list(best.tokens), list(best.logprobs), best.finish
        self.text = self.text_of(best.tokens)[0]
        return self.text


class _Group:
    """A beam search of its own: the hypotheses that go on, and the best of those that are finished."""

    def __init__(self, sequence: BeamSequence, width: int) -> None:
        self.sequence, self.width = sequence, width
        self.running, self.finished = [Hypothesis()], list[Hypothesis]()
        self.begun = False

    def step(self, logits: Float[np.ndarray, "rows vocab"], taken: Mapping[int, int]) -> list[tuple[int, int]]:
        """Continue every beam by every token; return the row and the token of each that was kept.

        `taken` counts the tokens that earlier groups took at this step. Afterwards `running` is empty if none goes on.
        """
        self.begun = True
        if not self.running:
            return []
        strategy, limits = self.sequence.strategy, self.sequence.limits
        logprobs = log_softmax(logits)
        sums = np.array([[one.total] for one in self.running], logprobs.dtype)
        totals = self._adjusted(logprobs, taken) + sums
        # As many that a full beam is left even if all the ends come first.
        best, places = largest(totals.ravel(), max(2, 1 + len(limits.ends)) * self.width)
        rows, tokens = places // totals.shape[1], places % totals.shape[1]
        found = zip(best.tolist(), rows.tolist(), tokens.tolist(), logprobs[rows, tokens].tolist(), strict=True)
        going: list[tuple[int, Hypothesis]] = []
        for rank, (total, row, token, logprob) in enumerate(found):
            if total == -np.inf:
                break
            before = self.running[row]
            written = (*before.tokens, token)
            finish: Finish | None = limits.at_longest if len(written) >= limits.longest else None
            if self.sequence.ends(written):
                finish = "stop"
            one = Hypothesis(written, (*before.logprobs, logprob), total, finish)
            if finish is None:
                going.append((row, one))
            elif rank < self.width:  # a worse one would not have gone on either
                self.finished.append(one)
            if len(going) == self.width:
                break
        self.finished.sort(key=lambda one: -one.score(strategy.length_penalty))
        del self.finished[self.width :]
        self.running = [one for _, one in going]
        if self._is_done(limits):
            self.running = []
        return [(row, one.tokens[-1]) for row, one in going]

    def _adjusted(
        self, logprobs: Float[np.ndarray, "rows vocab"], taken: Mapping[int, int]
    ) -> Float[np.ndarray, "rows vocab"]:
        """Log-probabilities after the penalty between groups and the strategy's own steps."""
        sequence, strategy = self.sequence, self.sequence.strategy
        if taken:
            logprobs = logprobs.copy()
            logprobs[:, list(taken)] -= np.array(list(taken.values()), logprobs.dtype) * strategy.diversity_penalty
        rows = list(logprobs)
        adjusted = [sequence.adjusted(row, one.tokens) for row, one in zip(rows, self.running, strict=True)]
        same = all(new is old for new, old in zip(adjusted, rows, strict=True))
        return logprobs if same else np.stack(adjusted)

    def _is_done(self, limits: Limits) -> bool:
        """Whether no beam goes on, or none of them is worth it."""
        if not self.running or len(self.finished) < self.width:
            return not self.running
        strategy = self.sequence.strategy
        if strategy.early_stopping is True:
            return True
        # A negative sum over a larger power is better: with a positive penalty the longest answer is the best that
        # may come.
        far = strategy.early_stopping == "never" and strategy.length_penalty > 0
        reached = self.running[0].score(strategy.length_penalty, limits.longest if far else None)
        return reached <= self.finished[-1].score(strategy.length_penalty)
