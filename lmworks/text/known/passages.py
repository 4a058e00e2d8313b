"""Questions on paragraphs."""

from __future__ import annotations

import json

from lmworks.text.document import Document
from lmworks.text.entry import Entry


def _paragraphs(text: str, name: str) -> list[Document]:
    """The paragraphs that SQuAD's questions are about; whoever wants the questions reads `content`."""
    paragraphs = [
        (article["title"], one["context"]) for article in json.loads(text)["data"] for one in article["paragraphs"]
    ]
    return [Document(context, f"{name}#{title}") for title, context in paragraphs]


ENTRIES: dict[str, Entry] = {}
ENTRIES["squad2-half"] = Entry(
    folder="squad2",
    repository="chrischute/squad",
    commit="85623adeb9e6639f145081fea9cae2d8f3a26379",
    path="data/dev-v2.0.json",
    sha256="e67e5969b6dc6c1642154740806b79263b77fc048c7c11ee60d534eb48ef81e8",
    bytes=2_185_577,
    licence="CC BY-SA 4.0 (SQuAD 2.0, Rajpurkar et al. 2018)",
    what="half of SQuAD 2.0's development set: 6,078 questions on 16 articles, 3,168 of them without an answer",
    documents=_paragraphs,
)
ENTRIES["squad-du-test"] = Entry(
    folder="squad_du",
    repository="tomhosking/squad-du-split",
    commit="beac7f3ddcdd579010c7352646938e8ab31e8add",
    path="test-v1.1.json",
    sha256="e7853905d95f255090f58a2af5221c7f2b296934f8a6c1d77b36df4686f0d828",
    bytes=3_771_656,
    licence="CC BY-SA 4.0 (SQuAD 1.1, Rajpurkar et al. 2016)",
    what="44 articles of SQuAD 1.1's training set (Du et al. 2017 test on them): 11,877 questions",
    documents=_paragraphs,
)
ENTRIES["xquad-en"] = Entry(
    folder="xquad",
    repository="google-deepmind/xquad",
    commit="7d30520c717524000f0d9d2f9c10a069acd9d285",
    path="xquad.en.json",
    sha256="e4c57d1c9143aaa1c5d265ba5987a65f4e69528d2a98f29d6e75019b10344f29",
    bytes=609_383,
    licence="CC BY-SA 4.0 (XQuAD, Artetxe et al. 2020)",
    what="XQuAD in English: 1,190 questions on 240 paragraphs of 48 articles",
    documents=_paragraphs,
)
