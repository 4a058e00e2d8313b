"""What a tuned model gives away of its text: canaries that were planted, and who can be told to have been in it.

found = privacy("models/notes")
print(found.measurements)

The model's own lmworks.json says what it was trained on and what was held out: one text without duplicates, split at
random by each document's hash, which is what a test of membership needs.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmworks.basics.arguments import checked
from lmworks.basics.errors import ConfigError, DataError
from lmworks.basics.files import as_reference, beside
from lmworks.evaluation.measurement import Measurement
from lmworks.evaluation.privacy import canaries as planted
from lmworks.evaluation.privacy.membership import MembershipTexts, area, attacks, blind, caught, lira, scored, too_few
from lmworks.jobs.build_text import refusal_by, with_counterparts
from lmworks.jobs.recipe import Recipe
from lmworks.jobs.shadows import Shadows
from lmworks.language_model import LanguageModel
from lmworks.loading import load, network_path
from lmworks.models.files.model_folder import read_facts
from lmworks.text.corpus.folder import read_split
from lmworks.text.document import Document
from lmworks.text.sources import must_be_somewhere, read
from lmworks.text.splits import data_hash

MOST = 2_000
"""Texts of a side that are looked at, unless said otherwise."""
GIVE = "give --members and --non-members"
"""What is to be done where the text is not known."""


@dataclass(frozen=True)
class Leakage:
    """What a model gives away."""

    model: str
    canaries: list[tuple[Measurement, float]]
    """Exposure by number of repeats, each with the probability that it is chance; empty where none were planted."""
    base_canaries: list[tuple[Measurement, float]]
    """The same under the base, which has not seen them."""
    membership: list[Measurement]
    """AUC of each attack, and the share of members told at 1 % false alarms where there are enough non-members."""
    blind: Measurement | None
    """AUC of a classifier that sees the texts and no model: above chance, the others mean nothing."""
    not_told: str | None
    """Why membership was not measured, in a sentence; None where it was."""
    members: int
    others: int
    private: dict[str, Any] | None
    """What the run promised, where it was private."""

    @property
    def measurements(self) -> list[Measurement]:
        """All figures."""
        of_canaries = [one for one, _ in (*self.canaries, *self.base_canaries)]
        return [*of_canaries, *self.of_members]

    @property
    def of_members(self) -> list[Measurement]:
        """Those of membership, the blind one last."""
        return [*self.membership, *([self.blind] if self.blind else [])]


@checked
def privacy(
    model: str | os.PathLike[str],
    *,
    members: str | os.PathLike[str] | None = None,
    others: str | os.PathLike[str] | None = None,
    base: str | os.PathLike[str] | None = None,
    limit: int = MOST,
    tokens: int | None = None,
    shadows: int = 0,
) -> Leakage:
    """What the model in a folder gives away of the text that it was tuned on.

    `members` and `others` name texts in place of those that lmworks.json speaks of, and `base` the model that it
    was tuned from. Of each side at most `limit` texts, and of each text the first `tokens` (those of a training row,
    unless given). DataError where the text is not what the model was trained on, and for fewer than five texts of a
    side where there are no canaries either; ConfigError where nothing says what it was.

    `shadows` models more are tuned by the same recipe on halves of the texts, in a folder beside the model's: the
    strongest attack, which costs as many runs.
    """
    model, base = as_reference(model), as_reference(base)
    network_path(model, base)  # what is no model is said before what it was trained on is asked for
    facts = _facts(model)
    recipe = recipe_of(facts)
    sides = _sides(model, as_reference(members), as_reference(others), recipe, facts)
    if shadows and (recipe is None or shadows < 4):
        raise ConfigError(
            f"{shadows} shadow models are tuned as {model} was; give 4 or more, and a model whose folder has a recipe"
        )
    secrets = planted.of_recipe(recipe.canaries) if recipe else []
    why = too_few(*(min(len(side), limit) for side in sides))
    if why and not secrets:  # before the models are loaded and read for minutes
        raise DataError(why)
    tuned = load(model)
    window = min(tokens or (recipe.training.context if recipe else 512), tuned.longest)
    texts = MembershipTexts(_first(sides[0], limit), _first(sides[1], limit), window)
    reference = base or (facts.get("base") or {}).get("reference")
    untuned = load(reference) if reference else None
    lines, by_words = ([], None) if why else _membership(tuned, untuned, texts)
    if shadows and recipe is not None and not why:
        lines += _by_shadows(Shadows(recipe, base or recipe.model.reference, _beside(model), shadows), tuned, texts)
    return Leakage(
        model,
        planted.measured(planted.exposures(tuned, secrets), "") if secrets else [],
        planted.measured(planted.exposures(untuned, secrets), ", the base") if secrets and untuned else [],
        lines,
        by_words,
        why,
        len(texts.members),
        len(texts.others),
        facts.get("private"),
    )


def _sides(
    model: str, members: str | None, others: str | None, recipe: Recipe | None, facts: dict[str, Any]
) -> tuple[list[Document], list[Document]]:
    """The texts that are named; without any, those that the model was trained on and those that were held out."""
    if (members is None) != (others is None):
        raise ConfigError("give both texts, of members and of non-members, or neither")
    if members is not None and others is not None:
        must_be_somewhere(others)  # before the first is read
        sides = read(members).documents, read(others).documents
        learnt = {one.hash for one in sides[0]}
        if shared := [one.source for one in sides[1] if one.hash in learnt]:
            raise DataError(
                f"{len(shared):,} of the texts of {others} stand in {members} too ({shared[0]}), and nobody can tell "
                "whether those were learnt; leave them out of one of the two"
            )
        return sides
    if recipe is not None:
        return split_of(recipe, facts, model)
    raise ConfigError(f"{model} does not say what it was trained on; {GIVE}, two texts drawn at random from one pool")


def _membership(
    tuned: LanguageModel, base: LanguageModel | None, texts: MembershipTexts
) -> tuple[list[Measurement], Measurement]:
    """What each attack tells, and what the words alone do."""
    found = attacks(scored(tuned, texts), scored(base, texts) if base else None)
    lines = [area(f"membership by {name}", *sides) for name, sides in found.items()]
    lines += [one for name, sides in found.items() if (one := caught(f"members told by {name}", *sides)) is not None]
    return lines, area("membership by the words alone", *blind(texts))


def _beside(model: str) -> Path:
    """The folder of a model's shadows."""
    return beside(Path(model), "", ".shadows")


def _by_shadows(shadows: Shadows, tuned: LanguageModel, texts: MembershipTexts) -> list[Measurement]:
    """What the shadows tell of members."""
    own = [one.logprob for side in scored(tuned, texts) for one in side]
    ratios, members = lira(own, *shadows.scores(texts)), len(texts.members)
    sides = ratios[:members], ratios[members:]
    rate = caught("members told by shadows", *sides)
    return [area("membership by shadows", *sides), *([] if rate is None else [rate])]


def _facts(model: str) -> dict[str, Any]:
    """lmworks.json of a folder; nothing for another model."""
    folder = Path(model)
    return read_facts(folder) if folder.is_dir() else {}


def recipe_of(facts: dict[str, Any]) -> Recipe | None:
    """The recipe of lmworks build or tune, where it was one."""
    tables = facts.get("recipe") or {}
    known = {name: value for name, value in tables.items() if name in Recipe.model_fields}
    if "method" not in known or "data" not in known:
        return None
    try:
        return Recipe(**known)
    except ConfigError:
        return None


def split_of(recipe: Recipe, facts: dict[str, Any], model: str) -> tuple[list[Document], list[Document]]:
    """What was learnt, without counterparts, and what was held out. DataError unless the text is the same as then."""
    _, parts = read_split(recipe.data.text, recipe.data.held_out, refusal=refusal_by(recipe.model.reference))
    learnt = with_counterparts(parts, recipe.data.counterfactual).train
    if differs(facts.get("data") or {}, learnt, parts.held_out):
        raise DataError(f"{recipe.data.text} is not the text that {model} was trained on; put that back, or {GIVE}")
    return parts.train, parts.held_out


def differs(said: dict[str, Any], learnt: list[Document], held_out: list[Document]) -> bool:
    """Whether anything that lmworks.json says of its text is not so of these two parts: the hash of each, and how many
    documents they have. A private model says no hash of what it learnt."""
    found = {
        "train": data_hash(learnt),
        "held_out": data_hash(held_out),
        "documents": [len(learnt), len(held_out)],
    }
    return any(name in said and said[name] != value for name, value in found.items())


def _first(documents: list[Document], limit: int) -> list[Document]:
    """The first by their hashes, which is a draw by chance."""
    return sorted(documents, key=lambda one: one.hash)[:limit]
