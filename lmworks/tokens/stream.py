"""From token ids, one at a time, to text that can be shown at once and never has to be taken back.

    decoder = StreamDecoder(tokenizer, stop=["\\n\\n"])
    for number in generated:
        show(decoder.push(number))
        if decoder.stopped is not None:
            break
    show(decoder.finish())

A character is shown when its last byte has come, and text that may be the beginning of a stop string is
held back until it is one, or is not. What was shown, joined, is what `decode` gives for the same ids, up to
the first stop string.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from lmworks.basics.errors import ConfigError
from lmworks.tokens.tokenizer import Tokenizer


class StreamDecoder:
    """Decodes a stream of ids; special tokens are not shown. Time per token does not grow with the text."""

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str] = (), skips_space: bool = False) -> None:
        """With `skips_space` white space before the first character is not shown, and no stop string begins in it."""
        if isinstance(stop, str) or not all(isinstance(text, str) and text for text in stop):
            raise ConfigError("stop is a list of texts, none of them empty")
        self._tokenizer, self._stops = tokenizer, tuple(stop)
        self._longest = max(map(len, self._stops), default=0)
        self._characters = codecs.getincrementaldecoder("utf-8")("replace")
        self._held, self._skips_space = "", skips_space
        self._started = False
        self.stopped: str | None = None
        """The stop string that ended the text; of several that begin at one place, the longest."""

    def push(self, number: int) -> str:
        """The text that is safe to show now that this token has come; nothing more after a stop."""
        piece = self._tokenizer.token_bytes(number)
        if piece and not self._started:
            self._started = True
            if self._tokenizer.adds_space:  # SentencePiece's first token carries a space that is no text
                piece = piece.removeprefix(b" ")
        return self._shown(self._characters.decode(piece))

    def finish(self) -> str:
        """What was held back, when no further token comes."""
        return self._shown(self._characters.decode(b"", final=True), last=True)

    def _shown(self, new: str, last: bool = False) -> str:
        if self._skips_space:
            new = new.lstrip()
            self._skips_space = not new
        if self.stopped is not None or not (new or last):
            return ""
        if not self._stops:
            return new
        self._held += new
        found = [(place, -len(stop), stop) for stop in self._stops if (place := self._held.find(stop)) >= 0]
        if found and (last or not self._may_begin_before(min(found)[0])):
            place, _, self.stopped = min(found)
            shown, self._held = self._held[:place], ""
            return shown
        keep = 0 if last else len(self._held) - self._first_possible()
        shown, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return shown

    def _first_possible(self) -> int:
        """Where the earliest stop string begins that is not complete yet; the text's end if there is none."""
        end = len(self._held)
        return next(
            (
                place
                for place in range(max(end - self._longest + 1, 0), end)
                if any(len(stop) > end - place and stop.startswith(self._held[place:]) for stop in self._stops)
            ),
            end,
        )

    def _may_begin_before(self, place: int) -> bool:
        """Whether a longer stop string may still come to begin at or before a complete one."""
        return self._first_possible() <= place
