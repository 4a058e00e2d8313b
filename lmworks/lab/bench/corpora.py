"""Texts for tokenizers to learn from and to be judged by: languages, domains, made-up words and compounds.

english = language("en", "multi30k-en", train=600_000, held_out=10_000)
lost_share(tokenizer, english.held_out)
compounds(word_counts, taken, count=200, seed=100)
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lmworks.basics.errors import ConfigError, DataError
from lmworks.lab.bench.small_network import BYTES
from lmworks.lab.bench.writers import drawn
from lmworks.models.relatives.ngram import Ngram
from lmworks.text.document import Document
from lmworks.text.sources import read
from lmworks.text.splits import parts, place, split
from lmworks.tokens.lost import losses
from lmworks.tokens.tokenizer import Tokenizer
from lmworks.tokens.trainer import TokenizerConfig, train_tokenizer

CATALOGUES = Path("/usr/share/locale")
MESSAGES = "messages:"
"""`messages:ru` is what PostgreSQL's server says in Russian, by Debian's package, whichever version is there."""
UNSPACED = ("zh", "ja", "th")
"""Languages without spaces between words, in which nobody can say what a rare word is."""
RARE = 2
"""Times that a rare word came in the training text, at most."""
HOME = "at home"
LETTERS = ("byte", "character")
"""Kinds of tokens without a size to choose."""
PIECE = 400
"""Characters that a longer document is cut into."""


@dataclass(frozen=True)
class Language:
    """One language: documents to learn from, texts to judge by, and which of those have a rare word."""

    train: list[Document]
    held_out: list[str]
    rare: tuple[bool, ...]


def language(name: str, reference: str, train: int, held_out: int) -> Language:
    """Read up to that many bytes for each side. DataError for messages that are not here."""
    whole = split(read(catalogue(reference)).documents, 0.1)
    # In the order of their hashes, which is as good as by lot.
    learnt = within(sorted(whole.train, key=place), train)
    judged = drawn([document.text for document in whole.held_out], held_out, 0)
    seen = Counter(word for document in learnt for word in words_of(document.text))
    rare = (name not in UNSPACED and any(seen[word] <= RARE for word in words_of(text)) for text in judged)
    return Language(learnt, judged, tuple(rare))


def catalogue(reference: str) -> str:
    """The newest file of a language's messages; any other reference as it is."""
    if not reference.startswith(MESSAGES):
        return reference
    code = reference.removeprefix(MESSAGES)
    found = sorted(CATALOGUES.glob(f"{code}/LC_MESSAGES/postgres-*.mo"), key=_version)
    if not found:
        raise DataError(
            f"{reference}: PostgreSQL's messages are not here; they come with its server (Debian: apt install "
            'postgresql), or name other texts: --set \'texts={en="multi30k-en", de="multi30k-de", ru="a.txt", '
            'zh="b.txt"}\''
        )
    return str(found[-1])


def _version(path: Path) -> int:
    return int(re.sub(r"\D", "", path.stem) or 0)


def within(documents: Iterable[Document], size: int) -> list[Document]:
    """The first documents up to about `size` bytes; at least one."""
    chosen: list[Document] = []
    for document in documents:
        size -= len(document.text.encode()) + 1
        if chosen and size < 0:
            break
        chosen.append(document)
    return chosen


def cut(documents: Iterable[Document]) -> list[Document]:
    """The documents, long ones in pieces, in the order of their hashes."""
    return sorted((piece for document in documents for piece in parts(document, PIECE)), key=place)


def words_of(text: str) -> list[str]:
    """Runs of letters."""
    return re.findall(r"[^\W\d_]+", text)


def lost_share(tokenizer: Tokenizer, texts: Sequence[str]) -> float:
    """The share of the texts' bytes that a tokenizer's unknown tokens stand for."""
    gone = (loss.text for text in texts for loss in losses(tokenizer, text)[1] if loss.text is not None)
    return sum(len(text.encode()) for text in gone) / sum(len(text.encode()) for text in texts)


@dataclass(frozen=True)
class Domains:
    """A home to learn from, and new domains."""

    train: list[str]
    own: list[str]
    """All held-out texts of the home."""
    judged: dict[str, list[str]]
    """Some texts of each domain, the home's among them."""
    taken: set[str]
    """All words of all texts."""

    @classmethod
    def read(cls, home: Sequence[str], away: Mapping[str, str], train: int, held_out: int) -> Domains:
        """Up to that many bytes for each side. ConfigError where a text is at home and away."""
        both = set(home) & set(away.values())
        if both:
            raise ConfigError(f"{', '.join(sorted(both))} is in home and in away; a text is not new to itself")
        whole = split([one for reference in home for one in read(reference).documents], 0.1)
        learnt = _texts(within(cut(whole.train), train))
        own = _texts(cut(whole.held_out))
        texts = {HOME: own, **{name: _texts(cut(read(reference).documents)) for name, reference in away.items()}}
        words = {word for part in (learnt, *texts.values()) for text in part for word in words_of(text)}
        return cls(learnt, own, {name: drawn(part, held_out, 0) for name, part in texts.items()}, words)

    @property
    def seen(self) -> Counter[str]:
        """How often each word came in the text to learn from."""
        return Counter(word for text in self.train for word in words_of(text))


def _texts(documents: Iterable[Document]) -> list[str]:
    return [document.text for document in documents]


def tokenizers(texts: Sequence[str], kinds: Iterable[str], size: int) -> dict[str, Tokenizer]:
    """A tokenizer of each kind, of that size where it has one to choose."""
    found = {}
    for kind in kinds:
        config = TokenizerConfig.model_validate({"kind": kind, "vocab_size": None if kind in LETTERS else size})
        found[kind] = train_tokenizer(texts, config, kind)
    return found


def counted_bits(train: Sequence[str], texts: Sequence[str], order: int) -> float:
    """Bits per byte of texts and their ends under an n-gram model over bytes."""
    model = Ngram.train(([*text.encode(), BYTES] for text in train), BYTES + 1, order)
    nats = -sum(float(model.score([*text.encode(), BYTES]).sum()) for text in texts)
    return nats / math.log(2) / sum(len(text.encode()) + 1 for text in texts)
