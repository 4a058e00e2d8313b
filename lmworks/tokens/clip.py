"""CLIP's tokenizer: BPE of lower-cased words over bytes, whose last piece of each word says so (`</w>`).

tokenizer = Tokenizer(clip_vocabulary("bpe_simple_vocab_16e6.txt.gz"))     # the file that OpenAI publishes
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path

import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors

from lmworks.basics.errors import ModelError
from lmworks.tokens.library import in_words
from lmworks.tokens.vocabulary import Vocabulary, make_special

START, END, LAST = "<|startoftext|>", "<|endoftext|>", "</w>"
SIZE = 49_408
"""Ids: 256 bytes, as many at the end of a word, the merges, and two special tokens."""
CONTEXT = 77
_MOST_BYTES = 64 * 2**20
_WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def clip_backend(vocabulary: dict[str, int], merges: Sequence[tuple[str, str]]) -> tokenizers.Tokenizer:
    """The library's tokenizer of a vocabulary and its merges, as transformers makes it."""
    backend = tokenizers.Tokenizer(
        models.BPE(vocab=vocabulary, merges=list(merges), end_of_word_suffix=LAST, unk_token=END)
    )
    backend.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    make_special(backend, [START, END])
    end, start = (backend.token_to_id(text) or 0 for text in (END, START))
    around = processors.RobertaProcessing((END, end), (START, start), trim_offsets=False, add_prefix_space=False)
    backend.post_processor = around
    return backend


def clip_vocabulary(path: str | Path) -> Vocabulary:
    """The vocabulary of the merges that OpenAI publishes. ModelError for another file."""
    path = Path(path)
    try:
        with gzip.open(path) as file:
            lines = file.read(_MOST_BYTES).decode("utf-8").split("\n")
        merges = [(first, second) for first, second in (line.split() for line in lines[1 : SIZE - 512 - 1])]
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise ModelError(f"{path} is not CLIP's file of merges ({error}); fetch or copy it again") from None
    letters = _letters()
    pieces = [*letters, *(letter + LAST for letter in letters), *("".join(pair) for pair in merges), START, END]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    with in_words(lambda error: ModelError(f"{path} is not CLIP's file of merges ({error})")):
        backend = clip_backend(vocabulary, merges)
    start, end = vocabulary[START], vocabulary[END]
    return Vocabulary(backend, path.stem, bos=start, eos=end, pad=end, unknown=end, max_length=CONTEXT)


def _letters() -> list[str]:
    """A letter for each byte, those first that are letters themselves: the order of the first 256 ids."""
    shown = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in shown]
    return [chr(byte) for byte in shown] + [chr(256 + number) for number in range(len(others))]
