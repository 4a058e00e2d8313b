"""Checks of a text that a model is to be trained or measured on: pitfalls 3 and 9, and what a tokenizer loses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, Protocol, TypeVar

from lmworks.basics import progress
from lmworks.basics.amounts import counted
from lmworks.basics.errors import LmworksError
from lmworks.checks.result import Difference, Outcome, check
from lmworks.checks.tokenizers import HasTokenizer
from lmworks.evaluation.leaks import TOLERATED, shared_words
from lmworks.language_model import LanguageModel
from lmworks.text.sources import Reading
from lmworks.text.splits import Split, split
from lmworks.tokens.batch import Example, examples_of, pack
from lmworks.training.settings import TrainingConfig

Tokenizing = TypeVar("Tokenizing", bound=HasTokenizer)

LOST = 0.001
"""Share of a text that may be lost before the check fails: more is a script that the vocabulary does not know."""


OF_TOKENS = ("text of a model", "text of a tokenizer")
"""Subjects of what a tokenizer makes of a text."""


class HasReading(Protocol):
    """A text that was read."""

    @property
    def reading(self) -> Reading:
        """All of it."""


class HasParts(Protocol):
    """A text in two parts."""

    @property
    def parts(self) -> Split:
        """To train on, and held out."""


@dataclass(frozen=True)
class Prepared(Generic[Tokenizing]):
    """A data reference as the model's trainer would see it."""

    reading: Reading
    model: Tokenizing
    examples: list[Example]
    refused: list[str]
    """Why documents have nothing to learn from, a sentence each."""

    @cached_property
    def parts(self) -> Split:
        """What training would hold out, by the hash of each document."""
        return split(self.reading.documents)


def prepare(reading: Reading, model: Tokenizing) -> Prepared[Tokenizing]:
    """Every document as an example; what the tokenizer or the template refuses is kept as its sentence."""
    examples, refused = [], []
    with progress.task(f"tokenizing {reading.name}", len(reading.documents), "documents") as advance:
        for document in reading.documents:
            try:
                found = examples_of(document, model.tokenizer)
                learnt = [one for one in found if any(one.supervised[1:])]
                examples += learnt
                if not learnt:
                    refused.append(f"{document.source} has no token that carries loss")
            except LmworksError as error:
                refused.append(str(error))
            advance(1)
    return Prepared(reading, model, examples, refused)


@check("documents are read", of=("text", "text of a model", "text of a tokenizer"))
def documents_read(data: HasReading) -> Outcome:
    """Documents, and files that were skipped."""
    reading = data.reading
    size = sum(len(document.text.encode()) for document in reading.documents)
    named = "; ".join(f"{one.path}: {one.reason}" for one in reading.skipped[:3])
    more = f"; and {len(reading.skipped) - 3:,} more" if len(reading.skipped) > 3 else ""
    return Outcome(
        f"{counted(len(reading.documents), 'document')}, {counted(size, 'byte')}, "
        f"{counted(len(reading.skipped), 'file')} skipped or cut",
        [],
        f"skipped: {named}{more}" if named else "",
    )


@check("every example teaches something", 3, of=OF_TOKENS)
def supervised(data: Prepared[Any]) -> Outcome:
    """Examples without a supervised token."""
    return Outcome(
        f"{counted(len(data.reading.documents), 'document')} against their supervised tokens",
        [
            Difference(
                "the documents and those with something to learn",
                len(data.refused),
                0,
                "documents",
                sentence=f"nothing is to be learnt from {counted(len(data.refused), 'document')}",
            )
        ],
        "; ".join(data.refused[:3]),
    )


@check("held-out text is held out", 9, of=("text", "text of a model"))
def held_out(data: HasParts) -> Outcome:
    """Training and held-out documents, by hash and by their runs of words."""
    parts = data.parts
    shared = {document.hash for document in parts.train} & {document.hash for document in parts.held_out}
    words = shared_words(parts.train, parts.held_out)
    return Outcome(
        f"{counted(len(parts.train), 'document')} to train, {len(parts.held_out):,} held out",
        [
            Difference(
                "the training and the held-out documents",
                len(shared),
                0,
                "documents",
                sentence=f"held-out documents that stand in the training text: {len(shared):,}",
            ),
            *(
                Difference(
                    what, share, TOLERATED, unit, sentence="too much of the held-out text is in the training text"
                )
                for what, share, unit in words.shares
            ),
        ],
        f"{counted(parts.duplicates, 'exact duplicate')} left out; {words}",
    )


@check("no token is lost in packing", 3, of="text of a model")
def truncation(data: Prepared[LanguageModel]) -> Outcome:
    """Supervised tokens of the examples, and of the rows that training packs them into."""
    if not data.examples:
        return Outcome("no example", [Difference("the examples and none", 1, 0, "examples")])
    size = min(TrainingConfig().context, data.model.longest)
    wanted = sum(sum(example.supervised[1:]) for example in data.examples)
    packed = sum(sum(piece.supervised[1:]) for row in pack(data.examples, size) for piece in row)
    cut = sum(len(example.tokens) > size for example in data.examples)
    return Outcome(
        f"{wanted:,} supervised tokens in rows of {size}",
        [Difference("the tokens of the documents and of the rows", abs(wanted - packed), 0, "tokens")],
        f"longer than a row, and cut into pieces: {cut:,} of {counted(len(data.examples), 'document')}" if cut else "",
    )


@check("documents fit the context", of="text of a model")
def longest(data: Prepared[LanguageModel]) -> Outcome:
    """The longest document against the model's context."""
    context = data.model.longest
    sizes = [(len(example.tokens), example.source) for example in data.examples] or [(0, "none")]
    size, source = max(sizes)
    over = sum(size > context for size, _ in sizes)
    note = f"longest: {source}, {counted(size, 'token')}"
    return Outcome(
        f"{counted(len(sizes), 'document')} against a context of {counted(context, 'token')}",
        [],
        note + (f"; {over:,} are longer and are read in pieces" if over else ""),
    )


@check("the vocabulary can write the text", 6, of=OF_TOKENS)
def lost_bytes(data: Prepared[Any]) -> Outcome:
    """Bytes that no token stands for, and unknown tokens."""
    tokenizer = data.model.tokenizer
    missing, unknown = tokenizer.missing_bytes, tokenizer.unknown
    if unknown in (tokenizer.document_start, tokenizer.document_end):
        unknown = None  # GPT-2's and SmolLM2's files name <|endoftext|> so, and it stands around each document
    lost = [
        (sum(byte in missing for byte in document.text.encode()) if missing else 0, document.source)
        for document in data.reading.documents
    ]
    strange = [
        (example.tokens.count(unknown) if unknown is not None else 0, example.source) for example in data.examples
    ]
    size = sum(len(document.text.encode()) for document in data.reading.documents)
    tokens = sum(len(example.tokens) for example in data.examples)
    return Outcome(
        f"{counted(size, 'byte')}, {counted(tokens, 'token')}, {size / max(tokens, 1):.2f} bytes a token",
        [
            _rate("the text and what the tokens can write", lost, size, "of the bytes"),
            _rate("the text and the known tokens", strange, tokens, "of the tokens"),
        ],
    )


@check("special tokens in the text", of=OF_TOKENS)
def special_text(data: Prepared[Any]) -> Outcome:
    """Documents that hold a special token's text."""
    texts = sorted(data.model.tokenizer.special.values())
    found = [(document.source, text) for document in data.reading.documents for text in texts if text in document.text]
    where = ", ".join(f"{text} in {source}" for source, text in found[:3])
    inside = len({source for source, _ in found})
    return Outcome(
        f"{counted(len(data.reading.documents), 'document')} against {len(texts)} special tokens",
        [],
        f"in {counted(inside, 'document')} ({where}); there it is read as plain characters" if found else "none",
    )


CHECKS = (documents_read, supervised, held_out, truncation, longest, lost_bytes, special_text)


def _rate(what: str, counts: Sequence[tuple[int, str]], total: int, unit: str) -> Difference:
    share = sum(count for count, _ in counts) / max(total, 1)
    count, source = max(counts, default=(0, ""))
    return Difference(what, share, LOST, unit, f"{source} ({count:,} there)" if count else "")
