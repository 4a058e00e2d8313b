"""An answer whose tokens are chosen for good, one after another, by a strategy's chooser."""

from __future__ import annotations

from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor

from lmworks.generation.distribution import log_probability
from lmworks.generation.guessing import ByLookup, Guess, Guesser
from lmworks.generation.request import Read, Request, top_of
from lmworks.generation.strategies import Chooser
from lmworks.kernels.engine import Writing
from lmworks.kernels.lookup import LookingUp
from lmworks.kernels.next_token import Choice
from lmworks.tokens.stream import StreamDecoder

WITH_GUESSER = 2
"""Tokens that a row which may guess runs ahead at most beside others: a quotation that begins shall not be noticed late."""
SINKS = 4
"""First tokens of a text that a window keeps when it slides."""


@dataclass
class OneRow(Request):
    """An answer in one row; what was guessed to follow is read with the last token."""

    chooser: Chooser
    stream: StreamDecoder
    guesser: Guesser | None = field(default=None, init=False)
    window: int | None = field(default=None, init=False)
    """Tokens of a window that slides over the text; None where the text has an end there."""
    guessed: Guess = field(default=Guess(), init=False)
    """What its row read behind the last token."""
    tried: int = field(default=0, init=False)
    """Tokens that were guessed and read."""
    kept: int = field(default=0, init=False)
    """Of them, those that were right."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.seed = self.chooser.seed
        self.chooser.saw(self.prompt)
        if self.limits.longest == 0:
            self.finish = self.limits.at_longest

    def take(self, logits: Float[Tensor, "read vocab"]) -> str:
        """Choose the next token; as long as it is the one that was guessed, the one behind it too."""
        shown, guess = "", self.guessed
        for place, row in enumerate(logits):
            guessed = guess.tokens[place] if place < len(guess.tokens) else None
            drawn_from = guess.drawn_from[place] if place < len(guess.drawn_from) else None
            token = self.chooser.choose(row, guessed, drawn_from)
            shown += self._write(token, row)
            if self.finish is not None or token != guessed:
                break
        self.tried, self.kept = self.tried + len(guess.tokens), self.kept + place + (token == guessed)
        self._go_on(token, wrong=len(logits) - 1 - place)
        return shown

    def by_kernels(self, vocabulary: int) -> Choice | None:
        """How the kernels write its next tokens."""
        if self.guessed.drawn_from or self.asked.top or self.wants_states:
            return None
        return self.chooser.by_kernels(vocabulary, self.asked.written)

    @property
    def room(self) -> int:
        """Tokens that it may write without being looked at: until it ends or its window slides."""
        room = self.limits.longest - len(self.tokens)
        return room if self.window is None else min(room, self.window + 1 - len(self.held))

    def shares(self, count: int) -> list[float]:
        """Which tokens are drawn next, for the kernels."""
        return [0.0] * count if self.chooser.draws is None else self.chooser.draws.ahead(count)

    @property
    def lookup(self) -> LookingUp | None:
        """What the kernels guess by, where they can."""
        return self.guesser.lookup if isinstance(self.guesser, ByLookup) else None

    def wrote(self, writing: Writing) -> str:
        """Take the tokens that the kernels chose, one behind another, up to a stop string."""
        shown = ""
        for token, logprob in zip(writing.tokens, writing.logprobs, strict=True):
            if token < 0:
                assert writing.logits is not None
                token = self.chooser.choose(writing.logits)  # noqa: PLW2901 (the one that was left)
                shown += self._write(token, float(writing.logits[token]) + logprob)
            else:
                self.chooser.drew(token)
                shown += self._write(token, logprob)
            if self.finish is not None:
                break
        self.tried, self.kept = self.tried + writing.tried, self.kept + writing.right
        self._go_on(token)
        return shown

    def _go_on(self, token: int, wrong: int = 0) -> None:
        """What its row reads next: behind the text without so many `wrong` guesses the token, and new guesses."""
        self.rows = []
        if self.finish is None and self.window is not None and len(self.held) > self.window:
            self._slide()
        elif self.finish is None:
            self.guessed = self._guess()
            self.rows = [Read(0, (token, *self.guessed.tokens), cut=wrong)]

    def slide_over(self, window: int) -> None:
        """Let a window slide over the text; a prompt that is longer begins with what is kept of it."""
        self.window = window
        if len(self.prompt) >= window:
            self._slide()
            self.reads_again = False

    def _slide(self) -> None:
        """Keep the first tokens and the last half of a window, and read these anew with places of their own: the first ones take
        the attention that has nowhere else to go (attention sinks: Xiao et al. 2023, https://arxiv.org/abs/2309.17453)."""
        assert self.window is not None
        text = self.held
        self.opening = [*text[:SINKS], *text[len(text) - (self.window // 2 - SINKS) :]]
        self.opened, self.slid = len(self.tokens), self.slid + 1
        self.guessed, self.reads_again = Guess(), True

    def _guess(self) -> Guess:
        if self.guesser is None:
            return Guess()
        most = self.limits.longest - len(self.tokens) - 1
        if self.window is not None:
            most = min(most, self.window - len(self.held))
        return self.guesser.guess(self.chooser.read, len(self.tokens), most, self.beside)

    def _write(self, token: int, judged: Float[Tensor, " vocab"] | float) -> str:
        """One more token, given its logits or its log-probability; the text that can be shown now."""
        if isinstance(judged, Tensor) and self.asked.top:
            logprobs = judged.log_softmax(0)
            self.alternatives.append(top_of(logprobs, self.asked.top))
            self.logprobs.append(float(logprobs[token]))
        elif self.asked.written:
            self.logprobs.append(log_probability(judged, token) if isinstance(judged, Tensor) else judged)
        self.tokens.append(token)
        if token in self.limits.ends:
            self.finish = "stop"
            shown = self.stream.finish()
        else:
            shown = self.stream.push(token)
            if self.stream.stopped is not None or (self.chooser.guide is not None and self.chooser.guide.complete):
                self.finish = "stop"
            elif len(self.tokens) >= self.limits.longest:
                self.finish = self.limits.at_longest
            if self.finish is not None:
                shown += self.stream.finish()
        self.text += shown
        return shown
