"""Encoder-decoders that put back what was cut out of a text: T5's pretraining."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from lmworks.basics.terminal import for_shell
from lmworks.evaluation.held_out import held_out_losses, nats_per_token
from lmworks.evaluation.measurement import Measurement
from lmworks.jobs.tasks.task import Task, TaskKind
from lmworks.jobs.tasks.writing import Writing
from lmworks.language_model import LanguageModel
from lmworks.models.network import Network
from lmworks.objectives import SpanCorruption
from lmworks.text.document import Document
from lmworks.tokens.shards import Shards
from lmworks.tokens.tokenizer import Tokenizer


class Spans(Writing):
    """The packed text of a decoder, cut up anew each time that a row is read."""

    bits_per_byte = False

    def validation_loss(self, network: Network, tokenizer: Tokenizer, held_out: Shards) -> float:
        """See Task: nats per token of the targets, of spans that never change."""
        return Task.validation_loss(self, network, tokenizer, held_out)

    def measure(self, model: LanguageModel, held_out: Shards, documents: Sequence[Document]) -> list[Measurement]:
        """The loss of what was cut out, over rows."""
        objective, rows = self.plain(model.tokenizer), self.held_out_rows(held_out, model.tokenizer)
        parts = held_out_losses(model.network, objective, rows, size=1, most=self.recipe.validation.tokens)
        return [nats_per_token("spans cut out", parts, model.tokenizer.vocab_size)]

    @property
    def prompt(self) -> str:
        """None: a held-out text is shown."""
        return ""

    def example(self, documents: Sequence[Document]) -> str:
        """The beginning of a held-out text."""
        return " ".join(documents[0].text.split()[:40])

    def sample(self, model: LanguageModel, example: str) -> Iterator[str]:
        """A held-out text with spans cut out, and what the model puts there."""
        objective, tokenizer = self.plain(model.tokenizer), model.tokenizer
        assert isinstance(objective, SpanCorruption)
        ids = tokenizer.encode(example, special=False)[: model.longest // 2]
        source, target = objective.corrupted(ids, 0)
        written = model.generate(source, max_new_tokens=min(2 * len(target), model.longest - 2))
        for name, ids in (("source", source), ("written", written.tokens), ("target", target)):
            yield f"{name:<9}{tokenizer.decode(ids, skip_special=False)}\n"

    def next_steps(self, folder: Path) -> str:
        """See Task."""
        return f"lmworks check {for_shell(folder)}     or tune it on pairs (objective.kind = 'seq2seq')"


RESTORING = TaskKind("restoring", Spans)
