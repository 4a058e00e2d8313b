"""Encoders that restore masked tokens, and may tell whether two texts follow one another: BERT and its relatives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from operator import eq
from pathlib import Path
from typing import ClassVar, Literal

from lmworks.basics.terminal import for_shell
from lmworks.evaluation import statistics
from lmworks.evaluation.held_out import classified, held_out_losses, nats_per_token, restored
from lmworks.evaluation.measurement import Measurement
from lmworks.jobs.tasks.task import Task, TaskKind
from lmworks.language_model import LanguageModel
from lmworks.objectives import MaskedLM
from lmworks.text.document import Document
from lmworks.text.sentences import sentences
from lmworks.tokens.rows import Rows
from lmworks.tokens.sentence_pairs import Passages, SentencePairs, Sentences, write_sentences
from lmworks.tokens.tokenizer import Tokenizer

SUFFIX = ".safetensors"


class Masked(Task):
    """Masked tokens of passages of whole sentences."""

    def write(self, documents: Sequence[Document], tokenizer: Tokenizer, place: Path) -> None:
        """See Task."""
        write_sentences(documents, tokenizer, place.with_suffix(SUFFIX))

    def open(self, place: Path, tokenizer: Tokenizer) -> Sentences:
        """See Task."""
        return Sentences(place.with_suffix(SUFFIX), tokenizer, self.name_of(place))

    def rows(self, packed: Sentences, tokenizer: Tokenizer) -> Rows:
        """See Task."""
        return Passages(packed, tokenizer, self.recipe.training.context)

    def measure(self, model: LanguageModel, held_out: Sentences, documents: Sequence[Document]) -> list[Measurement]:
        """The loss of masked tokens, and the share of them that is restored; over rows."""
        objective, rows = self.plain(model.tokenizer).parts()[0], self.held_out_rows(held_out, model.tokenizer)
        assert isinstance(objective, MaskedLM)
        parts = held_out_losses(model.network, objective, rows, size=1, most=self.recipe.validation.tokens)
        figure = nats_per_token("masked tokens", parts, model.tokenizer.vocab_size)
        told = restored(model.network, objective, rows, self.recipe.validation.tokens)
        stood = Counter(token for tokens, _ in told for token in tokens)
        hits, of = [sum(map(eq, *one)) for one in told], [len(tokens) for tokens, _ in told]
        right = statistics.ratio_of_sums(hits, of, bounds=(0, 1))
        return [
            figure,
            Measurement(
                name="masked tokens restored",
                value=right.value,
                unit="right",
                interval=right.interval,
                n=len(told),
                seeds=(0,),
                chance=max(stood.values()) / stood.total(),  # who always says the commonest
                ideal=1.0,
            ),
        ]

    def example(self, documents: Sequence[Document]) -> str:
        """A held-out sentence of middling length."""
        found = [one for document in documents for one in sentences(document.text) if 8 <= len(one.split()) <= 25]
        plain = [one for one in found if one[0].isalpha() and one.replace(" ", "").isascii()] or found
        return " ".join(plain[len(plain) // 2].split()) if plain else ""

    def sample(self, model: LanguageModel, example: str) -> Iterator[str]:
        """A few words of a held-out sentence masked, and what the model puts there."""
        words = example.split()
        if len(words) < 4:
            yield "(no held-out sentence is fit to be shown)"
            return
        for at in sorted({len(words) // 4, len(words) // 2, 3 * len(words) // 4}):
            gap = " ".join([*words[:at], model.tokenizer.special[model.tokenizer.require_mask()], *words[at + 1 :]])
            (guesses,) = model.fill(gap, top=3)
            shown = ", ".join(f"{guess.text} {guess.probability:.0%}" for guess in guesses)
            yield f"{gap}\n    {shown}   (it was {words[at]})\n"

    def next_steps(self, folder: Path) -> str:
        """See Task."""
        in_python = f"lmworks.load({str(folder)!r}).fill('... [MASK] ...') and .embed([...])"
        return f"lmworks check {for_shell(folder)}     in Python {in_python}"


class MaskedPairs(Masked):
    """Masked tokens of pairs of texts, and whether the second follows the first; the wrong ones are from elsewhere."""

    loss_unit = "nats (masked token + pair)"
    wrong: ClassVar[Literal["random", "swapped"]] = "random"
    """What a wrong pair is."""
    figure: ClassVar[str] = "next sentence"
    """What the share of pairs that are told is called."""

    def rows(self, packed: Sentences, tokenizer: Tokenizer) -> Rows:
        """See Task."""
        return SentencePairs(packed, tokenizer, self.recipe.training.context, wrong=self.wrong)

    def measure(self, model: LanguageModel, held_out: Sentences, documents: Sequence[Document]) -> list[Measurement]:
        """The figures of masked tokens; the share of pairs that are told, with nothing masked."""
        pairs = classified(model.network, self.held_out_rows(held_out, model.tokenizer), self.recipe.validation.tokens)
        right = sum(true == chosen for true, chosen in pairs)
        estimate = statistics.proportion(right, len(pairs))
        return [
            *super().measure(model, held_out, documents),
            Measurement(
                name=self.figure,
                value=estimate.value,
                unit="right",
                interval=estimate.interval,
                n=len(pairs),
                seeds=(0,),
                chance=0.5,
                ideal=1.0,
            ),
        ]


class MaskedSwapped(MaskedPairs):
    """The same with pairs of which the wrong ones are swapped."""

    wrong = "swapped"
    figure = "sentence order"


FILLING = TaskKind("filling", Masked)
FILLING_NEXT = TaskKind("filling+next-sentence", MaskedPairs)
FILLING_ORDER = TaskKind("filling+sentence-order", MaskedSwapped)
