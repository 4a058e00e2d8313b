"""A vocabulary with its rules: the `tokenizers` backend and what the model's files say beside it.

Folders (`folder.py`) and GGUF files (`gguf_vocabulary.py`) are read into it, `Tokenizer` works on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import tokenizers
from tokenizers import AddedToken, processors

END_OF_DOCUMENT = ("<|endoftext|>", "<|end_of_text|>")
"""Special tokens that stand between documents in pretraining, where a vocabulary has one of them."""

END_OF_TURN = (
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|eot|>",
    "<|end|>",
    "<end_of_turn>",
    "<EOT>",
    "<｜end▁of▁sentence｜>",
)
"""Special tokens that close a turn in the public chat templates."""


@dataclass(frozen=True)
class Vocabulary:
    """The backend, the ids with a role, and the chat template's source; ids are None where there is none."""

    backend: tokenizers.Tokenizer
    name: str
    bos: int | None = None
    eos: int | None = None
    pad: int | None = None
    unknown: int | None = None
    stops: frozenset[int] = field(default_factory=frozenset)
    """Ids that the model's own files name as ends, beside `eos`."""
    target_start: int | None = None
    """What an encoder-decoder's files name as the first token that its decoder reads."""
    chat_template: str | None = None
    max_length: int | None = None
    """The longest text in tokens that the model was made for, where its files say so."""
    scores: tuple[float, ...] | None = None
    """By which SentencePiece's BPE chooses what to join, one for each token, where the model's files say them."""
    unused: frozenset[int] = frozenset()
    """Ids that the model's own files call unused."""


def make_special(
    backend: tokenizers.Tokenizer, texts: Iterable[str], strips: Callable[[str], bool] = lambda text: False
) -> None:
    """Make each text a special token of the backend; one that is already special keeps its settings. `strips` says
    which take white space after them away."""
    known = {token.content for token in backend.get_added_tokens_decoder().values() if token.special}
    new = [text for text in dict.fromkeys(texts) if text not in known]
    backend.add_special_tokens([AddedToken(text, special=True, normalized=False, rstrip=strips(text)) for text in new])


def add_around(backend: tokenizers.Tokenizer, before: int | None, after: int | None) -> None:
    """Let the backend put these tokens before and after every text (none where None)."""
    first = [] if before is None else [(backend.id_to_token(before), before)]
    last = [] if after is None else [(backend.id_to_token(after), after)]
    # A token's text may hold spaces or colons, which the template's language cannot: aliases stand for it.
    template = ["BEFORE"] * len(first) + ["$A"] + ["AFTER"] * len(last)
    backend.post_processor = processors.TemplateProcessing(
        single=template,
        pair=[*template, "$B"],
        special_tokens=[
            {"id": alias, "ids": [number], "tokens": [text]}
            for alias, pairs in (("BEFORE", first), ("AFTER", last))
            for text, number in pairs
        ],
    )
