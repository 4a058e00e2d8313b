"""A text whose tokens are chosen for good, one after another, by a strategy's chooser."""

from __future__ import annotations

import numpy as np

from lmworks.basics.arrays import Float
from lmworks.generation.chooser import Chooser
from lmworks.generation.distribution import log_softmax
from lmworks.generation.guessing import ByLookup, Guessed
from lmworks.generation.request import Request
from lmworks.generation.sequence import RowInput, Sequence, top_of
from lmworks.models.lookup import PromptLookup
from lmworks.models.runner import Row, RowWritten, Sampler
from lmworks.tokens.stream import StreamDecoder

SINKS = 4
"""First tokens of a text that a window keeps when it slides."""


class TokenSequence(Sequence):
    """A text in one row; what is guessed to follow it is read with the last token."""

    def __init__(self, request: Request, sampler: Sampler | None = None) -> None:
        super().__init__(request)
        self.chooser = Chooser(request.strategy, request.seed, request.limits, request.guide, sampler)
        self.chooser.observe(request.words)
        self.stream = StreamDecoder(request.tokenizer, request.stop, request.skips_space)
        self.guesser = request.guesser
        self.window = request.context if request.slides else None
        self.guessed = Guessed()
        """What its row read after the last token."""
        self.tried = 0
        """Tokens that were guessed and read."""
        self.kept = 0
        """Of them, those that were right."""
        if self.limits.longest == 0:
            self.finish = self.limits.at_longest
        if self.window is not None and len(request.prompt) >= self.window:  # it begins with what is kept of the prompt
            self._slide()
            self.reads_again = False

    @property
    def held(self) -> list[list[int]]:
        """Without the token that was chosen last."""
        return [self.written[:-1]]

    def observe(self, logits: Float[np.ndarray, "read vocab"]) -> str:
        """Choose the next token; as long as it is the one that was guessed, the one after it too."""
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

    def ahead(self, rounds: int, vocabulary: int) -> Row | None:
        """None where its logits are changed or looked at, and after guesses that were drawn."""
        if self.guessed.drawn_from or self.request.logprobs.top or self.wants_states:
            return None
        choice = self.chooser.token_choice(vocabulary, self.request.logprobs.written)
        if choice is None:
            return None
        tokens, lookup = self.rows[0].tokens, self._lookup
        most = rounds if lookup is None else rounds * (1 + lookup.most)
        return Row(tokens, choice, self.chooser.uniforms(max(min(self._room, most), len(tokens))), lookup)

    def append(self, written: RowWritten) -> str:
        """Take the tokens, one after another, up to a stop string."""
        shown = ""
        for token, logprob in zip(written.tokens, written.logprobs, strict=True):
            if token < 0:
                assert written.logits is not None
                token = self.chooser.choose(written.logits)  # noqa: PLW2901 (the one that was left)
                shown += self._write(token, float(written.logits[token]) + logprob)
            else:
                self.chooser.append_drawn(token)
                shown += self._write(token, logprob)
            if self.finish is not None:
                break
        self.tried, self.kept = self.tried + written.guessed, self.kept + written.accepted
        self._go_on(token)
        return shown

    @property
    def _room(self) -> int:
        """Tokens that it may write without being looked at: until it ends or its window slides."""
        room = self.limits.longest - len(self.tokens)
        return room if self.window is None else min(room, self.window + 1 - len(self.written))

    @property
    def _lookup(self) -> PromptLookup | None:
        """What a runner can guess by itself."""
        return self.guesser.lookup if isinstance(self.guesser, ByLookup) else None

    def _go_on(self, token: int, wrong: int = 0) -> None:
        """Its row next forgets the `wrong` guesses at its end, and reads the token and new guesses."""
        self.rows = []
        if self.finish is None and self.window is not None and len(self.written) > self.window:
            self._slide()
        elif self.finish is None:
            self.guessed = self._guess()
            self.rows = [RowInput(0, (token, *self.guessed.tokens), cut=wrong)]

    def _slide(self) -> None:
        """Keep the first tokens and the last half of a window, and read these anew with places of their own: the
        first ones take the attention that has nowhere else to go (attention sinks: Xiao et al. 2023,
        https://arxiv.org/abs/2309.17453)."""
        assert self.window is not None
        text = self.written
        self.opening = [*text[:SINKS], *text[len(text) - (self.window // 2 - SINKS) :]]
        self.opened, self.slid = len(self.tokens), self.slid + 1
        self.guessed, self.reads_again = Guessed(), True

    def _guess(self) -> Guessed:
        if self.guesser is None:
            return Guessed()
        most = self.limits.longest - len(self.tokens) - 1
        if self.window is not None:
            most = min(most, self.window - len(self.written))
        return self.guesser.guess(self.chooser.read, len(self.tokens), most, self.beside)

    def _write(self, token: int, judged: Float[np.ndarray, " vocab"] | float) -> str:
        """One more token, given its logits or its log-probability; the text that can be shown now."""
        options = self.request.logprobs
        if isinstance(judged, np.ndarray) and options.top:
            logprobs = log_softmax(judged)
            self.alternatives.append(top_of(logprobs, options.top))
            self.logprobs.append(float(logprobs[token]))
        elif options.written:
            self.logprobs.append(
                self.chooser.log_probability(judged, token) if isinstance(judged, np.ndarray) else judged
            )
        self.tokens.append(token)
        if token in self.limits.ends:
            self.finish = "stop"
            shown = self.stream.finish()
        else:
            shown = self.stream.push(token)
            if self.stream.stopped is not None or (self.request.guide is not None and self.request.guide.complete):
                self.finish = "stop"
            elif len(self.tokens) >= self.limits.longest:
                self.finish = self.limits.at_longest
            if self.finish is not None:
                shown += self.stream.finish()
        self.text += shown
        return shown
