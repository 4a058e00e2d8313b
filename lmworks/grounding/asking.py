"""ask: a question to an index; what its documents say, with verbatim citations, or that they do not say it.

    answer = ask(open_index("indexes/notes"), "When is rent due?")
    answer = ask(index, "When is rent due?", model="smollm2", way="write")
    print(answer.text, [(one.file, one.start, one.end) for one in answer.citations])

Extract: passages are found, a reader takes the span that answers from each, the gate says how probable it is that the
documents answer, and the sentence around the best span is cited; with a model, that chooses among the sentences under a
grammar, which can write nothing but a number. Write: the model writes, and each of its sentences stays only where a
sentence of the documents supports it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

from lmworks.basics.arguments import checked
from lmworks.basics.errors import ConfigError
from lmworks.generation.constraints import Choice
from lmworks.grounding import prompting
from lmworks.grounding.answer import (
    ELSEWHERE,
    REFUSAL,
    UNSUPPORTED,
    UNSURE,
    Citation,
    GroundedAnswer,
    Reader,
    Reason,
    Way,
    percent_right,
)
from lmworks.grounding.calendar_names import unnamed_days
from lmworks.grounding.cells import has_nothing_for
from lmworks.grounding.chunks import LONGEST_TITLE
from lmworks.grounding.definitions import Wanted
from lmworks.grounding.evidence import Above, Evidence, Span, distinct, read_passages, units
from lmworks.grounding.filters import Filter
from lmworks.grounding.gate import Features, Gate, log_odds
from lmworks.grounding.kinds import is_of_asked_kind
from lmworks.grounding.mail_headers import asks_of_sending, header_end
from lmworks.grounding.passage import Passage
from lmworks.grounding.question_forms import asks_yes_or_no, wants_a_sentence
from lmworks.grounding.reading import in_english, reader_for
from lmworks.grounding.support import supports
from lmworks.grounding.terms import asks_in_english, language_of_question, terms
from lmworks.grounding.words import about, codes, content, coverage, names, numbers, years
from lmworks.grounding.yes_or_no import answered_by, says_yes_or_no
from lmworks.language_model import LanguageModel
from lmworks.loading import load
from lmworks.models.files.references import must_be_somewhere
from lmworks.text.formats.rows import head_above, row_spelled_out, rows_of
from lmworks.text.sentences import sentences
from lmworks.text.words import WORD

READ = 6
"""Passages that are read."""
SEEN = 100
"""Passages in which a definition is looked for, if one is asked for."""
DIFFERING, ALIKE = 2, 0.6
"""Passages with other figures that are shown, at most; the share of their words that two sentences must have in common
to speak of the same."""
NAMES, NAMES_A_YEAR = 6.0, 1.0
"""What a passage's rank gains where it names every code and version of the question, and every year."""
UNRIVALLED = 2.0
"""How far a passage counts as ahead, in ranks, where none says something else."""
CITED = 3
"""Citations of an extracted answer, at most."""
CHOSEN_FROM = 5
"""Sentences that a model chooses among."""
WRITTEN = 160
"""Tokens that a model writes, at most."""
_LETTER = re.compile(r"\b(?!I\b)[B-Z]\b|\b[IVX]{2,5}\b|(?<=\w )A\b")
"""What tells things apart that have one name: flat B, type II."""
_MARKER = re.compile(r"\A\s*(?:[-*+•]|\d{1,3}[.)])\s+")
"""What begins an item of a list."""
MEASURED = ("english", "german", "spanish")
"""Languages in which answers to questions on texts that nothing was chosen on were counted (docs/answers.md)."""


Facts = Callable[[str], Sequence[Passage]]
"""What else is known to a question: the facts of a graph."""


class Searchable(Protocol):
    """What asking needs of an index."""

    @property
    def languages(self) -> Mapping[str, int]:
        """How many chunks there are of each language, most first."""

    @property
    def tested(self) -> Mapping[str, Any]:
        """What the index's own test found."""

    @property
    def embedder(self) -> LanguageModel:
        """The model of its vectors."""

    def document(self, file: str) -> str | None:
        """The whole text of a document."""

    def search(self, query: str, k: int = 10, *args: Any, **given: Any) -> list[Passage]:
        """The k best passages, best first."""


@dataclass(frozen=True)
class Asked:
    """A question with what was found and read for it."""

    question: str
    language: str
    evidence: Sequence[Evidence]
    """Best first."""
    passages: Sequence[Passage]
    """In the order of the search."""
    features: Features
    gate: Gate
    document: Callable[[str], str | None] = lambda file: None
    """The whole text of a passage's document, by its file."""

    @property
    def confidence(self) -> float:
        """The probability that the documents answer; 0 where what the best passage says cannot be an answer."""
        return self.gate.confidence(self.features) if self.asks and self.may_answer else 0.0

    @property
    def probably_right(self) -> float:
        """The probability that what the best passage says is right."""
        return self.gate.probably_right(self.features) if self.evidence else 0.0

    @property
    def measured(self) -> bool:
        """Whether it is known how often answers in this language are right. Words of no known language are read as
        English, and are a question in it only if they ask as English does."""
        return self.language in MEASURED or (self.language == "none" and asks_in_english(self.question))

    @property
    def asks(self) -> bool:
        """Whether there is something to answer, and to answer from. A question without a word asks nothing."""
        return any(map(str.isalnum, self.question)) and bool(self.evidence)

    @property
    def passes(self) -> bool:
        """Whether the gate lets it be answered."""
        return self.asks and self.may_answer and self.gate.passes(self.features)

    @property
    def may_answer(self) -> bool:
        """Whether the best passage names what the question does by letters and figures, or by month or weekday, as what
        is said of version 2.0 answers nothing of 2.1, and what it says is of the kind that is asked for, and in a table
        of the row."""
        return not self.unnamed and self.is_of_asked_kind and not self.is_of_another_row

    @property
    def is_of_asked_kind(self) -> bool:
        """Whether what the best passage says may be what is asked for: a number, a time."""
        best = self.evidence[0]
        if best.passage.of_graph:
            return True
        text, (first, last), (start, end) = best.passage.text, best.sentence, self.span(best)
        return is_of_asked_kind(self.question, text[start:end], text[first:start], text[end:last], above(best.passage))

    @property
    def is_of_another_row(self) -> bool:
        """Whether the best passage's answer is a cell, and the row that the question names has none in its column."""
        best = self.evidence[0]
        text, (start, end) = best.passage.text, (best.reading.start, best.reading.end)
        rows = [(one.passage.text, row) for one in self.evidence for row in rows_of(one.passage.text) if row]
        for there, row in rows:
            cell = next((one for one in row if one.start <= start and end <= one.end), None) if there is text else None
            if cell is not None:
                return has_nothing_for(self.question, text, row, cell, rows)
        return False

    @property
    def unnamed(self) -> list[str]:
        """What the question names by letters and figures, or by month or weekday, and the best passage does not."""
        if not self.evidence:
            return _codes(self.question, ())
        quote, one = self.evidence[0].quote, self.evidence[0].passage
        missing = [name for name in _codes(self.question, self.evidence) if not names(headed(one), name)]
        heading = one.heading.rpartition(" > ")[2]
        return [*missing, *unnamed_days(self.question, quote, heading, one.text, f"{above(one)} {one.file}")]

    def span(self, one: Evidence) -> Span:
        """What of a passage is shown as a short answer: the sentence where the span only says the question again."""
        echoes = set(content(one.answer, self.language)) <= set(terms(self.question, self.language))
        return one.sentence if echoes else one.shown

    def refused(self, why: Reason, prompt: str = "") -> GroundedAnswer:
        """No answer."""
        nearest = self.evidence[0].citation(1) if self.asks else None
        text = {"unsure": UNSURE, "unmeasured": UNSURE, "unsupported": UNSUPPORTED}.get(why.kind, REFUSAL)
        return self._told(text, True, why=why, nearest=nearest, prompt=prompt)

    def answered(self, text: str, citations: Sequence[Citation], prompt: str = "") -> GroundedAnswer:
        """An answer."""
        return self._told(text, False, citations=tuple(citations), prompt=prompt)

    def _told(self, text: str, refused: bool, **given: Any) -> GroundedAnswer:
        rate = self.gate.false_refusals if self.measured or self.gate.own else None
        given |= {"threshold": self.gate.threshold, "false_refusals": rate}
        return GroundedAnswer(text, refused, self.confidence, passages=self.passages, **given)


@checked
def ask(  # noqa: PLR0913 (each is a choice that people know by name)
    index: Searchable,
    question: str,
    way: Way = "extract",
    model: str | LanguageModel | None = None,
    *,
    k: int = READ,
    rerank: bool | None = None,
    where: Filter | None = None,
    only_context: bool = False,
    min_right: float | None = None,
    reader: Reader | None = None,
    facts: Facts | None = None,
) -> GroundedAnswer:
    """What the documents of an index say to a question.

    `k` passages are read, found as `Index.search` finds with `rerank` and `where`, after those that `facts` gives (a
    graph's); `only_context` stops before the answer and gives, as its prompt, what it would be made of. An answer that
    is less likely to be right than `min_right` (0 ... 1) is refused, and so is one in a language that was not measured.
    ConfigError for an empty question, a way that does not exist, writing without a model, or a `min_right` for answers
    that a model makes or a graph's facts may give, of which nothing was measured.
    """
    if min_right is not None and not 0 <= min_right < 1:
        raise ConfigError(f"min_right is {min_right:g}; give a probability from 0 to below 1, such as 0.8")
    if min_right is not None and model is not None:
        raise ConfigError("min_right holds for answers without a model, which were measured; leave one of the two out")
    if min_right is not None and facts is not None:
        raise ConfigError("min_right holds for answers from documents, which were measured; leave it or the graph out")
    if way == "write" and model is None:
        raise ConfigError("writing needs a model; name one (--model smollm2), or take the way extract")
    if not question.strip():
        raise ConfigError("the question is empty; ask something")
    if isinstance(model, str):
        must_be_somewhere(model)  # whether or not the question comes to it
    reader = reader or reader_for(index, question)
    given = facts(question) if facts is not None else ()
    gate = Gate.of(index.tested, type(reader).__name__)
    asked = look(index, question, k, reader, gate, given, rerank, where)
    if only_context:
        context = prompting.quoted([headed(one) for one in asked.passages])
        return asked.answered("", (), context)
    if not asked.passes:
        return asked.refused(_why(asked))
    if min_right is not None and not asked.measured:
        return asked.refused(Reason("unmeasured"))
    if min_right is not None and asked.probably_right < min_right:
        return asked.refused(Reason("unsure", (percent_right(asked.probably_right),)))
    if model is None:
        measured = asked.measured and asked.evidence[0].passage not in given
        return replace(extracted(asked), probably_right=asked.probably_right if measured else None)
    writer = load(model) if isinstance(model, str) else model
    writer.must_converse()
    return written(asked, writer) if way == "write" else chosen(asked, writer)


def look(
    index: Searchable,
    question: str,
    k: int,
    reader: Reader,
    gate: Gate,
    given: Sequence[Passage] = (),
    rerank: bool | None = None,
    where: Filter | None = None,
) -> Asked:
    """Search, read, and say how probable an answer is; passages that are `given` are read first, and with the best k
    those that define what the question asks the meaning of."""
    among: dict[str, Any] = {} if where is None else {"where": where}
    how = among if rerank is None else among | {"rerank": rerank}
    language = language_of_question(question, index.languages)
    wanted = Wanted.of(question, language, index.document)
    found = _different(index, question, k, max(k, SEEN) if wanted.term else k, how)
    passages = list(distinct([*given, *found[:k], *filter(wanted.definition, found[k:])]))
    reads_headings = in_english(question, language) and not wants_a_sentence(question, language)
    read_with, unread = partial(_above, index, reads_headings), partial(_header_of_mail, asks_of_sending(question))
    evidence = read_passages(reader, question, passages, wanted.definition, read_with, unread)
    named = _codes(question, evidence)
    evidence.sort(key=lambda one: -_rank(question, one, named))
    features = features_of(question, language, evidence)
    return Asked(question, language, evidence, passages, features, gate, index.document)


def _codes(question: str, evidence: Sequence[Evidence]) -> list[str]:
    """What a question names by letters and figures, among passages below these headings."""
    return codes(question, (one.passage.heading for one in evidence))


def _rank(question: str, one: Evidence, named: Sequence[str]) -> float:
    """What the passages of a question are ordered by; `named` is what it names by letters and figures."""
    return one.rank + _weight_of_names(question, one.passage, named)


def _weight_of_names(question: str, passage: Passage, named: Sequence[str]) -> float:
    """What a passage's rank gains where it names the codes, versions and years that the question names."""
    text, years_ = headed(passage), years(question)
    held = [sum(names(text, one) for one in those) / len(those) if those else 0.0 for those in (named, years_)]
    return NAMES * held[0] + NAMES_A_YEAR * held[1]


def _above(index: Searchable, reads_headings: bool, passage: Passage) -> Above:
    """The lines of headers of a Markdown table in which a passage begins, and the heading right before it."""
    in_a_table = passage.text.lstrip(" \t").startswith("|")
    text = index.document(passage.file) if in_a_table or reads_headings else None
    if text is None:
        return Above()
    table = head_above(text, passage.start) if in_a_table else ""
    return Above(table, _heading_above(text, passage) if reads_headings else "")


def _heading_above(text: str, passage: Passage) -> str:
    """What stands in a document from the words of a passage's own heading to the passage, if that is right below."""
    words = passage.heading.rpartition(" > ")[2]
    before = text[max(passage.start - LONGEST_TITLE - 20, 0) : passage.start]
    at = before.rfind(words) if words else -1
    between = before[at + len(words) :] if at >= 0 else "-"
    begins = before[:at].rpartition("\n")[2].strip(" \t#") == ""
    return before[at:] if begins and not between.strip(" \t\n#=-") and "\n" in between else ""


def _header_of_mail(wanted: bool, passage: Passage) -> int:
    """How long the header of a mail is with which a passage begins; 0 where it is asked about."""
    return 0 if wanted or passage.of_graph or passage.start else header_end(passage.text)


def _different(index: Searchable, question: str, k: int, count: int, how: Mapping[str, Any]) -> list[Passage]:
    """The best passages, each text once: `count` are searched, or more where copies leave fewer than k."""
    found = index.search(question, count, **{"kind": "passage", **how})
    different = list(distinct(found))
    if len(different) >= k or len(found) < count or count >= SEEN:
        return different
    return _different(index, question, k, SEEN, how)


def features_of(question: str, language: str, evidence: Sequence[Evidence]) -> Features:
    """What the gate looks at, of evidence ordered best first."""
    if not evidence:
        return Features(0.0, 0.0, log_odds(0.0), 0.0, 0.0, 0.0)
    wanted, best, named = about(question, language), evidence[0], _codes(question, evidence)
    rivals = [_rank(question, one, named) for one in evidence if _plain(one.answer) != _plain(best.answer)]
    ahead = _rank(question, best, named) - max(rivals) if rivals else UNRIVALLED
    return Features(
        coverage(wanted, content(headed(best.passage), language), language),
        coverage(wanted, content(f"{best.headers} {best.quote}", language), language),
        log_odds(best.reading.answerable),
        float(wants_a_sentence(question, language)),
        math.log1p(max(ahead, 0.0)),
        float(asks_yes_or_no(question, language)),
    )


def headed(passage: Passage) -> str:
    """A passage with what stands above it."""
    titles = above(passage)
    return f"{titles}: {passage.text}" if titles else passage.text


def above(passage: Passage) -> str:
    """Title and headings of a passage."""
    return " > ".join(filter(None, (passage.document, passage.heading)))


def _why(asked: Asked) -> Reason:
    """The reason of a refusal."""
    if not asked.passages:
        return Reason("nothing_found")
    if asked.unnamed:
        return Reason("not_mentioned", tuple(asked.unnamed[:3]))
    held = set().union(*(content(headed(one), asked.language) for one in asked.passages))
    missing = set(about(asked.question, asked.language)) - held
    words = dict.fromkeys(WORD.findall(asked.question))
    named = [one for one in words if (own := set(content(one, asked.language))) and own <= missing]
    if named:
        return Reason("not_mentioned", tuple(named[:3]))
    return Reason("not_answered")


def extracted(asked: Asked, best: Evidence | None = None) -> GroundedAnswer:
    """The best span, or that of the evidence given, with every passage that says the same."""
    best = best or asked.evidence[0]
    whole = best.defines or wants_a_sentence(asked.question, asked.language)
    decides = whole and not best.defines and asks_yes_or_no(asked.question, asked.language)
    text, (start, end) = best.passage.text, best.paragraph if whole else asked.span(best)
    shown = row_spelled_out(text, start, end) or text[start:end]
    begins_a_line = not text[text.rfind("\n", 0, start) + 1 : start].strip()
    if begins_a_line and len(units(shown)) == 1:  # else "5. May" within a sentence would lose its number
        shown = _MARKER.sub("", shown)
    agreeing = [one for one in asked.evidence if one is not best and _agree(asked, one, best, whole)]
    best_ones = _folded([best, *agreeing])[:CITED]
    citations = [one.citation(number, whole, decides) for number, one in enumerate(best_ones, 1)]
    said = " ".join(shown.split())
    if says_yes_or_no(said):
        said, citations[0] = _with_its_question(asked, said, best.passage.start + start, citations[0])
    said += "".join(f" [{one.number}]" for one in citations)
    for one in _differing(asked, best, agreeing)[:DIFFERING] if not whole else ():
        number = len(citations) + 1
        citations.append(replace(one.citation(number), differs=True))
        said += ELSEWHERE.format(said=" ".join(one.passage.text[slice(*one.shown)].split()), number=number)
    return asked.answered(said, citations)


def _with_its_question(asked: Asked, said: str, at: int, cited: Citation) -> tuple[str, Citation]:
    """A yes or no, which begins at this place of a document, with the question or heading there that it answers, and
    both cited; alone where just that was asked, or nothing that it could answer stands above it."""
    text = "" if cited.of_graph else asked.document(cited.file) or ""
    place = answered_by(text, at, cited.heading.rpartition(" > ")[2] or cited.document)
    if place is None and (at > 0 or not cited.document.endswith("?")):
        return said, cited
    answers = text[slice(*place)] if place else cited.document  # a record's title is in no text
    if WORD.findall(answers.casefold()) == WORD.findall(asked.question.casefold()):
        return said, cited
    if place and cited.end is not None:
        answer = (place[0], cited.answer[1] if cited.answer else cited.end)
        cited = replace(cited, start=place[0], text=text[place[0] : cited.end], answer=answer)
    colon = "" if answers.endswith(tuple("?？؟.!:")) else ":"
    return f"{' '.join(answers.split())}{colon} {said}", cited


def _differing(asked: Asked, best: Evidence, agreeing: Sequence[Evidence]) -> list[Evidence]:
    """Passages that say nearly the same as the best one with other figures (an older policy, another draft), and name
    as much of what the question names. Which of them holds is for a person to say."""
    figures, words = _figures(best.answer), _words(best.quote, asked.language)
    wanted, letters = about(asked.question, asked.language), set(_LETTER.findall(asked.question))
    codes_ = _codes(asked.question, asked.evidence)

    def named(one: Evidence) -> tuple[float, float, int]:
        passage = one.passage
        there = " ".join((passage.document, passage.heading, one.quote))
        return (
            coverage(wanted, content(there, asked.language)),
            _weight_of_names(asked.question, passage, codes_),
            len(letters & set(_LETTER.findall(there))),
        )

    least, found = named(best), []
    for one in asked.evidence if figures and words else ():
        others, same = _figures(one.answer), _words(one.quote, asked.language)
        alike = len(words & same) >= ALIKE * len(words | same)
        if one is best or one in agreeing or not alike or not others or others & figures:
            continue
        if _label(one) != _label(best):  # another row of a table, whose headers are the same
            continue
        if all(here >= there for here, there in zip(named(one), least, strict=True)):
            found.append(one)
    return found


def _label(one: Evidence) -> str:
    """What the row of a table is called whose words are cited; empty where they are none."""
    row = next(filter(None, rows_of(one.quote)), None)
    return _plain(one.quote[row[0].start : row[0].end]) if row else ""


def _figures(text: str) -> set[str]:
    """Its numbers, those that mean the same in one way: 09:30 and 9:30, 900 and 900.00, 1,480 and 1.480."""
    joined = re.sub(r"(?<=\d)[ \u00a0\u202f](?=\d{3}(?!\d))", "", text)
    plain = (re.sub(r"(?<=\d)[.,](?=\d{3}(?!\d))", "", one) for one in numbers(joined))
    return {re.sub(r"[.,]0+\Z", "", one).lstrip("0") or "0" for one in plain}


def _words(text: str, language: str) -> set[str]:
    """The content of a text but for its figures."""
    return {one for one in content(text, language) if not any(map(str.isdecimal, one))}


def _agree(asked: Asked, one: Evidence, best: Evidence, whole: bool) -> bool:
    """Whether a passage gives the same answer. It must also name the years and codes that the question names, and a row
    of a table hold as much of the question: the same cell in another person's row says nothing about this one."""
    first, second = (_plain(each.quote if whole else each.answer) for each in (one, best))
    named = _codes(asked.question, asked.evidence)
    weight, best_weight = (_weight_of_names(asked.question, each.passage, named) for each in (one, best))
    if not first or first != second or weight < best_weight or not rows_of(one.quote):
        return bool(first) and first == second and weight >= best_weight
    wanted = about(asked.question, asked.language)
    held, best_held = (coverage(wanted, content(each.quote, asked.language)) for each in (one, best))
    return held >= best_held


def _plain(text: str) -> str:
    words = WORD.findall(text.casefold())
    return " ".join(word for word in words if word not in ("a", "an", "the"))


def _folded(evidence: Sequence[Evidence]) -> list[Evidence]:
    """Evidence without sentences that say the same in the same words."""
    known: dict[str, Evidence] = {}
    for one in evidence:
        known.setdefault(_plain(one.quote), one)
    return list(known.values())


def chosen(asked: Asked, model: LanguageModel) -> GroundedAnswer:
    """The model's choice among the sentences of the evidence: a number, as its grammar allows nothing else."""
    offered = _folded(asked.evidence)[:CHOSEN_FROM]
    messages, ids, count = prompting.fitting(
        model, lambda pieces: prompting.choosing(asked.question, pieces), [one.quote for one in offered], room=4
    )
    numbers = [str(number) for number in range(count + 1)]
    said = int(model.generate(ids, max_new_tokens=4, constraint=Choice(numbers)) or 0)
    prompt = prompting.shown(messages)
    if said == 0:
        return asked.refused(Reason("in_no_sentence", (str(count),)), prompt)
    answer = extracted(asked, offered[said - 1])
    return asked.answered(answer.text, answer.citations, prompt)


def written(asked: Asked, model: LanguageModel) -> GroundedAnswer:
    """What the model writes, sentence by sentence, where a sentence of the passages supports it."""
    passages = [one.passage for one in asked.evidence]
    messages, ids, count = prompting.fitting(
        model,
        lambda pieces: prompting.writing(asked.question, pieces),
        [headed(one) for one in passages],
        room=WRITTEN,
    )
    prompt = prompting.shown(messages)
    said = sentences(str(model.generate(ids, max_new_tokens=WRITTEN)))
    kept: list[str] = []
    citations: dict[tuple[str, int | None, str], Citation] = {}
    for sentence in said:
        words = re.sub(r"\s*\[\d+\]", "", " ".join(sentence.split()))
        found = supported(asked, passages[:count], words)
        if found is None or any(one.startswith(f"{found[0]} [") for one in kept):
            continue
        words, span = found
        place = (span.file, span.start, span.text)
        cited = citations.setdefault(place, replace(span, number=len(citations) + 1))
        kept.append(f"{words} [{cited.number}]")
    if not kept:
        return asked.refused(Reason("unsupported"), prompt)
    return asked.answered(" ".join(kept), list(citations.values()), prompt)


def supported(asked: Asked, passages: Sequence[Passage], sentence: str) -> tuple[str, Citation] | None:
    """How a written sentence is shown, and what of the passages supports it; a yes or no with the question that the
    document answers by it."""
    found = supporting(passages, sentence, asked.language)
    if found is None or not says_yes_or_no(sentence):
        return None if found is None else (sentence, found)
    return _with_its_question(asked, sentence, found.start or 0, found)


def supporting(passages: Sequence[Passage], sentence: str, language: str) -> Citation | None:
    """The first sentence of the passages, or two that follow each other, that supports a written one; of tables one
    row, as what two rows hold belongs to different things."""
    for together in (1, 2):
        for one in passages:
            spans = units(one.text)
            for first, last in zip(spans, spans[together - 1 :], strict=False):
                if together > 1 and any(rows_of(one.text[slice(*span)]) for span in (first, last)):
                    continue
                text = one.text[first[0] : last[1]]
                if supports(text, sentence, language, f"{one.document} {one.heading}"):
                    return Citation.of(0, one, first[0], last[1])
    return None
