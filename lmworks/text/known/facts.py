"""Facts, and sentences that state them."""

from __future__ import annotations

import re

from lmworks.text.document import Document
from lmworks.text.entry import Entry


def _relations(text: str, name: str) -> list[Document]:
    """The sentences of SemEval's training set, without their marks; whoever wants the relations reads `content`."""
    lines = re.findall(r'^\d+\t"(.*<e1>.*)"\s*$', text, re.MULTILINE)
    return [Document(re.sub(r"</?e[12]>", "", line), f"{name}#{at}") for at, line in enumerate(lines, 1)]


ENTRIES: dict[str, Entry] = {}
ENTRIES["semeval2010-task8"] = Entry(
    folder="semeval2010_task8",
    repository="davidsbatista/Annotated-Semantic-Relationships-Datasets",
    commit="ad883cbbaf4e342326b444347cf7d035012a4f4e",
    path="datasets/SemEval2010_task8_all_data.tar.gz",
    sha256="645e690991132824003de517013e94156f31e2d296d9e54230681855d46f3e2b",
    bytes=4147200,
    licence="CC BY 3.0 (SemEval-2010 task 8, Hendrickx et al. 2010)",
    what="10,717 sentences, each with the relation between two of its nominals: an archive",
    documents=_relations,
)
ENTRIES["world-countries"] = Entry(
    folder="world_countries",
    repository="mledoze/countries",
    commit="9e2111888e030214beede791b4767fd29b7d5e93",
    path="dist/countries.json",
    sha256="9b7f563c19178ae803d6db723fd3b16f88e3a2598d04c3e5270cc1cb8fdf401d",
    bytes=772_044,
    licence="ODbL 1.0",
    what="250 countries with capital, currencies, languages, borders (npm's world-countries 5.1.0): a JSON file",
)
