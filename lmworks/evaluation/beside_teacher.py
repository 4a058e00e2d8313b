"""A student beside its teacher: how well both read a text, how far apart their predictions are, how fast they write.

    found = beside(student, teacher, documents, "held-out text")
    print(found.student, found.difference, found.divergence)

Every interval is over whole documents, each with all its tokens.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch
from torch import Tensor

from lmworks.basics import progress
from lmworks.basics.arrays import Float
from lmworks.basics.errors import DataError
from lmworks.evaluation import statistics
from lmworks.evaluation.drift import kl
from lmworks.evaluation.measurement import Measurement
from lmworks.generation.scoring import windows
from lmworks.generation.strategies import Greedy
from lmworks.kernels.coverage import unavailable, uncovered
from lmworks.language_model import LN_2, LanguageModel
from lmworks.models.network import evaluating
from lmworks.text.document import Document

ROWS = 128
"""Tokens of which the logits of both are held at once."""
PROMPT, WRITTEN, TIMES = 32, 32, 5


@dataclass(frozen=True)
class BesideTeacher:
    """Sums over each document of a text."""

    text: str
    student_bits: Float[np.ndarray, " documents"]
    teacher_bits: Float[np.ndarray, " documents"]
    divergence_bits: Float[np.ndarray, " documents"]
    bytes: Float[np.ndarray, " documents"]
    tokens: Float[np.ndarray, " documents"]

    @property
    def student(self) -> Measurement:
        """Bits per byte of the student."""
        return self._figure("student", "bits/byte", self.student_bits, self.bytes, chance=8.0, ideal=0.0)

    @property
    def teacher(self) -> Measurement:
        """Bits per byte of the teacher."""
        return self._figure("teacher", "bits/byte", self.teacher_bits, self.bytes, chance=8.0, ideal=0.0)

    @property
    def difference(self) -> Measurement:
        """What the student needs more, each document paired with itself."""
        more = self.student_bits - self.teacher_bits
        return self._figure("student minus teacher", "bits/byte", more, self.bytes, difference=True)

    @property
    def divergence(self) -> Measurement:
        """KL(teacher || student)."""
        return self._figure("KL(teacher || student)", "bits/token", self.divergence_bits, self.tokens, ideal=0.0)

    @property
    def measurements(self) -> list[Measurement]:
        """All of these."""
        return [self.teacher, self.student, self.difference, self.divergence]

    def _figure(self, what: str, unit: str, above: np.ndarray, below: np.ndarray, **more: object) -> Measurement:
        bounds = statistics.UNBOUNDED if "difference" in more else statistics.AT_LEAST_0
        estimate = statistics.ratio_of_sums(above, below, bounds=bounds)
        fields = {"name": f"{self.text}, {what}", "value": estimate.value, "unit": unit, "interval": estimate.interval}
        return Measurement(**fields, n=len(below), seeds=(0,), **more)  # type: ignore[arg-type]


def beside(
    student: LanguageModel,
    teacher: LanguageModel,
    documents: Sequence[Document],
    what: str,
    *,
    window: int = 1024,
    tokens: int | None = None,
) -> BesideTeacher:
    """Read documents with both, in the order of their hashes and up to about `tokens` tokens of them.

    A budget is spread over the documents: each is read from its beginning, as far as its share goes. DataError where
    no document holds anything that can be scored.
    """
    chosen = sorted(documents, key=lambda document: document.hash)
    each = None if tokens is None else max(tokens // max(len(chosen), 1), 64)
    size = min(student.config.vocab_size, teacher.config.vocab_size)
    window = min(window, student.longest, teacher.longest)
    rows = []
    with progress.task(f"measuring {what}", len(chosen), "documents") as advance:
        for document in chosen:
            start = student.tokenizer.document_start
            ids = [*([] if start is None else [start]), *student.tokenizer.encode(document.text, special=False)]
            ids = ids if each is None else ids[: each + 1]
            length = sum(map(len, student.tokenizer.bytes_of(ids)[1:]))
            if len(ids) > 1 and length:
                sums = sum(_sums(student, teacher, ids, window, size), start=torch.zeros(3, dtype=torch.float64))
                rows.append([*(sums / LN_2).tolist(), length, len(ids) - 1])
            advance(1)
    if not rows:
        raise DataError(f"{what}: no document holds anything that can be scored")
    return BesideTeacher(what, *np.array(rows, dtype=float).T)


@torch.inference_mode()
def _sums(
    student: LanguageModel, teacher: LanguageModel, ids: list[int], window: int, size: int
) -> Iterator[Float[Tensor, " sums"]]:
    """Of some tokens at a time: -log p of the student and of the teacher, and the KL, summed, in nats."""
    with evaluating(student.network), evaluating(teacher.network):
        for start, scored, end in windows(len(ids), window):
            tokens, offset = torch.tensor([ids[start:end]]), scored - start - 1
            states = [
                model.runner.hidden(tokens[:, :-1].to(model.network.device))[0, offset:] for model in (student, teacher)
            ]
            targets = tokens[0, offset + 1 :, None]
            for own, theirs, wanted in zip(*(one.split(ROWS) for one in (*states, targets)), strict=True):
                logits = student.runner.logits(own).cpu()[:, :size]
                base = teacher.runner.logits(theirs).cpu()[:, :size]
                losses = [one.logsumexp(1) - one.gather(1, wanted)[:, 0] for one in (logits, base)]
                yield torch.stack([*(one.double().sum() for one in losses), kl(base, logits).double().sum()])


def writing_costs(student: LanguageModel, teacher: LanguageModel, seed: int = 0) -> list[Measurement]:
    """CPU seconds that each needs for a written token, in turns in this process, and how many times faster the student
    is: both with weights of 8 bits on the compiled path where it covers both, else in PyTorch."""
    compiled = unavailable() is None and all(uncovered(one.network) is None for one in (student, teacher))
    both = [LanguageModel(one.network, one.tokenizer) for one in (student, teacher)]
    for one in both:
        one.choose_runner("int8" if compiled else "none")
    vocabulary = student.tokenizer.vocab_size
    prompt = torch.randint(0, vocabulary, (PROMPT,), generator=torch.Generator().manual_seed(seed)).tolist()
    spent: list[list[float]] = [[], []]
    for turn in range(TIMES + 1):
        for number, model in enumerate(both):
            started = time.process_time()
            model.generate(prompt, Greedy(min_new_tokens=WRITTEN), max_new_tokens=WRITTEN)
            if turn:  # the first one compiles
                spent[number].append((time.process_time() - started) / WRITTEN)
    how = "int8, compiled" if compiled else "PyTorch"
    figures = [
        Measurement(name=f"{who}, a written token ({how})", value=median(costs), unit="CPU s", n=len(costs), ideal=0.0)
        for who, costs in zip(("student", "teacher"), spent, strict=True)
    ]
    times = [theirs / own for own, theirs in zip(*spent, strict=True)]
    return [
        *figures,
        Measurement(name=f"writing, times the teacher's speed ({how})", value=median(times), n=len(times)),
    ]
