"""Running text: articles, plays, stories, books and speeches."""

from __future__ import annotations

from lmworks.text.document import Document
from lmworks.text.entry import Entry


def _articles(text: str, name: str) -> list[Document]:
    """WikiText's articles: each begins at a heading ` = Title = ` between blank lines."""
    lines = text.splitlines(keepends=True)
    starts = [
        at
        for at in range(1, len(lines) - 1)
        if _is_title(lines[at]) and not lines[at - 1].strip() and not lines[at + 1].strip()
    ]
    titles = [lines[at].strip().strip("=").strip() for at in starts]
    starts = [0, *starts[1:], len(lines)]  # what stands before the first heading belongs to it
    return [
        Document("".join(lines[start:end]), f"{name}#{title}")
        for title, start, end in zip(titles, starts, starts[1:], strict=False)
    ]


def _is_title(line: str) -> bool:
    return line.startswith(" = ") and line.rstrip().endswith(" =") and not line.startswith(" = = ")


def _untagged(text: str, name: str) -> list[Document]:
    """Brown's words carry their part of speech: The/at Fulton/np-tl. It is taken away, and lines stay."""
    lines = (" ".join(word.rpartition("/")[0] for word in line.split()) for line in text.split("\n"))
    return [Document("\n".join(lines), name)]


ENTRIES = {
    "wikitext2": Entry(
        folder="wikitext2",
        repository="pytorch/examples",
        commit="77f55b912142e11fcfdf5b530231fb9c52f181e8",
        path="word_language_model/data/wikitext-2/valid.txt",
        sha256="f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8",
        bytes=1_121_681,
        licence="CC BY-SA 3.0 / GFDL (Wikipedia)",
        what="WikiText-2, validation: 60 articles of Wikipedia",
        documents=_articles,
    ),
    "tinyshakespeare": Entry(
        folder="tinyshakespeare",
        repository="karpathy/char-rnn",
        commit="6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e",
        path="data/tinyshakespeare/input.txt",
        sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        bytes=1_115_394,
        licence="public domain",
        what="40,000 lines of Shakespeare",
    ),
    "tinystories-sample": Entry(
        folder="tinystories_sample",
        repository="Niklas6/Mini_GPT",
        commit="0e9893779c9e2048205ea1339eb588983d72adc1",
        path="tinystories.txt",
        sha256="727e8b228375be3075114c20729c93ed6e81ae5d8fe7faf7cb54b304f0322d70",
        bytes=197_290,
        licence="CDLA-Sharing-1.0 (TinyStories, Eldan & Li)",
        what="38,000 words of stories for children",
    ),
    "brown": Entry(
        folder="books_and_speeches",
        repository="nltk/nltk_data",
        commit="5db857e6f7df11eabb5e5665836db9ec8df07e28",
        path="packages/corpora/brown.zip",
        sha256="9b275f9b3b95d7bd66ccfb7cd259f445a13bbe5d1f4107aba09fd3e8364bafa6",
        bytes=3_314_357,
        licence="free for research (Brown Corpus, 1979)",
        what="the Brown Corpus: 500 American texts of 1961, a million words",
        documents=_untagged,
        members=r"brown/c[a-r]\d\d",
    ),
    "brown-tagged": Entry(
        folder="books_and_speeches",
        repository="nltk/nltk_data",
        commit="5db857e6f7df11eabb5e5665836db9ec8df07e28",
        path="packages/corpora/brown.zip",
        sha256="9b275f9b3b95d7bd66ccfb7cd259f445a13bbe5d1f4107aba09fd3e8364bafa6",
        bytes=3_314_357,
        licence="free for research (Brown Corpus, 1979)",
        what="the Brown Corpus with its parts of speech, given by hand: The/at Fulton/np-tl",
        members=r"brown/c[a-r]\d\d",
    ),
    "state-of-the-union": Entry(
        folder="books_and_speeches",
        repository="nltk/nltk_data",
        commit="5db857e6f7df11eabb5e5665836db9ec8df07e28",
        path="packages/corpora/state_union.zip",
        sha256="366c1dc82b2abf896f42b2ec50ba802a0141a29f75d29ca48a7a243ce5bfbe8d",
        bytes=808_757,
        licence="public domain",
        what="65 addresses of American presidents, 1945 to 2006",
        members=r"state_union/.*\.txt",
    ),
}
