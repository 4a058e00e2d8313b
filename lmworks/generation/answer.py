"""What a model wrote: a text that knows how it came about."""

from __future__ import annotations

from lmworks.generation.beams import BeamRequest, Hypothesis
from lmworks.generation.limits import Finish
from lmworks.generation.request import Request


class Answer(str):
    """Generated text that knows how it came about."""

    prompt: list[int]
    """Token ids that the model read; of an encoder-decoder those of the source."""
    tokens: list[int]
    """Token ids that it wrote, the one that ended the answer included."""
    logprobs: list[float]
    """Natural log-probability of each written token under the model, before filters."""
    finish: Finish
    """Why it ended: stop, length or window."""
    slid: int = 0
    """How often the window slid over the text, which then was forgotten but for its beginning and its end."""
    seed: int | None
    """What reproduces it; None where nothing was drawn."""
    score: float | None
    """What beams are compared by, sum of log-probabilities / length ** length_penalty; None without beams."""
    others: list[Answer]
    """The other finished answers of a beam search, the best first."""

    @classmethod
    def of(cls, request: Request) -> Answer:
        """The answer of a finished request."""
        answer = cls(request.text)
        answer.prompt = request.prompt if request.source is None else request.source
        answer.tokens, answer.logprobs = request.tokens, request.logprobs
        answer.finish, answer.seed, answer.slid = request.finish or "stop", request.seed, request.slid
        answer.score, answer.others = None, []
        if isinstance(request, BeamRequest):
            best, *others = request.hypotheses
            answer.score = best.score(request.strategy.length_penalty)
            answer.others = [cls._other(answer, request, one) for one in others]
        return answer

    @classmethod
    def _other(cls, best: Answer, request: BeamRequest, one: Hypothesis) -> Answer:
        answer = cls(request.written(one.tokens)[0])
        answer.prompt, answer.seed, answer.others = best.prompt, None, []
        answer.tokens, answer.logprobs = list(one.tokens), list(one.logprobs)
        answer.finish, answer.score = one.finish or "stop", one.score(request.strategy.length_penalty)
        return answer

    @property
    def text(self) -> str:
        """The text as a plain string."""
        return str.__str__(self)
