"""One's own questions to an index, with the answers that are expected: right, wrong, refused, and how sure it was.

    judged = judge(index, "questions.csv")
    print(judged.table)

    question,answer,file
    When is the rent due?,third day,rent.md
    Who painted the kitchen?,,

Without an answer the documents do not say it, and a refusal is right. Several accepted answers stand between bars
("28 euros | EUR 28"; in JSON Lines also a list); `file`, where it is given, is the document that must be cited: its
path within the folder, its name where no other document has it, or a pattern; any record of a table, or one of them
("prices.csv#3").
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Protocol

from lmworks.basics import progress
from lmworks.basics.errors import ConfigError, DataError
from lmworks.basics.files import must_be_a_writable_file, written_whole
from lmworks.evaluation.answer_words import words
from lmworks.evaluation.measurement import Measurement
from lmworks.evaluation.statistics import mcnemar, proportion
from lmworks.evaluation.tasks.own_file import Fields, records
from lmworks.grounding.answer import FINEST, GroundedAnswer, alone, percent_right
from lmworks.grounding.asking import Searchable
from lmworks.grounding.gate import fitted
from lmworks.grounding.telling import facts_of
from lmworks.grounding.words import negated
from lmworks.loading import load
from lmworks.models.files.references import must_be_somewhere
from lmworks.text.plain import UnreadableError, read_text

FIELDS = Fields(("question", "answer", "file"), in_objects_alone=("answers",))
MOST = 100_000
"""Questions of a file."""
KEPT_EVERY = 10.0
"""Seconds after which answers are written to their file again."""
UNLIKELY = 0.5
"""Answers are counted together by how likely they were said to be right: over the highest likelihood that is shown,
from this one on, and less."""
SHOWN = 20
"""Questions that a table lists."""
_THOUSANDS = re.compile(r"(?<=\d)[.'\u00a0\u202f ](?=\d{3}(?!\d))")
_HYPHEN = re.compile(r"(?<=[^\W\d_])[-/](?=[^\W\d_])")
_WITHOUT_SPACES = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")


class Askable(Searchable, Protocol):
    """What judging needs of an index."""

    @property
    def place(self) -> str:
        """Where it lies."""

    @property
    def digest(self) -> str:
        """Of its files and of how they are cut."""

    @property
    def sources(self) -> Sequence[str]:
        """What its documents are called (`Passage.file`)."""

    def ask(self, question: str, *args: Any, **choices: Any) -> GroundedAnswer:
        """What its documents say."""


class Verdict(StrEnum):
    """What became of a question."""

    RIGHT = "right"
    """The answer says what is expected."""
    BESIDE = "beside it"
    """The answer is another part of the sentence that says it, such as the wrong column of a table's row."""
    WRONG = "wrong"
    REFUSED = "refused"
    """Though the documents say it."""
    RIGHTLY_REFUSED = "rightly refused"
    INVENTED = "answered, not there"
    """Though the documents do not say it."""


@dataclass(frozen=True)
class OwnQuestion:
    """A question with what is expected."""

    text: str
    answers: tuple[str, ...] = ()
    """Each of them is right; none: the documents do not say it."""
    file: str = ""
    """The document that must be cited, as a pattern ("contracts/*"), with the number of a record or without; empty for
    any."""
    place: str = ""
    """Where it stands: "questions.csv#3"."""


@dataclass(frozen=True)
class JudgedAnswer:
    """A question and what was said."""

    question: OwnQuestion
    said: Mapping[str, Any]
    """The answer's facts (telling.facts_of)."""

    @property
    def verdict(self) -> Verdict:
        """What became of it."""
        there, said, wanted = bool(self.question.answers), self.said, self.question.file
        if said["refused"]:
            return Verdict.REFUSED if there else Verdict.RIGHTLY_REFUSED
        if not there:
            return Verdict.INVENTED
        cited = [one for one in said["citations"] if not one.get("differs")]
        cited = [one for one in cited if not wanted or any(_is_called(file, wanted) for file in _files(one))]
        if not cited:
            return Verdict.WRONG
        answer = alone(said["text"])
        if says(answer, self.question.answers) or any(_is_part(answer, one) for one in self.question.answers):
            return Verdict.RIGHT
        return Verdict.BESIDE if says(cited[0]["text"], self.question.answers) else Verdict.WRONG

    @property
    def probably_right(self) -> float | None:
        """How likely it was said to be right; None where it is refused, or a model made it."""
        sure = self.said.get("probably_right")
        return None if sure is None else float(sure)

    @property
    def good(self) -> bool:
        """Whether it is as it should be: right, or rightly refused."""
        return self.verdict in (Verdict.RIGHT, Verdict.RIGHTLY_REFUSED)

    def to_json(self) -> dict[str, Any]:
        """For a line of a file: all that is needed to read it alone."""
        one = self.question
        asked = {"question": one.text, "expected": list(one.answers), "file": one.file, "from": one.place}
        return asked | {"verdict": str(self.verdict), "said": dict(self.said)}


@dataclass(frozen=True)
class Judged:
    """All questions, and the figures."""

    place: str
    """Where the index lies."""
    questions: str
    """Where the questions stand."""
    answers: Sequence[JudgedAnswer]
    before: Sequence[JudgedAnswer] = field(default_factory=tuple)
    """What an earlier run said to the same questions."""

    def count(self, *verdicts: Verdict) -> int:
        """How many of them there are."""
        return sum(one.verdict in verdicts for one in self.answers)

    @property
    def measurements(self) -> list[Measurement]:
        """The figures, each with Wilson's interval."""
        there = sum(bool(one.question.answers) for one in self.answers)
        gone = len(self.answers) - there
        refused = self.count(Verdict.REFUSED)
        made: list[Measurement] = []

        def share(name: str, count: int, n: int, ideal: float, chance: float | None = None) -> None:
            if n:
                value, interval = proportion(count, n)
                one = Measurement(name=name, value=value, interval=interval, n=n, ideal=ideal, chance=chance)
                tells_nothing = one.at_chance and (n == 1 or not chance)  # a single question, or nothing was refused
                made.append(one.but(chance=None) if tells_nothing else one)

        share("right", self.count(Verdict.RIGHT), there, 1)
        share("beside it in the right sentence", self.count(Verdict.BESIDE), there, 0)
        share("wrong", self.count(Verdict.WRONG), there, 0)
        share("refused although it is there", refused, there, 0)
        # Who refuses everything refuses these, too.
        share("refused, not there", self.count(Verdict.RIGHTLY_REFUSED), gone, 1, refused / there if there else None)
        for level, own in self._by_level().items():
            good = sum(one.verdict is Verdict.RIGHT for one in own)
            share(f"right, of those said to be right with {level}", good, len(own), 1)
        return made

    def _by_level(self) -> dict[str, list[JudgedAnswer]]:
        told = [(one.probably_right, one) for one in self.answers if one.probably_right is not None]
        return {
            percent_right(1.0): [one for sure, one in told if sure > FINEST],
            f"{UNLIKELY:.0%} to {FINEST:.0%}": [one for sure, one in told if UNLIKELY <= sure <= FINEST],
            f"less than {UNLIKELY:.0%}": [one for sure, one in told if sure < UNLIKELY],
        }

    @property
    def compared(self) -> dict[str, Any] | None:
        """How many questions are better and worse than before, and how probable so uneven a split would be by chance
        (McNemar); None without an earlier run."""
        if not self.before:
            return None
        earlier = {one.question.text: one.good for one in self.before}
        both = [(earlier[one.question.text], one.good) for one in self.answers if one.question.text in earlier]
        better, worse = (sum(pair == way for pair in both) for way in ((False, True), (True, False)))
        return {"n": len(both), "better": better, "worse": worse, "mcnemar": mcnemar(better, worse)}

    def to_json(self) -> dict[str, Any]:
        """Everything."""
        counts = {str(one): self.count(one) for one in Verdict}
        facts = {"index": self.place, "questions": self.questions, "counts": counts, "compared": self.compared}
        figures = [one.to_json() for one in self.measurements]
        return facts | {"figures": figures, "answers": [one.to_json() for one in self.answers]}

    @property
    def table(self) -> str:
        """For people: the figures, then the questions that went wrong."""
        figures = self.measurements
        width = max(len(one.name) for one in figures)
        there = sum(bool(one.question.answers) for one in self.answers)
        counted = f"{there} with an answer, {len(self.answers) - there} without"
        lines = [f"{len(self.answers)} questions of {self.questions}: {counted}", ""]
        lines += [f"{one.name:<{width}}  {one}" for one in figures]
        if compared := self.compared:
            p = f"McNemar's p {compared['mcnemar']:.3f}"
            lines += ["", f"beside    {compared['better']} better, {compared['worse']} worse of {compared['n']} ({p})"]
        bad = [one for one in self.answers if not one.good]
        for one in bad[:SHOWN]:
            lines += ["", *_told(one)]
        if len(bad) > SHOWN:
            lines += ["", f"... and {len(bad) - SHOWN} more; --out FILE has all"]
        return "\n".join(lines)


def _files(citation: Mapping[str, Any]) -> set[str]:
    """The file of a cited span, or those of the cited facts of a graph."""
    return {one["file"] for one in (citation, *citation.get("triples", ()))}


def _is_called(source: str, wanted: str) -> bool:
    """Whether a document is the one that is wanted, or one like it; of a record also by its file."""
    return any(name == wanted or fnmatchcase(name, wanted) for name in (source, _without_record(source)))


def _without_record(source: str) -> str:
    """The file of a document: "prices.csv" of "prices.csv#3"."""
    return source.rpartition("#")[0] or source


def _told(one: JudgedAnswer) -> list[str]:
    said, asked = one.said, one.question
    lines = [f"asked     {asked.text}", f"expected  {' | '.join(asked.answers) or 'not in these documents'}"]
    nearest = said["citations"][0] if said["citations"] else said["nearest"]
    likely = "" if one.probably_right is None else f"  (right with {percent_right(one.probably_right)})"
    lines.append(f"said      {' '.join(said['text'].split())}{likely}")
    if nearest:
        place = ", ".join(filter(None, (nearest["file"], nearest["place"])))
        lines.append(f"{'cites' if said['citations'] else 'nearest':<10}{place}")
    if said["refused"]:
        lines.append(f"why       {said['reason']}")
    return lines


def says(text: str, answers: Iterable[str]) -> bool:
    """Whether a text holds the words of one of the answers, one after another (evaluation/answer_words.py)."""
    return any(_holds(text, one) for one in answers)


def _holds(text: str, answer: str) -> bool:
    wanted, there = " ".join(words(_grouped(answer))), " ".join(words(_grouped(text)))
    return wanted in there if _WITHOUT_SPACES.search(wanted) else f" {wanted} " in f" {there} "


def _is_part(answer: str, expected: str) -> bool:
    """Whether an answer is a shorter form of what is expected, with the same figures and no denial lost: "140 euros" of
    "at most 140 euros"."""
    same = re.findall(r"\d+", answer) == re.findall(r"\d+", expected) and negated(answer) == negated(expected)
    return same and _holds(expected, answer)


def _grouped(text: str) -> str:
    """With marks of thousands as English has them (2.520 and 2 520 are 2,520), and the parts of words apart."""
    return _HYPHEN.sub(" ", _THOUSANDS.sub(",", text))


def judge(
    index: Askable,
    questions: str | Path | Sequence[OwnQuestion],
    *,
    out: str | Path | None = None,
    before: str | Path | None = None,
    **choices: Any,
) -> Judged:
    """Ask each question (a .csv or .jsonl file, or OwnQuestions); `choices` as `asking.ask`'s.

    `out` is a file of JSON lines that keeps every answer: started again with it, what was asked of the same index in
    the same way is not asked again, and judged by what is expected now. `before` is such a file of an earlier run.
    ConfigError or DataError where a file cannot be read, holds something else, or belongs to another index, and where
    the index has no document that must be cited.
    """
    named = str(questions) if isinstance(questions, str | Path) else "the questions"
    asked = read_questions(questions) if isinstance(questions, str | Path) else list(questions)
    if not asked:
        raise DataError(f"{named} holds no question")
    if choices.get("facts") is None:  # those of a graph are from files of their own
        asked = _with_documents(asked, index)
    if out is not None:
        must_be_a_writable_file(Path(out))
    earlier = () if before is None else _read_out(Path(before))[1]
    run = _run_of(index, choices)
    kept: dict[str, JudgedAnswer] = {}
    if out is not None and Path(out).exists():
        of, said = _read_out(Path(out))
        if of != run:
            raise ConfigError(
                f"{out} holds answers of another index, or of other settings or another version; give another --out"
            )
        kept = {one.question.text: one for one in said}
    if isinstance(reference := choices.get("model"), str):
        must_be_somewhere(reference)
        choices["model"] = load(reference)
    answers, kept_at = list[JudgedAnswer](), time.monotonic()

    def keep() -> None:
        if out is not None and kept:
            _write(Path(out), run, list(kept.values()))  # also what is not asked this time

    try:
        with progress.task("asking", len(asked), "questions") as advance:
            for one in asked:
                said_before = kept.get(one.text)
                facts = said_before.said if said_before else facts_of(index.ask(one.text, **choices), index)
                answers.append(JudgedAnswer(one, facts))
                kept[one.text] = answers[-1]
                advance(1)
                if time.monotonic() - kept_at > KEPT_EVERY:
                    keep()
                    kept_at = time.monotonic()
    finally:
        keep()
    now = {one.text: one for one in asked}
    earlier = [JudgedAnswer(now.get(one.question.text, one.question), one.said) for one in earlier]
    return Judged(index.place, named, answers, earlier)


def _with_documents(asked: Sequence[OwnQuestion], index: Askable) -> list[OwnQuestion]:
    """The questions, with the path of a document that is given by its name alone. DataError for one that is not there,
    which would make every answer wrong, and for a name that several have."""
    if not any(one.file for one in asked):
        return list(asked)
    paths: dict[str, set[str]] = {}
    sources, found = index.sources, dict[str, str]()
    for source in sources:
        for path in {source, _without_record(source)}:
            paths.setdefault(path.rpartition("/")[2], set()).add(path)
    for one in asked:
        if not one.file or one.file in found:
            continue
        called, place = sorted(paths.get(one.file, ())), one.place or repr(one.text)
        if any(_is_called(source, one.file) for source in sources):
            found[one.file] = one.file
        elif not called:
            close = difflib.get_close_matches(one.file, sorted(set(map(_without_record, sources))), n=1)
            hint = f"did you mean {close[0]}?" if close else "write its path within the folder that was indexed"
            raise DataError(f"{place}: {index.place} has no document {one.file!r}; {hint}")
        elif len(called) > 1:
            raise DataError(f"{place}: {one.file} may be {' or '.join(called[:3])}; write which")
        else:
            found[one.file] = called[0]
    return [replace(one, file=found.get(one.file, "")) for one in asked]


def read_questions(path: str | Path) -> list[OwnQuestion]:
    """Those of a file, in order. DataError, with its place, for what is no question."""
    path = Path(path)
    if path.suffix.lower() not in (".csv", ".jsonl"):
        raise ConfigError(f"{path} is no .csv or .jsonl file; give one with the columns question and answer")
    rows = list(records(path, FIELDS))
    if len(rows) > MOST:
        raise DataError(f"{path} has {len(rows):,} rows; at most {MOST:,} questions are asked at once")
    made = [_question(row, f"{path.name}#{line}") for line, row in rows]
    known: dict[str, OwnQuestion] = {}
    for one in made:
        if (same := known.setdefault(one.text, one)) is not one:
            raise DataError(f"{one.place} asks what {same.place} asks; leave one of them out")
    return made


def _question(row: Mapping[str, Any], place: str) -> OwnQuestion:
    text, file = (row.get(name) or "" for name in ("question", "file"))
    given = row.get("answers") or row.get("answer") or []
    accepted = given.split("|") if isinstance(given, str) else given
    if not isinstance(text, str) or not text.strip():
        raise DataError(f"{place} has no question; give every row one")
    if not isinstance(file, str) or not isinstance(accepted, list) or not all(isinstance(one, str) for one in accepted):
        raise DataError(f"{place}: question, answer and file are texts; write numbers in quotes")
    answers = tuple(one.strip() for one in accepted if one.strip())
    if any(not any(map(str.isalnum, one)) for one in answers):
        raise DataError(f"{place}: an answer has no letter and no figure; leave it empty where there is none")
    return OwnQuestion(" ".join(text.split()), answers, file.strip(), place)


def _run_of(index: Askable, choices: Mapping[str, Any]) -> str:
    """A hash of what answers depend on: the index's files, how it is asked, and the gate that judges."""
    how = {name: _setting(value) for name, value in choices.items() if value is not None}
    return hashlib.sha256(
        json.dumps([index.digest, index.tested, how, fitted()], sort_keys=True, default=str).encode()
    ).hexdigest()


def _setting(value: Any) -> str:
    """A setting's text; of a graph's facts the folder that they are from."""
    return str(getattr(getattr(value, "__self__", value), "folder", value))


def _write(path: Path, run: str, answers: Sequence[JudgedAnswer]) -> None:
    lines = [{"run": run}, *(one.to_json() for one in answers)]
    with written_whole(path) as temporary:
        temporary.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in lines), encoding="utf-8")


def _read_out(path: Path) -> tuple[str, list[JudgedAnswer]]:
    """The run and the answers of a file that `judge` wrote."""
    try:
        first, *lines = [json.loads(line) for line in read_text(path).split("\n") if line]
        answers = [
            JudgedAnswer(OwnQuestion(one["question"], tuple(one["expected"]), one["file"], one["from"]), one["said"])
            for one in lines
        ]
        for one in answers:
            _ = one.verdict, one.probably_right  # fails here if something is missing
        return str(first["run"]), answers
    except (OSError, OverflowError, ValueError, KeyError, TypeError, AttributeError, UnreadableError, RecursionError):
        raise DataError(f"{path} holds no answers of lmworks ask --questions; give another file") from None
