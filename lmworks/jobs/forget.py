"""A sequence of tasks, learnt one after another: what each way to keep the earlier ones gained, and what it cost.

    result = forget("captions", out="forgetting/captions")
    print(result.finding)                       # result.points are the frontier, result.matrices the scores

The folder keeps the figures of every model that was measured, so a run that was stopped or killed goes on where it was
when it is called again. The first task is learnt once for each seed, by the method alone; from there the ways part, so
that they differ in nothing but what they keep.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lmworks.adaptation.merge_settings import MergeSettings
from lmworks.adaptation.old_text import own_texts
from lmworks.adaptation.router import BEGINNING, LEARNT_FROM, KindOfText, KindRouter, states
from lmworks.adaptation.small_updates import merged_networks
from lmworks.basics import progress
from lmworks.basics.arguments import checked
from lmworks.basics.errors import ConfigError, Stopped
from lmworks.basics.extras import require
from lmworks.basics.files import alone, names_in, says_why, write_json
from lmworks.evaluation.exact import exactly_answered
from lmworks.evaluation.forgetting import CountedText
from lmworks.evaluation.likelihood import counted_tokens, measure
from lmworks.jobs.build import build, check_fit
from lmworks.jobs.forget_recipe import GENERAL, JOINT, NAIVE, ROUTER, SLIDER, ForgetRecipe
from lmworks.jobs.forget_report import Figures, Forgetting, SeedFigures, report
from lmworks.jobs.forget_texts import SequenceTexts, write_joint, write_old
from lmworks.jobs.learning import Learning
from lmworks.jobs.merge import with_weights
from lmworks.jobs.recipe import Recipe
from lmworks.language_model import LanguageModel
from lmworks.loading import identity, load_tokenizer, must_learn_text
from lmworks.models.files.model_folder import FACTS, read_facts, read_json
from lmworks.text.sources import read
from lmworks.tokens.batch import examples_of
from lmworks.training.checkpoint import diverged
from lmworks.training.processes import refuse_ranks

Say = Callable[[str], None]
OWN_FIGURES = 1_024
"""Tokens by which a single run measures itself: the sequence measures all texts, with as many as its recipe says."""


@checked
def forget(
    recipe: str | Path | ForgetRecipe,
    out: str | os.PathLike[str] | None = None,
    *,
    changes: Sequence[str] = (),
    say: Say = lambda line: None,
) -> Forgetting:
    """Train the recipe's tasks one after another, by every way and seed, and measure all texts after each.

    Raises LmworksError with one sentence, before anything is trained where recipe or texts are wrong; Stopped when it
    was interrupted: called again, it continues.
    """
    refuse_ranks("lmworks forget")
    chosen = recipe if isinstance(recipe, ForgetRecipe) else ForgetRecipe.read(recipe, changes)
    if len(chosen.seeds) > 1:
        require("scipy.stats", "lab")  # for the intervals at the end: better missed now than then
    if (config := must_learn_text(chosen.build.model.reference)) is not None:
        for way in (NAIVE, *chosen.ways):
            check_fit(chosen.stage(way, 0), config, Learning())
    name = "sequence" if isinstance(recipe, ForgetRecipe) else Path(recipe).stem
    folder = Path(out) if out is not None else Path("forgetting") / name
    with says_why(folder):
        folder.mkdir(parents=True, exist_ok=True)
    _refuse_foreign(folder)
    texts = SequenceTexts.of(chosen)
    with alone(folder / LOCK, f"waiting for another run in {folder}"):
        write_json(folder / RECIPE, chosen.model_dump(mode="json"))
        reference = chosen.build.model.reference
        depends = {"base": identity(reference), "texts": texts.hashes, "measure": chosen.measure}
        base = LanguageModel.load(reference, dtype=chosen.stage(NAIVE, 0).model.dtype)
        for way in (NAIVE, *chosen.ways):
            check_fit(chosen.stage(way, 0), base, Learning())
        del base
        found: dict[int, SeedFigures] = {}
        with progress.task("sequence", _runs(chosen), "runs") as advance:
            for seed in chosen.seeds:
                found[seed] = _Seed(chosen, folder, texts, seed, depends, say, advance).figures()
        result = report(chosen, folder, found)
        write_json(folder / RESULT, result.facts())
    return result


RECIPE, RESULT, LOCK = "recipe.json", "forget.json", ".lock"
OURS = {RECIPE, RESULT, LOCK, "figures", "models", "texts", "frontier.png", "frontier.svg"}


@dataclass(frozen=True)
class _Seed:
    """One seed's runs."""

    recipe: ForgetRecipe
    folder: Path
    texts: SequenceTexts
    seed: int
    depends: dict[str, Any]
    say: Say
    advance: progress.Advance

    def figures(self) -> SeedFigures:
        """Every way's rows; what is kept is not run again."""
        last = len(self.recipe.order)
        rows = {NAIVE: [self._stage(NAIVE, after) for after in range(last + 1)]}
        slider = {share: self._slid(share, rows[NAIVE]) for share in self.recipe.slider}
        for way in self.recipe.ways:
            rows[way] = [*rows[NAIVE][:2], *(self._stage(way, after) for after in range(2, last + 1))]
            self._remove(way)
        rows[JOINT] = [self._stage(JOINT, last)]
        self._remove(JOINT)
        if self.recipe.router:
            rows[ROUTER] = self._routed()
            self._remove(ROUTER)
        self._remove("")
        return SeedFigures(rows, slider)

    def _stage(self, way: str, after: int) -> Figures:
        """The figures of a way after some tasks: those that are kept, or the model's, which is trained if need be."""
        if after == 0:
            path = self.folder / "figures" / "base.json"
        else:
            path = self._path("figures", way, after).with_suffix(".json")
        depends = self.depends | self._recipes(way, after)
        kept = Figures.read(path, depends, self.folder)
        if kept is None:
            reference = self._model(way, after)
            model = LanguageModel.load(reference, dtype=self.recipe.stage(NAIVE, 0).model.dtype)
            kept = Figures(self._measured(model), _moved(reference))
            kept.write(path, depends)
        if after:
            self.advance(1)
        return kept

    def _measured(self, model: LanguageModel) -> dict[str, CountedText]:
        """Each text under a model, its scores such that higher is better."""
        settings, found = self.recipe.build.evaluation, {}
        for name, documents in self.texts.measured.items():
            if self.recipe.measure == "answers" and name != GENERAL:
                right = exactly_answered(model, documents, name, settings.tokens)
                found[name] = CountedText(
                    np.array(right, float), np.ones(len(right)), np.arange(len(right), dtype=float)
                )
            else:
                likelihood = measure(model, documents, name, window=settings.window, tokens=settings.tokens)
                assert likelihood.document is not None
                found[name] = CountedText(-likelihood.bits, likelihood.bytes, likelihood.document.astype(float))
        return found

    def _model(self, way: str, after: int) -> str:
        """The model of a way after some tasks; trained where it is not there."""
        if after == 0:
            return self.recipe.build.model.reference
        if after == 1 and way != NAIVE:
            return self._model(NAIVE, 1)
        folder = self._path("models", way, after)
        if not (folder / FACTS).exists():
            self._train(way, after, folder)
        return str(folder)

    def _train(self, way: str, after: int, folder: Path) -> None:
        names = self.recipe.order
        self.say(f"\nrun            seed {self.seed}, {way}: {'all tasks' if way == JOINT else names[after - 1]}")
        before = self._model(way, 0 if way in (JOINT, ROUTER) else after - 1)
        chosen = self._recipe(way, after)
        text = self._joint_text() if way == JOINT else self.recipe.tasks[names[after - 1]].text
        chosen = chosen.but(
            model=chosen.model.but(reference=before),
            data=chosen.data.but(text=text),
            evaluation=chosen.evaluation.but(tokens=min(chosen.evaluation.tokens, OWN_FIGURES)),
        )
        if "text" in type(chosen.chosen.kept_by).model_fields and after > 1:
            chosen = chosen.but(**{chosen.retain: self._of_old_text(chosen, way, after)})
        checkpoint = folder.with_name(f"{folder.name}.run") / "checkpoint"
        resume = checkpoint.exists() and not diverged(checkpoint)
        try:
            build(recipe=chosen, out=folder, merge=True, resume=resume, say=self.say)
        except Stopped:
            raise Stopped(f"stopped; what is done stands in {self.folder}: the same command goes on") from None

    def _recipe(self, way: str, after: int) -> Recipe:
        """By what a model of this way is trained; joint training takes as many steps as the whole sequence."""
        chosen = self.recipe.stage(way, self.seed)
        steps = chosen.training.steps
        if way == JOINT and steps is not None:
            return chosen.but(training=chosen.training.but(steps=steps * len(self.recipe.order)))
        return chosen

    def _recipes(self, way: str, after: int) -> dict[str, Any]:
        """All recipes that led to a model: what its figures depend on."""
        if after == 0:
            return {"evaluation": self.recipe.build.evaluation.model_dump(mode="json")}
        ways = [way] if way in (JOINT, ROUTER) else [NAIVE if at == 1 else way for at in range(1, after + 1)]
        return {"recipes": [self._recipe(one, at).model_dump(mode="json") for at, one in enumerate(ways, 1)]}

    def _of_old_text(self, chosen: Recipe, way: str, after: int) -> Any:
        """The retention's table with the text of earlier tasks, and what it names itself. With `ewc.kept` the springs
        of each task are a file, and only the text of the last one is looked at."""
        settings: Any = chosen.chosen.kept_by
        earlier = [self.texts.parts[name].train for name in self.recipe.order[: after - 1]]
        own = [] if settings.text is None else [read(settings.text).documents]
        folder = self.folder / "texts" / f"seed-{self.seed}"
        if getattr(settings, "kept", None) is not None:
            springs = [str(folder / f"{way}-{at}-{settings.kept}") for at in (after - 1, after)]
            settings = settings.but(earlier=springs[0] if after > 2 else settings.earlier, kept=springs[1])
            earlier, own = earlier[-1:], own if after == 2 else []
        return settings.but(text=write_old(folder / f"{way}-{after}.jsonl", [*own, *earlier], self.seed))

    def _joint_text(self) -> str:
        tokenizer = load_tokenizer(self.recipe.build.model.reference)
        settings = self.recipe.build.training
        rows = None if settings.steps is None else settings.steps * settings.rows * settings.accumulate
        return write_joint(
            self.folder / "texts" / f"seed-{self.seed}" / JOINT,
            list(self.texts.parts.values()),
            None if rows is None else rows * settings.context,
            lambda document: sum(len(one.tokens) for one in examples_of(document, tokenizer)),
            self.seed,
        )

    def _slid(self, share: float, naive: list[Figures]) -> Figures:
        """The last naive model with a share of what the last task taught it; its ends are models that are known."""
        if share in (0.0, 1.0):
            return naive[-1 if share else -2]
        last = len(naive) - 1
        path = self.folder / "figures" / f"seed-{self.seed}" / SLIDER / f"{share:g}.json"
        depends = self.depends | self._recipes(NAIVE, last) | {"share": share}
        kept = Figures.read(path, depends, self.folder)
        if kept is None:
            dtype = self.recipe.stage(NAIVE, 0).model.dtype
            before, after = (LanguageModel.load(self._model(NAIVE, at), dtype=dtype) for at in (last - 1, last))
            kept = Figures(self._measured(slid(before, after, share)), None)
            kept.write(path, depends)
        self.advance(1)
        return kept

    def _routed(self) -> list[Figures]:
        """After each task, every document under the model that the router chooses for it; the base is one of them."""
        alone = [self._stage(ROUTER, after) for after in range(len(self.recipe.order) + 1)]
        distances = self._distances()
        rows = [alone[0]]
        for after in range(1, len(alone)):
            texts = dict(alone[0].texts)
            for name, far in distances.items():
                nearest = far[:, : after + 1].argmin(1)
                for kind in range(1, after + 1):
                    documents = {int(at) for at in np.flatnonzero(nearest == kind)}
                    texts[name] = texts[name].chosen(alone[kind].texts[name], documents)
            rows.append(Figures(texts, alone[after].moved))
        return rows

    def _distances(self) -> dict[str, np.ndarray]:
        """By text, how far each document that measures is from what the base writes itself, and from each task."""
        path = self.folder / "figures" / "distances.json"
        kept = read_json(path) if path.is_file() else {}
        if kept.get("depends_on") != self.depends:
            model = LanguageModel.load(self.recipe.build.model.reference, dtype=self.recipe.stage(NAIVE, 0).model.dtype)
            tokens = self.recipe.build.evaluation.tokens
            kinds = [KindOfText.of(states(model, own_texts(model, LEARNT_FROM, BEGINNING)))]
            for name, split in self.texts.parts.items():
                read = counted_tokens(model, split.train, name, LEARNT_FROM * BEGINNING)
                kinds.append(KindOfText.of(states(model, [ids for ids, _ in read[:LEARNT_FROM]])))
            router = KindRouter.of(kinds)
            far = {
                name: router.distances(states(model, [ids for ids, _ in counted_tokens(model, given, name, tokens)]))
                for name, given in self.texts.measured.items()
            }
            kept = {"depends_on": self.depends, "texts": {name: one.tolist() for name, one in far.items()}}
            write_json(path, kept)
        return {name: np.array(one) for name, one in kept["texts"].items()}

    def _path(self, kind: str, way: str, after: int) -> Path:
        name = "all" if way == JOINT else self.recipe.order[after - 1]
        return self.folder / kind / f"seed-{self.seed}" / way / f"{after}-{name}"

    def _remove(self, way: str) -> None:
        """Remove a way's models, or all of the seed, unless they are to be kept."""
        if not self.recipe.keep_models:
            for kind in ("models", "texts"):
                if not (way and kind == "texts"):
                    shutil.rmtree(self.folder / kind / f"seed-{self.seed}" / way, ignore_errors=True)


def slid(before: LanguageModel, after: LanguageModel, share: float) -> LanguageModel:
    """A model between two: the first with a share of what the second has learnt since; 0 and 1 are these, to the
    bit."""
    put, _ = merged_networks(before.network, [after.network], MergeSettings((1.0,), keep=share))
    return with_weights(before, put)


def _moved(folder: str) -> dict[str, Any] | None:
    """How far a model moved from the one before it on the text that it learnt."""
    figures = read_facts(Path(folder)).get("measurements", []) if Path(folder).is_dir() else []
    return next((one for one in figures if one["name"].startswith("KL(base, tuned)")), None)


def _runs(recipe: ForgetRecipe) -> int:
    later = len(recipe.order) - 1
    between = sum(0 < share < 1 for share in recipe.slider)
    return len(recipe.seeds) * (later + 2 + later * (len(recipe.ways) + recipe.router) + between)


def _refuse_foreign(folder: Path) -> None:
    """ConfigError for a folder that holds anything but a sequence."""
    if foreign := [one for one in names_in(folder) if one not in OURS]:
        raise ConfigError(f"{folder} holds {foreign[0]} and no sequence of tasks; give another --out")
