"""A private run of `build` or `train`: each document a row of its own, the noise that its epsilon needs, what it then
promises.

Of a private run's folder nothing but the weights may be given away that depends on the text that was learnt: so the
model directory has no log of losses, and lmworks.json neither the training loss, nor a hash of that text, nor what of
other text stands in it.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lmworks.basics.amounts import counted
from lmworks.basics.errors import ConfigError, ModelError
from lmworks.jobs.build_text import Say, Tokenizes, length_of
from lmworks.jobs.recipe import Recipe
from lmworks.jobs.training_recipe import TrainRecipe
from lmworks.text.splits import PART_OF, Split
from lmworks.tokens.batch import Row, examples_of, pack
from lmworks.training.loop import steps_of
from lmworks.training.private.accounting import epsilon, noise_for
from lmworks.training.private.dp_sgd import Private

AnyRecipe = Recipe | TrainRecipe
KEY = "private.key"
"""What a run's sampling and noise follow from, in its folder until it is over."""


@dataclass(frozen=True)
class Promise:
    """What a private run promises, and by what."""

    epsilon: float
    """Whether any one unit was trained on changes the odds of no result by more than e^epsilon, ..."""
    delta: float
    """... but with this probability."""
    unit: str
    """What is protected: a document, or a piece of one."""
    units: int
    """How many were trained on; this number itself is not protected."""
    noise: float
    """As a multiple of `clip`."""
    clip: float
    """The longest gradient of a unit."""
    rate: float
    """The probability with which a step reads a unit."""
    steps: int
    """Steps that were counted."""
    accountant: str = "dp-accounting, privacy loss distributions; Poisson sampling, one unit added or removed"

    @property
    def facts(self) -> dict[str, Any]:
        """What lmworks.json says."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"epsilon {self.epsilon:.2f} at delta {self.delta:.1e} for each {self.unit}: noise {self.noise:.2f} x clip "
            f"{self.clip:g}, {counted(self.steps, 'step')} of {self.rate * self.units:g} of {self.units:,} on average"
        )


def private_rows(recipe: AnyRecipe, model: Tokenizes, parts: Split, say: Say) -> list[Row]:
    """Each document, or each piece of one, as a row of its own; says what was left out. ConfigError for documents that
    were cut into parts where it is documents that are protected."""
    context = recipe.training.context
    whole = next((of for document in parts.train if (of := document.metadata.get(PART_OF))), None)
    if whole is not None and recipe.private.unit == "document":
        raise ConfigError(
            f"{whole[0]} is more than half of all the text and was cut into parts, of which private training would "
            "protect each by itself; give several documents, or set private.unit=piece"
        )
    cut = [pack(examples_of(document, model.tokenizer), context) for document in parts.train]
    unit = recipe.private.unit
    rows = [row for pieces in cut for row in (pieces[:1] if unit == "document" else pieces)]
    say(f"to train       {len(rows):,} {unit}s of up to {context} tokens, {length_of(recipe.training, len(rows))}")
    longer = sum(len(pieces) > 1 for pieces in cut)
    if longer and unit == "document":
        say(
            f"left out       what {longer:,} of them have beyond that; a larger training.context reads more of a "
            "document, and private.unit=piece protects each piece by itself"
        )
    return rows


def promise(recipe: AnyRecipe, units: int) -> Promise:
    """What a run over that many rows promises. ConfigError where it would protect nobody, or there is no such run."""
    settings, training = recipe.private, recipe.training
    steps = steps_of(training, units)
    assert steps is not None
    expected = training.rows * training.accumulate
    if expected > units:
        raise ConfigError(
            f"a step reads training.rows x training.accumulate = {expected:,} {settings.unit}s on average, and there "
            f"are {units:,}; take fewer"
        )
    delta = settings.delta or 0.1 / units
    if delta >= 1 / units:
        raise ConfigError(
            f"private.delta is {delta:g}, and with {units:,} {settings.unit}s to learn from it must be below 1 / "
            f"{units:,} = {1 / units:.2g}: at that, a run that gives one of them away would count as private"
        )
    rate = expected / units
    try:
        noise = settings.noise or noise_for(settings.epsilon or 0.0, rate, steps, delta)
    except ConfigError as error:
        raise error.inside(("private",)) from None
    spent = epsilon(noise, rate, steps, delta)
    return Promise(spent, delta, settings.unit, units, noise, settings.clip, rate, steps)


def way_of(made: Promise, recipe: AnyRecipe, run: Path, resume: bool) -> Private:
    """How the run keeps its promise; a fresh one draws its key, and a resumed one reads it."""
    path, seed = run / KEY, recipe.private.seed
    if seed is not None:
        key = hashlib.sha256(f"lmworks private {seed}".encode()).digest()
    elif resume:
        if not path.is_file():
            raise ModelError(
                f"{path} is missing, without which the run's noise cannot go on; remove {run} to start afresh"
            )
        key = bytes.fromhex(path.read_text("utf-8"))
    else:
        key = secrets.token_bytes(32)
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(key.hex())
    return Private(made.clip, made.noise, made.units, round(made.rate * made.units), key)


def without_private(facts: dict[str, Any]) -> None:
    """Take out of lmworks.json what depends on the text that was learnt and has no noise: its hash, by which a guess at
    it could be tried, its duplicates, the steps' losses and tokens; and the seed, by which the noise could be made."""
    for name in ("train", "duplicates"):
        del facts["data"][name]
    facts["data"].pop("tokens", None)  # of `train`
    for name in ("first_loss", "last_loss", "tokens"):
        del facts["training"][name]
    del facts["recipe"]["private"]["seed"]
