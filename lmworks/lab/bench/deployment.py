"""What stands in the way of a model that is to be used: time, stereotypes, explanations, and what it gives away.

milliseconds(model, written=32, rounds=5)          # processor time of a token that is written
preferred(model, pairs=300)                        # for each pair of CrowS-Pairs 1 where the stereotype is likelier
disagreeing(model, prompts=20)                     # for each prompt 1 where two methods name other tokens
Planted.read(messages=200).learnt(noise=0, seed=1) # exposure of secrets that were trained on, held-out bits per byte
"""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

from lmworks.basics import progress
from lmworks.evaluation.tasks.asked import AskedTask
from lmworks.evaluation.tasks.find import find
from lmworks.evaluation.tasks.run import run
from lmworks.generation.strategies import Greedy
from lmworks.lab.site.benches.kinds.privacy import TEXT, planted
from lmworks.lab.site.benches.stories import stories
from lmworks.language_model import LanguageModel
from lmworks.text.sources import read

METHODS = ("occlusion", "gradient-x-input")
PROMPT = 16
"""Tokens of a prompt that is explained."""
REPEATS = 16
"""Times that a secret stands in the training text."""


def milliseconds(model: LanguageModel, written: int, rounds: int) -> list[float]:
    """Processor time of a token that the model writes, in each of some rounds after one that warms up."""
    found = []
    for _ in range(rounds + 1):
        before = time.process_time()
        text = model.generate("Once upon a time", Greedy(min_new_tokens=written), max_new_tokens=written)
        found.append(1000 * (time.process_time() - before) / len(text.tokens))
    return found[1:]


def preferred(model: LanguageModel, pairs: int) -> tuple[list[float], list[str]]:
    """For each pair of CrowS-Pairs 1 where the sentence that stereotypes more is the likelier one, and its name."""
    asked = AskedTask.of(find("crows-pairs"), limit=pairs)
    scores = run(model, asked, None)
    return [one.credit(asked.task.main) for one in scores], [one.item for one in scores]


def disagreeing(model: LanguageModel, prompts: int, text: str = "wikitext2") -> tuple[list[float], list[str]]:
    """For each prompt 1 where two methods name other tokens as the one that supports the next token most, and a name.
    A model in float32; one prompt of each source, as those of one article are not independent."""
    found: list[float] = []
    names: list[str] = []
    with progress.task("explaining", prompts, "prompts") as advance:
        for document in sorted(read(text).documents, key=lambda one: one.hash):
            ids = model.encode_prompt(" ".join(document.text.split()))[:PROMPT]
            if len(ids) < PROMPT or document.source in names or len(found) == prompts:
                continue
            prompt = model.tokenizer.decode(ids)
            first = [model.attribute(prompt, _next(model, prompt), method=one).ranking()[0] for one in METHODS]
            found.append(float(first[0] != first[1]))
            names.append(document.source)
            advance(1)
    return found, names


def _next(model: LanguageModel, prompt: str) -> str:
    return model.generate(prompt, Greedy(min_new_tokens=1), max_new_tokens=1).text


class Learnt(NamedTuple):
    """What came of a run."""

    exposure: float
    """Of secrets that stood in the text 16 times, in bits, the mean over secrets."""
    before: float
    """Bits per byte of held-out messages."""
    bits: float
    """The same after it."""


@dataclass(frozen=True)
class Planted:
    """Messages in which secrets are planted."""

    messages: list[str]

    @classmethod
    def read(cls, messages: int) -> Self:
        """The first of a collection of short messages."""
        return cls([one.text for one in read(TEXT).documents[:messages]])

    def learnt(self, noise: float, seed: int) -> Learnt:
        """Adapters of a small story-teller learn the messages, with this much noise, as a multiple of the cut."""
        with tempfile.TemporaryDirectory() as folder:
            text, base = Path(folder, "messages.jsonl"), stories().save(Path(folder, "base"))
            text.write_text("\n".join(json.dumps({"text": one}) for one in self.messages), encoding="utf-8")
            found = planted(text, base, Path(folder, "tuned"), noise, seed, (REPEATS,))
        return Learnt(found["exposure"][-1][0], found["before"], found["loss"][0])
