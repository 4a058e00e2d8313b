"""How many tokens texts have, where their ids are not asked for.

    count = TokenCounter(tokenizer)
    count(["It rained.", "Then"])          # [3, 1]

Words that come again are looked up, as by `BulkEncoder`, and ASCII is cut by tables of bytes where the tokenizer's cuts
are BERT's: a third of the time that encoding takes.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence

from lmworks.text.words import words_of
from lmworks.tokens.chunks import LONGEST_KNOWN, MOST_KNOWN, boundaries, chunker, is_cut_as_bert
from lmworks.tokens.tokenizer import Tokenizer

_NO_MARK = f"{string.ascii_letters}{string.digits} \t\n\r".encode()
_MARKS = string.punctuation.encode()
SHORT = 20
"""Characters of a text that is remembered whole, as a word of a long sentence is."""


class TokenCounter:
    """Counts the tokens of many texts: `len(ids)` of `Tokenizer.encode_batch(texts, special=False)`."""

    def __init__(self, tokenizer: Tokenizer, most_known: int = MOST_KNOWN) -> None:
        """At most `most_known` words are remembered between calls."""
        self._tokenizer, self._most_known, self._known = tokenizer, most_known, _Sizes()
        self._split: Callable[[str], list[str]] | None = chunker(tokenizer) if boundaries(tokenizer) else None
        self._marks_are_tokens = is_cut_as_bert(tokenizer) and set(self._sizes([*string.punctuation])) == {1}

    def __call__(self, texts: Sequence[str]) -> list[int]:
        """The tokens of each text. DataError for half of a surrogate pair."""
        if self._split is None:
            return [len(ids) for ids in self._tokenizer.encode_batch(texts, special=False)]
        known, new = self._known, self._known.new
        sizes, unsure = [], []
        for at, text in enumerate(texts):
            size = known.get(text)
            if size is None:
                words, marks = self._apart(text, self._split)
                before = len(new)
                size = sum(map(known.__getitem__, words)) + marks
                if len(new) > before:
                    unsure.append((at, words, marks))
                elif len(text) <= SHORT:
                    known[text] = size
            sizes.append(size)
        if new:
            long = self._learn()
            for at, words, marks in unsure:
                sizes[at] = sum(map(known.__getitem__, words)) + marks
            for word in long:
                del known[word]
        if len(known) > self._most_known:
            known.clear()
        return sizes

    def _apart(self, text: str, split: Callable[[str], list[str]]) -> tuple[list[str], int]:
        """What is looked up of a text, and how many tokens the rest is."""
        if self._marks_are_tokens and text.isascii():
            marks = text.encode().translate(None, _NO_MARK)
            if not marks.translate(None, _MARKS):  # else a control character, at which BERT does not cut
                return words_of(text), len(marks)
        return split(text), 0

    def _learn(self) -> list[str]:
        """Count what is new; of that, what is too long to be kept after this call, as it seldom comes again."""
        new = list(dict.fromkeys(self._known.new))
        self._known.new.clear()
        self._known.update(zip(new, self._sizes(new), strict=True))
        return [word for word in new if len(word) > LONGEST_KNOWN]

    def _sizes(self, words: Sequence[str]) -> list[int]:
        sizes: list[int] = self._tokenizer.encode_words(words)[1].tolist()
        return sizes


class _Sizes(dict[str, int]):
    """The tokens of each word, chunk or short text that was met."""

    def __init__(self) -> None:
        self.new: list[str] = []
        """What was looked up and is not known: 0 tokens, until they are counted."""

    def __missing__(self, word: str) -> int:
        self.new.append(word)
        return 0
