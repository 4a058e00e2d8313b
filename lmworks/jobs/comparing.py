"""Before and after: how well the base, and then the result, reads each text; the base's figures are kept with the run.

A resumed run does not measure the base again: what was measured is kept in the run's folder, together with what it
depends on (weights, texts, settings).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lmworks.adaptation.old_text import own_texts
from lmworks.basics.errors import ModelError
from lmworks.basics.files import write_json
from lmworks.evaluation.likelihood import Change, Likelihood, change, measure
from lmworks.evaluation.measurement import Measurement
from lmworks.jobs.recipe import EvaluationSettings
from lmworks.language_model import LanguageModel
from lmworks.models.files.model_folder import read_json
from lmworks.text.document import Document

HELD_OUT, GENERAL = "held-out text", "general text"
Texts = Mapping[str, Sequence[Document]]
"""Documents by what the figures call them: HELD_OUT and, where it could be had, GENERAL."""


@dataclass(frozen=True)
class TextComparison:
    """One text before and after, and whether the difference is more than chance."""

    text: str
    before: Measurement
    after: Measurement
    difference: Measurement
    change: Change


@dataclass(frozen=True)
class MeasuredBase:
    """What was found out about the base before training."""

    weights: str
    """SHA-256 of its file or files."""
    likelihoods: dict[str, Likelihood]
    """By text."""
    own_texts: list[list[int]]
    """Token ids of texts that the base wrote, to measure the drift on; none where there is a general text."""


def measure_base(
    model: LanguageModel, texts: Texts, settings: EvaluationSettings, kept: Path, depends_on: Mapping[str, Any]
) -> tuple[MeasuredBase, bool]:
    """Measure the base, or take what `kept` holds where it was measured under the same conditions; and whether it did.

    `depends_on` holds whatever would change the figures, as JSON; "weights", the SHA-256 of the base's, among it.
    """
    if (found := _read(kept, depends_on)) is not None:
        return found, True
    made = MeasuredBase(
        depends_on["weights"], measure_texts(model, texts, settings), [] if GENERAL in texts else own_texts(model)
    )
    likelihoods = {
        name: {"bits": one.bits.tolist(), "bytes": one.bytes.tolist(), "tokens": one.tokens}
        for name, one in made.likelihoods.items()
    }
    facts = {"depends_on": dict(depends_on), "likelihoods": likelihoods, "own_texts": made.own_texts}
    write_json(kept, facts)
    return made, False


def measure_texts(model: LanguageModel, texts: Texts, settings: EvaluationSettings) -> dict[str, Likelihood]:
    """The likelihood of each text."""
    return {
        name: measure(model, documents, name, window=settings.window, tokens=settings.tokens)
        for name, documents in texts.items()
    }


def compare(before: Mapping[str, Likelihood], after: Mapping[str, Likelihood]) -> list[TextComparison]:
    """Each text's figures before and after, and their difference."""
    comparisons = []
    for name in before:
        difference, verdict = change(before[name], after[name], f"{name}, change")
        first, second = before[name].bits_per_byte(f"{name}, before"), after[name].bits_per_byte(f"{name}, after")
        comparisons.append(TextComparison(name, first, second, difference, verdict))
    return comparisons


def _read(kept: Path, depends_on: Mapping[str, Any]) -> MeasuredBase | None:
    """What is kept, where it was measured under these conditions; a damaged file is as good as none."""
    try:
        facts = read_json(kept)
        if facts["depends_on"] != depends_on:
            return None
        likelihoods = {
            name: Likelihood(np.array(one["bits"]), np.array(one["bytes"]), one["tokens"])
            for name, one in facts["likelihoods"].items()
        }
        return MeasuredBase(depends_on["weights"], likelihoods, facts["own_texts"])
    except (ModelError, KeyError, TypeError):
        return None
