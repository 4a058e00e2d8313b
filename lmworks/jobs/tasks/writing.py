"""Decoders that write: language models of packed text, measured in bits per byte."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from lmworks.basics.errors import DataError
from lmworks.basics.terminal import for_shell
from lmworks.evaluation.likelihood import measure
from lmworks.evaluation.measurement import Measurement
from lmworks.evaluation.stream import stream_loss
from lmworks.generation.strategies import Greedy, Sample
from lmworks.jobs.tasks.task import Task, TaskKind
from lmworks.language_model import LanguageModel
from lmworks.models.network import Network
from lmworks.text.document import Document
from lmworks.tokens.rows import PackedRows, ShardRows, Windows
from lmworks.tokens.shards import Shards, write_shards
from lmworks.tokens.tokenizer import Tokenizer


class Writing(Task):
    """Each next token from those before it."""

    bits_per_byte = True

    def write(self, documents: Sequence[Document], tokenizer: Tokenizer, place: Path) -> None:
        """See Task."""
        write_shards(documents, tokenizer, place)

    def open(self, place: Path, tokenizer: Tokenizer) -> Shards:
        """See Task."""
        return Shards(place, tokenizer, self.name_of(place))

    def rows(self, packed: Shards, tokenizer: Tokenizer) -> ShardRows:
        """See Task: as data.rows says."""
        settings = self.recipe.training
        rows = (
            PackedRows(packed, settings.context, seed=settings.seed)
            if self.recipe.data.rows == "documents"
            else Windows(packed, settings.context)
        )
        if len(rows) < settings.rows:
            raise DataError(
                f"{packed.name} has {packed.tokens:,} tokens, less than one batch of {settings.rows} rows of "
                f"{settings.context}; give more text, or lower training.rows or training.context"
            )
        return rows

    def held_out_rows(self, packed: Shards, tokenizer: Tokenizer) -> Windows:
        """See Task: windows of the stream, a short one where it is short."""
        return Windows(packed, min(self.recipe.training.context, packed.tokens - 1))

    def validation_loss(self, network: Network, tokenizer: Tokenizer, held_out: Shards) -> float:
        """See Task: in windows side by side."""
        return stream_loss(network, held_out, self.recipe.training.context, self.recipe.validation.tokens).mean

    def measure(self, model: LanguageModel, held_out: Shards, documents: Sequence[Document]) -> list[Measurement]:
        """Bits per byte, read with overlapping windows."""
        window, tokens = self.recipe.training.context, self.recipe.validation.tokens
        return [measure(model, documents, "held-out text", window=window, tokens=tokens).bits_per_byte("held-out text")]

    @property
    def prompt(self) -> str:
        """The recipe's."""
        return self.recipe.sample.prompt

    def sample(self, model: LanguageModel, example: str) -> Iterator[str]:
        """What the model writes after the prompt."""
        settings = self.recipe.sample
        strategy = Sample(temperature=settings.temperature, seed=0) if settings.temperature else Greedy()
        longest = min(settings.max_new_tokens, model.longest - 2)
        return model.stream(self.prompt, strategy, max_new_tokens=longest)

    def next_steps(self, folder: Path) -> str:
        """See Task."""
        return f"lmworks generate {for_shell(folder)} 'text'     lmworks evaluate {for_shell(folder)} TEXT"


WRITING = TaskKind("writing", Writing)
