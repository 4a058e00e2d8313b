"""Two sentences that differ in little: which one is likelier?"""

from __future__ import annotations

import io
import itertools
import json
import re
import zipfile

from lmworks.evaluation.tasks.declaration import Choices, Task
from lmworks.text.registry import ENTRIES, content


def pair(name: str, first: str, second: str, before: str = "", group: str = "") -> Choices:
    """Two sentences after nothing, the first of which is right."""
    return Choices(name, (("", before + first), ("", before + second)), 0, (first, second), group)


def _blimp() -> list[Choices]:
    """One pair of each phenomenon after the other, so that some of them hold all phenomena. A space stands before
    each, as lm-evaluation-harness puts it."""
    phenomena = []
    with zipfile.ZipFile(io.BytesIO(content("blimp"))) as archive:
        for member in sorted(one for one in archive.namelist() if re.fullmatch(str(ENTRIES["blimp"].members), one)):
            records = map(json.loads, archive.read(member).decode().splitlines())
            phenomena.append([_of_blimp(one) for one in records])
    return list(itertools.chain.from_iterable(zip(*phenomena, strict=True)))


def _of_blimp(record: dict[str, str]) -> Choices:
    kind = record["UID"]
    return pair(f"blimp#{kind}#{record['pairID']}", record["sentence_good"], record["sentence_bad"], " ", kind)


BLIMP = Task(
    "blimp",
    "which of two sentences is grammatical (67 phenomena)",
    "blimp",
    _blimp,
    scored=("sum", "rest"),
    main="sum",
    clustered=True,
    examples=False,
)
