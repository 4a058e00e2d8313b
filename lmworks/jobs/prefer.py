"""Train a model on pairs of answers, of which one is liked more: `build` with another objective.

result = prefer("smollm2", "pairs.jsonl", loss="dpo", beta=0.1, out="models/polite")
print(result.further)                        # what the model prefers now, on pairs that it has not seen
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from lmworks.adaptation.declaration import Original, Setup
from lmworks.adaptation.reference import kept_references, references, rows_digest
from lmworks.basics.arguments import checked
from lmworks.basics.errors import DataError
from lmworks.evaluation.measurement import Measurement
from lmworks.evaluation.preferences import figures, judge
from lmworks.jobs.build import BuildResult, build
from lmworks.jobs.build_text import Tokenizes, length_of, refusal_by, say_split
from lmworks.jobs.learning import Learning, Say
from lmworks.jobs.prefer_recipe import PAIRS, PreferRecipe, recipe_of
from lmworks.jobs.recipe import Recipe
from lmworks.jobs.runs import say_skipped
from lmworks.jobs.tune import marked
from lmworks.language_model import LanguageModel
from lmworks.loading import fingerprint, load_tokenizer, must_learn_text
from lmworks.objectives.loss import Objective
from lmworks.objectives.preference import Preference
from lmworks.text.corpus.folder import corpus_of, read_split
from lmworks.text.document import Document, said
from lmworks.text.sources import read, without_refused
from lmworks.text.splits import Split, data_hash, split_by_prompt
from lmworks.tokens.answer_pairs import AnswerPair, pack_pairs, pair_of, with_references
from lmworks.tokens.batch import Row
from lmworks.tokens.chat.conversation import refusal
from lmworks.tokens.tokenizer import Tokenizer

REFERENCE = "reference.json"
"""What the model gives to each answer before its first step, in a run's folder."""
LONGEST = 100_000
"""Tokens of a pair that a preview shows."""


@checked
def prefer(  # noqa: PLR0913 (each is a choice that people know by name)
    model: str | os.PathLike[str],
    data: str | os.PathLike[str],
    method: str | None = None,
    retain: str | None = None,
    beta: float | None = None,
    loss: str | None = None,
    out: str | os.PathLike[str] | None = None,
    *,
    recipe: str | Path = PAIRS,
    changes: Sequence[str] = (),
    resume: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> BuildResult:
    """Train `model` on pairs of a better and a worse answer; a result as of `build`, whose `further` figures say what
    the model prefers on held-out pairs. What is None is as the recipe says: LoRA by DPO, unless it is another."""
    chosen = recipe_of(recipe, method=method, retain=retain, beta=beta, loss=loss, changes=changes)
    return build(data, model, out, recipe=chosen, resume=resume, learning=Preferring(), say=say)


def preview(model: str, data: str | os.PathLike[str], count: int = 3, say: Say = lambda line: None) -> list[str]:
    """The first pairs as the model reads them, each answer under its name, with what is learnt in brackets; says what
    is left out. DataError where there are none."""
    must_learn_text(model)
    tokenizer = load_tokenizer(model)
    corpus = corpus_of(str(data))
    reading = without_refused(read(str(data) if corpus is None else corpus / "train"), partial(refusal, tokenizer))
    say_skipped(reading, say)
    pairs = [pair_of(one, tokenizer, LONGEST) for one in usable(reading.documents, str(data), say)[:count]]
    return [
        f"chosen: {marked(tokenizer, pair.chosen)}\n\nrejected: {marked(tokenizer, pair.rejected)}" for pair in pairs
    ]


@dataclass
class Preferring(Learning):
    """Of pairs of answers."""

    compares_with_base = True

    learnt: list[Row] = field(default_factory=list)
    held_out: list[AnswerPair] = field(default_factory=list)
    texts: str = ""
    """Hash of the pairs that are learnt, as text."""
    lengths: dict[str, Any] = field(default_factory=dict)

    def objective(self, recipe: Recipe) -> Objective:
        """See Learning."""
        assert isinstance(recipe, PreferRecipe)
        return Preference(recipe.preference, getattr(recipe, recipe.loss))

    def read(self, recipe: Recipe, say: Say) -> Split:
        """See Learning: pairs without a difference are left out, and all answers to a prompt stay together."""
        corpus, refused = corpus_of(recipe.data.text), refusal_by(recipe.model.reference)
        if corpus is None:
            reading = without_refused(read(recipe.data.text), refused)
            say_skipped(reading, say)
            pairs = usable(reading.documents, recipe.data.text, say)
            parts = split_by_prompt(pairs, recipe.data.held_out)
        else:  # which has a split of its own, by prompts too
            reading, both = read_split(recipe.data.text, recipe.data.held_out, refusal=refused)
            say_skipped(reading, say)
            train, kept = (usable(side, recipe.data.text, say) for side in (both.train, both.held_out))
            pairs, parts = [*train, *kept], Split(train, kept, both.duplicates)
        repeated = len(pairs) - len({str((one.messages or ())[:-1]) for one in pairs})
        if repeated:
            say(f"prompts        repeated {repeated:,} times; all pairs of a prompt are on one side of the split")
        say_split(reading.name, parts, say)
        return parts

    def rows(self, recipe: Recipe, model: Tokenizes, parts: Split, say: Say) -> list[Row]:
        """See Learning."""
        settings = recipe.training
        learnt, self.held_out = (
            _fitting(sorted(side, key=lambda one: one.hash), model.tokenizer, settings.context, say)
            for side in (parts.train, parts.held_out)
        )
        self.texts = data_hash(parts.train)
        self.learnt = pack_pairs(learnt, settings.context, seed=settings.seed)
        self.lengths = _lengths(learnt)
        length = length_of(recipe.training, len(self.learnt))
        say(f"to train       {len(learnt):,} pairs in {len(self.learnt):,} rows of {settings.context} tokens, {length}")
        return self.learnt

    def before_the_first_step(self, recipe: Recipe, setup: Setup, base: Original, run: Path, resume: bool) -> Setup:
        """See Learning: what the model gives to each answer before it is trained is kept with the run."""
        assert isinstance(recipe, PreferRecipe)
        count = len(self.learnt)
        if not recipe.preference.looks_back:
            rows = with_references(self.learnt, [[0.0] * len(row) for row in self.learnt])
            return replace(setup, rows=[*rows, *setup.rows[count:]])
        if not resume:
            (run / REFERENCE).unlink(missing_ok=True)
        model = base.model
        assert model is not None and model.source is not None
        depends_on = {
            "model": fingerprint(model.source),
            "set of pairs": self.texts,
            "chat template or tokenizer": rows_digest(self.learnt),
            "type of weights": str(model.network.dtype),
        }
        found = kept_references(
            run / REFERENCE, depends_on, lambda: references(setup.network, setup.rows, recipe.training)
        )
        return replace(setup, rows=[*with_references(self.learnt, found[:count]), *setup.rows[count:]])

    def measure(
        self, recipe: Recipe, model: LanguageModel, base: Callable[[], Callable[[Tensor], Tensor]]
    ) -> list[Measurement]:
        """See Learning: of held-out pairs, in the order of their hashes, about `evaluation.tokens` tokens."""
        chosen, left = [], recipe.evaluation.tokens
        for pair in self.held_out:
            if left <= 0:
                break
            chosen.append(pair)
            left -= pair.size
        return figures(judge(model, chosen, base()))

    def facts(self) -> dict[str, Any]:
        """See Learning."""
        return {"pairs": self.lengths}


def usable(documents: Sequence[Document], name: str, say: Say = lambda line: None) -> list[Document]:
    """The pairs among documents; says what is left out, and why. DataError where none is left."""
    found = [(one, why_useless(one)) for one in documents]
    for reason in sorted({reason for _, reason in found if reason}):
        sources = [one.source for one, other in found if other == reason]
        say(f"left out       {len(sources):,} with {reason}, the first {sources[0]}")
    if not (kept := [one for one, reason in found if not reason]):
        raise DataError(
            f"{name} holds no pair to learn from: {found[0][0].source} has {found[0][1]}; give records with `prompt`, "
            "`chosen` and `rejected`"
        )
    return kept


def why_useless(document: Document) -> str:
    """What is wrong with a pair, after "with"; "" for a good one."""
    if document.messages is None or document.rejected is None:
        return "no two answers to prefer one of"
    answers = [said(turns[-1]).strip() for turns in (document.messages, document.rejected)]
    if not all(answers):
        return "an empty answer"
    return "two answers that are equal" if answers[0] == answers[1] else ""


def _fitting(documents: Sequence[Document], tokenizer: Tokenizer, context: int, say: Say) -> list[AnswerPair]:
    """Pairs that fit a row, whole; says how many do not. DataError where none does."""
    pairs, errors = [], []
    for document in documents:
        try:
            pairs.append(pair_of(document, tokenizer, context))
        except DataError as error:
            errors.append(str(error))
    if not pairs:
        raise DataError(errors[0])
    if errors:
        say(f"left out       {len(errors):,} of {len(documents):,} pairs that do not fit a row, the first {errors[0]}")
    return pairs


def _lengths(pairs: Sequence[AnswerPair]) -> dict[str, Any]:
    """How long the answers are that are learnt from: what is longer may be preferred for that alone."""
    sizes = [tuple(sum(one.supervised) for one in pair.both) for pair in pairs]
    means = [sum(one[side] for one in sizes) / len(sizes) for side in (0, 1)]
    longer = sum(chosen > rejected for chosen, rejected in sizes) / len(sizes)
    return {
        "learnt": len(pairs),
        "tokens of the chosen": round(means[0], 1),
        "tokens of the rejected": round(means[1], 1),
        "chosen is longer": round(longer, 3),
    }
