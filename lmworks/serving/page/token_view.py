"""A text as its tokens, each with its probability and what else was likely there, growing while it is written."""

from __future__ import annotations

import codecs
import math
from collections.abc import Sequence
from typing import Any

from nicegui.element import Element

from lmworks.generation.sequence import Token
from lmworks.serving.api.token_texts import TokenTexts

Facts = dict[str, Any]


class TokenView(Element, component="tokens.js"):
    """The tokens on the page (tokens.js)."""

    def __init__(self, tokens: Sequence[Facts] = (), *, coloured: bool = True) -> None:
        super().__init__()
        self._props["start"], self._props["coloured"] = list(tokens), coloured

    def add(self, tokens: Sequence[Facts], writing: bool) -> None:
        """More tokens; `writing` tells whether others follow."""
        self.run_method("add", list(tokens), writing)


class ShownTokens:
    """Tokens as the page shows them. Those that are only parts of a character are joined: none is shown broken."""

    def __init__(self, texts: TokenTexts) -> None:
        self._texts = texts
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._waiting: list[Token] = []

    def of(self, tokens: Sequence[Token]) -> list[Facts]:
        """Facts for tokens.js: text, p (None where it is not known), others, end."""
        shown = []
        for token in tokens:
            self._waiting.append(token)
            if token.id in self._texts.tokenizer.special:
                text = self._texts.named(token.id)[0]
            elif not (text := self._decoder.decode(bytes(self._texts.named(token.id)[1]))):
                continue
            shown.append(self._facts(text, self._waiting))
            self._waiting = []
        return shown

    def _facts(self, text: str, tokens: Sequence[Token]) -> Facts:
        logprobs = [token.logprob for token in tokens]
        known = all(one is not None for one in logprobs)
        first = tokens[0]
        others = [(number, value) for number, value in first.top if number != first.id]
        return {
            "text": text,
            "p": math.exp(sum(one for one in logprobs if one is not None)) if known else None,
            "others": [{"text": self._texts.named(number)[0], "p": math.exp(value)} for number, value in others],
            "end": tokens[-1].id in self._texts.tokenizer.special,
        }
