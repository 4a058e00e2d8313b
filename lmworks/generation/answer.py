"""What a model wrote: a text that knows how it came about."""

from __future__ import annotations

from lmworks.generation.beams import BeamSequence, Hypothesis
from lmworks.generation.limits import Finish
from lmworks.generation.sequence import Sequence
from lmworks.generation.tool_calls import ToolCall, Tools


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
    calls: list[ToolCall]
    """The functions that it calls, where it was given any (`tools=`)."""
    others: list[Answer]
    """The other finished answers of a beam search, the best first."""

    @classmethod
    def of(cls, sequence: Sequence) -> Answer:
        """The answer of a sequence that is finished."""
        answer, request = cls(sequence.text), sequence.request
        answer.prompt = request.prompt[request.lead :] if request.source is None else request.source
        answer.tokens, answer.logprobs = sequence.tokens, sequence.logprobs
        answer.finish, answer.seed, answer.slid = sequence.finish or "stop", request.seed, sequence.slid
        answer.score, answer.others = None, []
        answer.calls = request.constraint.calls(answer.text) if isinstance(request.constraint, Tools) else []
        if isinstance(sequence, BeamSequence):
            best, *others = sequence.hypotheses
            answer.score = best.score(sequence.strategy.length_penalty)
            answer.others = [cls._other(answer, sequence, one) for one in others]
        return answer

    @classmethod
    def _other(cls, best: Answer, sequence: BeamSequence, one: Hypothesis) -> Answer:
        answer = cls(sequence.text_of(one.tokens)[0])
        answer.prompt, answer.seed, answer.others, answer.calls = best.prompt, None, [], []
        answer.tokens, answer.logprobs = list(one.tokens), list(one.logprobs)
        answer.finish, answer.score = one.finish or "stop", one.score(sequence.strategy.length_penalty)
        return answer

    @property
    def text(self) -> str:
        """The text as a plain string."""
        return str.__str__(self)
