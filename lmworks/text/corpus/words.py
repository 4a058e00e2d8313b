"""Words and sentences for datatrove's filters, by rule: the same for every language, with nothing to download.

datatrove's own choices need spaCy, Stanza and more, one a language. Here a word is a run of letters and digits (`don't`
is one), any other mark is a word of its own (`...` is one), and so is each character of a script that is written
without spaces. A sentence ends at `.`, `!`, `?` or a similar mark before white space or a closing quote.
"""

from __future__ import annotations

import regex
from datatrove.utils.text import TERMINAL_PUNCTUATION
from datatrove.utils.word_tokenizers import WordTokenizer

_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}"
_WORD = regex.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+(?:['’][^\W{_UNSPACED}]+)*|([^\w\s])\1*", regex.VERSION1)
_WIDE = "。！？｡"  # no space follows these
_MARKS = regex.escape("".join(sorted(TERMINAL_PUNCTUATION)), special_only=True)
_END = regex.compile(rf"(?:[{_WIDE}]+|[{_MARKS}]+[\"'”’)\]]*(?=\s))\s*", regex.VERSION0)


class Words(WordTokenizer):
    """datatrove's interface to a word tokenizer."""

    def word_tokenize(self, text: str) -> list[str]:
        """The words of a text, in order; white space is left out."""
        return [match[0] for match in _WORD.finditer(text)]

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        """Where each sentence begins and ends; together they cover the text."""
        ends = [match.end() for match in _END.finditer(text)]
        if not ends or ends[-1] < len(text):
            ends.append(len(text))
        return list(zip([0, *ends[:-1]], ends, strict=True))

    def sent_tokenize(self, text: str) -> list[str]:
        """The sentences of a text, stripped; none is empty."""
        return [text[start:end].strip() for start, end in self.span_tokenize(text) if text[start:end].strip()]


WORDS = Words()
