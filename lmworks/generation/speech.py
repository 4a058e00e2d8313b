"""Speech as text: how the tokens of one window of sound are chosen, and what is no good.

    memory = runner.encode(features[None])                         # of a window of 30 seconds
    written = write_down(runner, memory, speech, prompt, Greedy())
    written.tokens                                                  # <|0.00|> words <|2.50|> ...

Times come in pairs around words and never go back; where all times together are likelier than any word, a time comes.
A window is written again at a higher temperature where its text repeats itself or is improbable, and left out where
probably nobody spoke.
Source: Radford et al. 2022, https://arxiv.org/abs/2212.04356, section 4.5, and the code published with it.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lmworks.basics.arrays import Float
from lmworks.generation.beams import BeamSequence
from lmworks.generation.chooser import Chooser
from lmworks.generation.constraints import Guide
from lmworks.generation.distribution import Logits, log_probability, log_softmax
from lmworks.generation.request import Request
from lmworks.generation.strategies import Beam, Greedy, Sample, Strategy
from lmworks.models.kv_cache import KVCache
from lmworks.models.runner import Runner
from lmworks.tokens.speech import STEP, SpeechTokens
from lmworks.tokens.tokenizer import Tokenizer

if TYPE_CHECKING:
    from lmworks.models.runner import Encoded

TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Tried one after another until a window's text is good."""
MOST_COMPRESSION = 2.4
"""A text that is more times smaller when it is compressed repeats itself."""
LEAST_LOGPROB = -1.0
"""Of a window's tokens in the mean: below it, the text is improbable."""
MOST_NO_SPEECH, SURE_NO_SPEECH = 0.6, 0.9
"""Above the first, an improbable text was written of noise; above the second, any text: of noise and beeps the smallest
models write a probable "you"."""


class SpeechGuide(Guide):
    """What may come next in the text of one window."""

    name = "form of a transcript"

    def __init__(self, speech: SpeechTokens, timed: bool, written: Sequence[int] = ()) -> None:
        self.speech, self.timed, self.written = speech, timed and bool(speech.times), list(written)
        self._never = sorted({*speech.never, *((speech.no_times,) if self.timed else ())})

    def copy(self) -> SpeechGuide:
        """A guide for a second text, as far on as this one."""
        return SpeechGuide(self.speech, self.timed, self.written)

    @property
    def complete(self) -> bool:
        """Can nothing follow? The text ends with a token of its own."""
        return False

    def allowed(self, logits: Logits) -> Logits:
        """Minus infinity for what cannot come next."""
        left = logits.copy()
        left[self._never] = -np.inf
        if not self.written:
            left[sorted(self.speech.never_first)] = -np.inf
        if self.timed:
            self._time(left)
        return left

    def accept(self, token: int) -> None:
        """The next token of the text."""
        self.written.append(token)

    def _time(self, left: Logits) -> None:
        """Take out what would break the order of times."""
        speech, first = self.speech, self.speech.times.start
        if not self.written:
            left[:first] = -np.inf
            left[first + speech.latest_first + 1 :] = -np.inf
            return
        after_time = speech.is_time(self.written[-1])
        in_pair = len(self.written) < 2 or speech.is_time(self.written[-2])
        if after_time and in_pair:  # a segment has begun: words
            left[first:] = -np.inf
        elif after_time:  # one has ended: another begins, or the text ends
            left[: speech.end] = -np.inf
        latest = next((token for token in reversed(self.written) if speech.is_time(token)), first - 1)
        left[first : latest if after_time and not in_pair else latest + 1] = -np.inf
        likeliest, times = left[:first].max(), left[first:]
        if np.logaddexp.reduce(times) > likeliest:
            left[:first] = -np.inf


@dataclass(frozen=True)
class Written:
    """The text of one window."""

    tokens: tuple[int, ...]
    """Without the end."""
    logprob: float
    """In the mean, of the tokens and the end, among those that could come."""
    no_speech: float
    compression: float
    temperature: float = 0.0

    @property
    def improbable(self) -> bool:
        """Whether the model does not believe it itself."""
        return self.logprob < LEAST_LOGPROB

    @property
    def of_noise(self) -> bool:
        """Whether probably nobody spoke."""
        return self.no_speech > (MOST_NO_SPEECH if self.improbable else SURE_NO_SPEECH)

    @property
    def good(self) -> bool:
        """Whether another try is not worth it."""
        return self.of_noise or not (self.improbable or self.compression > MOST_COMPRESSION)


def write_well(
    runner: Runner,
    tokenizer: Tokenizer,
    memory: Encoded,
    speech: SpeechTokens,
    prompt: Sequence[int],
    temperatures: Sequence[float] = TEMPERATURES,
    seed: int = 0,
    beams: int = 1,
) -> Written:
    """The text of a window at the first temperature that gives a good one, or at the last; at 0 the best of `beams`."""
    for temperature in temperatures:
        strategy: Strategy = Greedy() if beams == 1 else Beam(width=beams)
        if temperature:
            strategy = Sample(temperature=temperature, seed=seed)
        written = write_down(runner, tokenizer, memory, speech, prompt, strategy)
        if written.good:
            break
    return written


def write_down(
    runner: Runner,
    tokenizer: Tokenizer,
    memory: Encoded,
    speech: SpeechTokens,
    prompt: Sequence[int],
    strategy: Strategy,
    timed: bool = True,
) -> Written:
    """The text of a window, with times where the vocabulary has some and it is `timed`."""
    guide = SpeechGuide(speech, timed)
    read = [*prompt] if guide.timed or prompt[-1] == speech.no_times else [*prompt, speech.no_times]
    most = min(runner.config.context // 2, runner.config.context - len(read))
    with runner.evaluating():
        cache = runner.new_cache(1, len(read) + most, memory)
        logits = runner.next_logits(np.array([read[:1]]), cache)
        no_speech = _probability(logits[0], speech.no_speech)
        if len(read) > 1:
            logits = runner.next_logits(np.array([read[1:]]), cache)
        if isinstance(strategy, Beam):
            request = Request(tokenizer, read, strategy, most, [], runner.config.context)
            tokens, logprob = _best_of_beams(runner, cache, _GuidedBeams(request, guide), logits)
        else:
            tokens, logprob = _one_by_one(runner, cache, guide, Chooser(strategy), logits, most)
    tokens = tokens[:-1] if tokens[-1:] == [speech.end] else tokens
    text = speech.text_of(tokenizer, tokens).strip().encode()
    compression = len(text) / len(zlib.compress(text)) if text else 0.0
    temperature = strategy.temperature if isinstance(strategy, Sample) else 0.0
    return Written(tuple(tokens), logprob, no_speech, compression, temperature)


def _one_by_one(
    runner: Runner,
    cache: KVCache,
    guide: SpeechGuide,
    chooser: Chooser,
    logits: Float[np.ndarray, "row vocab"],
    most: int,
) -> tuple[list[int], float]:
    """At most this many tokens, each chosen for good, and their mean log-probability."""
    logprobs = list[float]()
    while True:
        allowed = guide.allowed(logits[0])
        token = chooser.choose(allowed)
        logprobs.append(log_probability(allowed, token))
        guide.accept(token)
        if token == guide.speech.end or len(guide.written) == most:
            return guide.written, float(np.mean(logprobs))
        logits = runner.next_logits(np.array([[token]]), cache)


class _GuidedBeams(BeamSequence):
    """Beams that keep to the form of a transcript."""

    def __init__(self, request: Request, guide: SpeechGuide) -> None:
        super().__init__(request)
        self.guide = guide

    def adjusted(self, logprobs: Logits, written: Sequence[int]) -> Logits:
        """What may come after the tokens of a beam."""
        return SpeechGuide(self.guide.speech, self.guide.timed, written).allowed(super().adjusted(logprobs, written))


def _best_of_beams(
    runner: Runner, cache: KVCache, sequence: BeamSequence, logits: Float[np.ndarray, "rows vocab"]
) -> tuple[list[int], float]:
    """The best text of all beams, and the mean of what they are compared by."""
    sequence.observe(logits)
    while sequence.rows:
        cache.keep([one.row for one in sequence.rows])
        logits = runner.next_logits(np.array([one.tokens for one in sequence.rows]), cache)
        sequence.observe(logits)
    return sequence.tokens, sequence.hypotheses[0].score(1.0)


def spoken_language(runner: Runner, memory: Encoded, speech: SpeechTokens) -> str:
    """The likeliest language of a window."""
    with runner.evaluating():
        logits = runner.next_logits(np.array([[speech.start]]), runner.new_cache(1, 8, memory))[0]
    return max(speech.languages, key=lambda code: float(logits[speech.languages[code]]))


def _probability(logits: Float[np.ndarray, " vocab"], token: int | None) -> float:
    return 0.0 if token is None else float(np.exp(log_softmax(logits)[token]))


@dataclass(frozen=True)
class Piece:
    """Some tokens of a window that were said together."""

    start: float
    """Seconds from the window's beginning."""
    end: float
    tokens: tuple[int, ...]


def pieces(tokens: Sequence[int], speech: SpeechTokens, seconds: float) -> tuple[list[Piece], float]:
    """The segments of a window that holds `seconds` of the recording, and the second from which the next one goes on:
    after a last segment whose end was written the rest is silence, while one that is cut off is heard again."""
    timed = [speech.is_time(token) for token in tokens]
    cuts = [at for at in range(1, len(tokens)) if timed[at] and timed[at - 1]]
    closed = timed[-2:] == [False, True]

    def at(token: int) -> float:
        return (token - speech.times.start) * STEP

    if not cuts:
        said = [token for token, is_time in zip(tokens, timed, strict=True) if is_time]
        begin = at(tokens[0]) if timed[:1] == [True] else 0.0
        end = at(said[-1]) if said and at(said[-1]) > begin else seconds
        return [Piece(begin, max(end, begin), tuple(tokens))], seconds
    ends = [*cuts, len(tokens)] if closed else cuts
    found = [
        Piece(at(tokens[first]), at(tokens[last - 1]), tuple(tokens[first:last]))
        for first, last in zip([0, *ends[:-1]], ends, strict=True)
    ]
    return found, seconds if closed else at(tokens[cuts[-1] - 1])
