"""Shadow adapters: models that are tuned as one was, each on half of the same texts, so that what a text's score is
with it and without it is known (LiRA; Carlini et al. 2022, https://arxiv.org/abs/2112.03570).

    shadows = Shadows(recipe, base, Path("models/notes.shadows"), count=8)
    with_it, without_it = shadows.scores(texts)       # of each text, its scores under either kind of shadow
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lmworks.basics import progress
from lmworks.basics.errors import Stopped
from lmworks.basics.files import says_why, write_json
from lmworks.evaluation.privacy.membership import MembershipTexts, scored
from lmworks.jobs.build import build
from lmworks.jobs.recipe import Recipe
from lmworks.loading import load
from lmworks.text.corpus.folder import REPORT
from lmworks.text.document import Document

FEW = 3
"""Texts that a shadow holds out, which are needed to have some."""


@dataclass(frozen=True)
class Shadows:
    """Models tuned by a recipe on halves of the texts, drawn by their number."""

    recipe: Recipe
    base: str
    folder: Path
    """They are kept there: what was stopped goes on."""
    count: int

    def scores(self, texts: MembershipTexts) -> tuple[list[list[float]], list[list[float]]]:
        """Of each text, members first, its mean log-probability under the shadows that learnt it, and under those that
        did not."""
        every = [*texts.members, *texts.others]
        learnt: list[list[float]] = [[] for _ in every]
        unseen: list[list[float]] = [[] for _ in every]
        with progress.task("shadow models", self.count, "models") as advance:
            for number in range(self.count):
                taught = self._tuned(number, every)
                found = scored(load(str(self.folder / f"{number}")), texts)
                for at, (document, score) in enumerate(zip(every, [*found[0], *found[1]], strict=True)):
                    (learnt if document.hash in taught else unseen)[at].append(score.logprob)
                advance(1)
        return learnt, unseen

    def _tuned(self, number: int, every: Sequence[Document]) -> set[str]:
        """Tune a shadow where it is not there yet; the hashes of what it learnt."""
        half, out = _half(every, number), self.folder / str(number)
        if not (out / "lmworks.json").is_file():
            text, run = self.folder / f"{number}-text", self.folder / f"{number}.run"
            _write(text, half, every)
            chosen = self.recipe.but(
                model=self.recipe.model.but(reference=self.base),
                data=self.recipe.data.but(text=str(text)),
                canaries={},
                evaluation={"tokens": 64},
                grounding={"index": False},
            )
            shutil.rmtree(run, ignore_errors=True)  # of one that was stopped
            try:
                with progress.hidden():
                    build(out=out, recipe=chosen)
            except Stopped:
                raise Stopped(f"stopped; the models in {self.folder} are kept: the same command goes on") from None
            shutil.rmtree(run, ignore_errors=True)
        return {one.hash for one in half}


def _half(every: Sequence[Document], number: int) -> list[Document]:
    """Texts of a shadow; the next one has the other half, so that every pair of them has each text once."""
    drawn = set(random.Random(f"shadows/{number // 2}").sample(range(len(every)), len(every) // 2))
    return [one for at, one in enumerate(every) if (at in drawn) == (number % 2 == 0)]


def _write(folder: Path, half: Sequence[Document], every: Sequence[Document]) -> None:
    """A corpus whose split is known: the half to train on, and a few of the others held out."""
    taught = {one.hash for one in half}
    others = [one for one in every if one.hash not in taught][:FEW]
    with says_why(folder):
        for side, documents in (("train", half), ("held_out", others)):
            (folder / side).mkdir(parents=True, exist_ok=True)
            lines = "".join(json.dumps(one.record, ensure_ascii=False) + "\n" for one in documents)
            (folder / side / "texts.jsonl").write_text(lines, encoding="utf-8")
        write_json(folder / REPORT, {})
