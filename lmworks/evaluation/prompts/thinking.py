"""Chain of thought and self-consistency: an answer after written steps, and the one that most of several ways reach.

    thought = think(model, "Tom has 3 apples and buys 4 more. How many has he?", samples=5, seed=1)
    thought.answer, thought.share           # "7", 0.8

Wei et al. 2022, https://arxiv.org/abs/2201.11903; Kojima et al. 2022, https://arxiv.org/abs/2205.11916 (the words);
Wang et al. 2022, https://arxiv.org/abs/2203.11171 (the majority).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from lmworks.basics.errors import ConfigError
from lmworks.evaluation.answer_words import last_number
from lmworks.generation.strategies import Greedy, Sample, Strategy
from lmworks.language_model import LanguageModel

STEPS = "Let's think step by step."


@dataclass(frozen=True)
class Thought:
    """What several ways to an answer reach."""

    answer: str | None
    """That of most of them; None where none reaches one."""
    share: float
    """Of the ways that reach it."""
    ways: tuple[str, ...]
    """What was written."""


def majority(answers: Sequence[str | None]) -> tuple[str | None, float]:
    """The most frequent answer and its share of all; of equally frequent ones the first. None counts as no vote."""
    votes = Counter(one for one in answers if one is not None)
    if not votes:
        return None, 0.0
    [(answer, count)] = votes.most_common(1)
    return answer, count / len(answers)


def think(
    model: LanguageModel,
    question: str,
    *,
    samples: int = 1,
    temperature: float = 0.7,
    seed: int = 0,
    max_new_tokens: int = 200,
) -> Thought:
    """The number that a model reaches in steps: of one greedy way, or of most of several that are drawn, the first by
    the seed, the next by the one after it. ConfigError for no way."""
    if samples < 1:
        raise ConfigError(f"samples is {samples}; give at least 1")
    asked = f"{question}\n{STEPS}"
    prompt = asked if model.tokenizer.chat_template is None else [{"role": "user", "content": asked}]
    ways: list[Strategy] = [Sample(temperature=temperature, seed=seed + number) for number in range(samples)]
    texts = model.generate_batch([prompt] * samples, ways if samples > 1 else Greedy(), max_new_tokens=max_new_tokens)
    answer, share = majority([last_number(text) for text in texts])
    return Thought(answer, share, tuple(str(text) for text in texts))
