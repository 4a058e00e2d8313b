"""An answer whose tokens are chosen for good, one after another, by a strategy's chooser."""

from __future__ import annotations

from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor

from lmworks.generation.guessing import Guess, Guesser
from lmworks.generation.request import Read, Request, top_of
from lmworks.generation.strategies import Chooser
from lmworks.tokens.stream import StreamDecoder


@dataclass
class OneRow(Request):
    """An answer in one row; what was guessed to follow is read with the last token."""

    chooser: Chooser
    stream: StreamDecoder
    guesser: Guesser | None = field(default=None, init=False)
    guessed: Guess = field(default=Guess(), init=False)
    """What its row read behind the last token."""

    def __post_init__(self) -> None:
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
        self.rows = []
        if self.finish is None:
            self.guessed = self._guess()
            self.rows = [Read(0, (token, *self.guessed.tokens), cut=len(logits) - 1 - place)]
        return shown

    def _guess(self) -> Guess:
        if self.guesser is None:
            return Guess()
        most = self.limits.longest - len(self.tokens) - 1
        return self.guesser.guess(self.chooser.read, len(self.tokens), most)

    def _write(self, token: int, logits: Float[Tensor, " vocab"]) -> str:
        """One more token; the text that can be shown now."""
        if self.asked.written:
            logprobs = logits.log_softmax(0)
            self.logprobs.append(float(logprobs[token]))
            if self.asked.top:
                self.alternatives.append(top_of(logprobs, self.asked.top))
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
