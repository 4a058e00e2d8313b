"""Questions made from the documents of an index, each with the passages that are right.

    for one in questions_of(index, seed=0, count=200): print(one.kind, one.text, one.answer)

Of three kinds, as people ask for three things:
- a fact: a sentence with a name, a number or its rarest word taken out; the passage that says it. In English it reads
  like a question that a person could ask (`readable`), and is looked for in other words (`wording`);
- a topic: a sentence that is taken out of its passage (in memory; the index stays as it is); what is left of that
  passage (Lee et al. 2019 train retrieval so, https://arxiv.org/abs/1906.00300);
- a heading: a heading or title; the passages below it, with that heading taken off them.
"""

from __future__ import annotations

import hashlib
import itertools
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from lmworks.grounding import postings
from lmworks.grounding.index import Index
from lmworks.grounding.passage import Passage
from lmworks.grounding.self_test.readable import asked_in
from lmworks.grounding.self_test.wording import WORD, near_words, reworded
from lmworks.grounding.terms import terms
from lmworks.text.sentences import sentence_spans

Kind = Literal["fact", "topic", "heading"]
SHARES: dict[Kind, float] = {"fact": 0.5, "topic": 0.25, "heading": 0.25}
"""How many of the questions are of each kind, where the documents have enough for each."""
LEAST = 8
"""Words of a sentence that a question is made of, at least."""
MOST_READ = 4000
"""Passages that questions are made from, at most; of a larger index a sample."""
MOST_PARTS = 4
"""Passages of a section that a heading asks for, at most: longer ones hold more than their heading says."""
ASKED = {"number": "how many", "name": "who or what", "word": "what"}


@dataclass(frozen=True)
class SelfTestQuestion:
    """A question whose answer's place is known."""

    text: str
    kind: Kind
    passages: tuple[Passage, ...]
    """Those that are right; any one is enough."""
    words: str = ""
    """What is searched for: the question in other words; empty where that is the text itself."""
    answer: str = ""
    """What was taken out, verbatim; empty for a topic and a heading."""
    sentence: str = ""
    """The sentence that it was made from, verbatim; empty for a heading."""
    replaced: Mapping[int, str] = field(default_factory=dict)
    """What the right passages are found by, by chunk, where the index's text gives the question away."""
    bodies: Mapping[int, str] = field(default_factory=dict)
    """What a cross-encoder reads of those whose text itself does."""
    spoilt: str = ""
    """The first right passage without the sentence: nearly the same, and no answer; empty but for a fact."""

    @property
    def query(self) -> str:
        """What is searched for."""
        return self.words or self.text


def questions_of(index: Index, seed: int = 0, count: int = 200) -> list[SelfTestQuestion]:
    """At most `count` questions, the same for the same documents and seed; fewer, or none, from few documents."""
    passages = _passages(index, seed)
    found: dict[Kind, list[SelfTestQuestion]] = {"heading": _headings(passages, index, count)}
    usable = [(one, spans) for one in passages if (spans := _sentences(one.text))]
    near = near_words(
        [one.text for one in passages],
        (
            word
            for one, spans in usable[: 2 * count]
            for start, end in spans
            for word in WORD.findall(one.text[start:end])
        ),
        index.embedder,
        index.language,
    )
    rarity = _Rarity(index)
    found["fact"] = _facts(usable, rarity, near, seed, count)
    # Other passages than facts where there are enough: what is asked about twice counts twice.
    later = [*usable[count // 2 :], *usable[: count // 2]]
    found["topic"] = [
        made for one, spans in later[:count] if (made := _topic(one, spans, index.language, _draw(seed + 1, one)))
    ]
    return _shared_out(found, count)


def _shared_out(found: Mapping[Kind, Sequence[SelfTestQuestion]], count: int) -> list[SelfTestQuestion]:
    """As many of each kind as `SHARES` says; what one kind lacks goes to the facts, then to the topics."""
    taken = {kind: min(len(found[kind]), round(share * count)) for kind, share in SHARES.items()}
    for kind in SHARES:
        taken[kind] += min(count - sum(taken.values()), len(found[kind]) - taken[kind])
    return [one for kind in SHARES for one in found[kind][: taken[kind]]]


def _passages(index: Index, seed: int) -> list[Passage]:
    """Passages in an order that depends on the seed and on where they stand, not on their numbers."""
    with index.storage.reading() as reading:
        there = np.flatnonzero(postings.lengths_of(reading))
        if len(there) > MOST_READ:
            there = np.random.default_rng(seed).choice(there, MOST_READ, replace=False)
        found = reading.passages([int(one) for one in there])
    return sorted(found, key=lambda one: hashlib.sha256(f"{seed} {one.file} {one.start}".encode()).digest())


def _draw(seed: int, passage: Passage) -> random.Random:
    return random.Random(f"{seed} {passage.file} {passage.start}")


def _sentences(text: str) -> list[tuple[int, int]]:
    return [(start, end) for start, end in sentence_spans(text) if len(WORD.findall(text[start:end])) >= LEAST]


class _Rarity:
    """In how many chunks a word's stem stands."""

    def __init__(self, index: Index) -> None:
        self.index, self.known = index, dict[str, int]()

    def __call__(self, word: str) -> int:
        stem = " ".join(terms(word, self.index.language)[:1])
        if stem not in self.known:
            with self.index.storage.reading() as reading:
                self.known[stem] = postings.holding(reading, stem)
        return self.known[stem]


def _facts(
    usable: Sequence[tuple[Passage, Sequence[tuple[int, int]]]],
    rarity: _Rarity,
    near: Mapping[str, str],
    seed: int,
    count: int,
) -> list[SelfTestQuestion]:
    """One of each passage first, then further ones."""
    made = [list(_facts_of(one, spans, rarity, near, _draw(seed, one))) for one, spans in usable[: 4 * count]]
    turns = itertools.chain.from_iterable(itertools.zip_longest(*made))
    return [one for one in turns if one is not None][:count]


def _facts_of(
    passage: Passage,
    spans: Sequence[tuple[int, int]],
    rarity: _Rarity,
    near: Mapping[str, str],
    draw: random.Random,
) -> Iterator[SelfTestQuestion]:
    """A question for each sentence that makes one; in other languages than English for one sentence."""
    language = rarity.index.language
    for begin, stop in draw.sample(spans, len(spans) if language == "english" else 1):
        sentence = passage.text[begin:stop]
        readable = list(asked_in(sentence, language))
        if readable:
            asked = draw.choice(readable)
            start, end, kind = asked.start, asked.end, ""
        elif language == "english":
            continue
        else:
            start, end, kind = draw.choice(_answers(sentence) or [_rarest(sentence, rarity)])
        answer = sentence[start:end]
        taken = {word.casefold() for word in WORD.findall(answer)}
        before, after = (
            [word for word in reworded(WORD.findall(part), language, near, draw) if word.casefold() not in taken]
            for part in (sentence[:start], sentence[end:])
        )
        if len(before) + len(after) < 2:
            continue
        words = " ".join([*before, *([ASKED[kind]] if kind else []), *after])
        spoilt = passage.text[:begin] + passage.text[stop:]
        spoilt = _whole(passage, spoilt) if spoilt.strip() else ""
        text = asked.text if readable else f"{words}?"
        yield SelfTestQuestion(text, "fact", (passage,), words, answer, sentence, spoilt=spoilt)


def _answers(sentence: str) -> list[tuple[int, int, str]]:
    """Numbers, and names: words with a capital letter that do not begin the sentence, together with their like."""
    words, found, at = list(WORD.finditer(sentence)), [], 0
    while at < len(words):
        word, last = words[at].group(), at
        if any(letter.isdigit() for letter in word):
            found.append((words[at].start(), words[at].end(), "number"))
        elif at and word[0].isupper():
            while last + 1 < len(words) and _goes_on(sentence, words[last], words[last + 1]):
                last += 1
            found.append((words[at].start(), words[last].end(), "name"))
        at = last + 1
    return found


def _goes_on(sentence: str, word: re.Match[str], following: re.Match[str]) -> bool:
    return following.group()[0].isupper() and sentence[word.end() : following.start()] == " "


def _rarest(sentence: str, rarity: _Rarity) -> tuple[int, int, str]:
    words = [one for one in WORD.finditer(sentence) if len(one.group()) > 3] or list(WORD.finditer(sentence))
    rarest = min(words, key=lambda one: (rarity(one.group()), one.start()))
    return rarest.start(), rarest.end(), "word"


def _topic(
    passage: Passage, spans: Sequence[tuple[int, int]], language: str, draw: random.Random
) -> SelfTestQuestion | None:
    start, end = draw.choice(spans)
    left = passage.text[:start] + passage.text[end:]
    if len(WORD.findall(left)) < LEAST:
        return None
    sentence = passage.text[start:end]
    words = reworded(WORD.findall(sentence), language, {}, draw)
    found_by = {passage.chunk: _whole(passage, left)}
    text = " ".join(sentence.split())
    return SelfTestQuestion(text, "topic", (passage,), " ".join(words), "", sentence, found_by, {passage.chunk: left})


def _headings(passages: Sequence[Passage], index: Index, count: int) -> list[SelfTestQuestion]:
    """Of sections with few passages and none below them; a title where the document says it and has no headings."""
    sections: dict[tuple[str, str], list[Passage]] = {}
    for one in passages:
        sections.setdefault((one.file, one.heading), []).append(one)
    above = {(file, heading.rpartition(" > ")[0]) for file, heading in sections if heading}
    found: list[SelfTestQuestion] = []
    for (file, heading), own in sections.items():
        first, _, asked = heading.rpartition(" > ") if heading else ("", "", own[0].document)
        if (file, heading) in above or len(own) > MOST_PARTS or len(WORD.findall(asked)) < 2:
            continue
        if not heading and asked not in (index.document(file) or "")[: 2 * len(asked) + 10]:
            continue  # a file's name, which the text does not say
        replaced = {one.chunk: _joined(one.document if heading else "", first, one.text) for one in own}
        found.append(SelfTestQuestion(asked, "heading", tuple(own), replaced=replaced))
        if len(found) == count:
            break
    return found


def _whole(passage: Passage, text: str) -> str:
    return _joined(passage.document, passage.heading, text)


def _joined(*parts: str) -> str:
    """As a chunk is indexed (`Chunk.whole`)."""
    return "\n".join(part for part in parts if part)
