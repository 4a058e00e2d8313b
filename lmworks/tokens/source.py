"""What an encoder-decoder reads and writes: the ids of a source, those of a target, and the id that opens a target."""

from __future__ import annotations

from lmworks.basics.errors import ConfigError
from lmworks.tokens.tokenizer import Tokenizer


def source_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """The ids that an encoder reads: the text with what the tokenizer adds around it, ended in any case.

    T5 and Marian end a source with </s>, BART opens it with <s> too; where the tokenizer adds no end of its own EOS is
    put there, as those do, so that the encoder can see that the text is over: the end of a document may be padding.
    """
    ids, ends = tokenizer.encode(text), (tokenizer.eos, tokenizer.document_end)
    if tokenizer.suffix:
        return ids
    return [*ids, *[end for end in ends if end is not None and end != tokenizer.pad][:1]]


def around_a_text(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """What an encoder reads before and after a text whose class it is to tell: [CLS] and [SEP], or what else the
    tokenizer adds; else what opens and ends a document, where it has that."""
    opening, closing = ([] if one is None else [one] for one in (tokenizer.document_start, tokenizer.document_end))
    return list(tokenizer.prefix) or opening, list(tokenizer.suffix) or closing


def between_texts(tokenizer: Tokenizer) -> list[int]:
    """What an encoder reads between the two texts of a pair: [SEP], RoBERTa's </s></s>, or what else the tokenizer puts
    there; what closes a text, where it puts nothing."""
    return list(tokenizer.between) or around_a_text(tokenizer)[1]


def target_start(tokenizer: Tokenizer) -> int:
    """The id that a decoder reads before the first token of a target.

    The model's own files name it (decoder_start_token_id); else it is what opens a document, else padding.
    """
    for number in (tokenizer.vocabulary.target_start, tokenizer.document_start, tokenizer.pad, tokenizer.document_end):
        if number is not None:
            return number
    raise ConfigError(
        f"the tokenizer of {tokenizer.name} has no token that could open a target; give it a BOS, EOS or padding token"
    )


def target_ids(tokenizer: Tokenizer, text: str, first: int | None = None) -> list[int]:
    """The ids that a decoder is to write: the text and the end of a document, after the `first` token that the model's
    own files force (BART's <s>), where they do. `target_start` is not among them."""
    opening = [] if first is None else [first]
    closing = [] if tokenizer.document_end is None else [tokenizer.document_end]
    return [*opening, *tokenizer.encode(text, special=False), *closing]
