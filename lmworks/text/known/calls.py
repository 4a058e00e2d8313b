"""Questions that a call of a function answers."""

from __future__ import annotations

import json

from lmworks.text.document import Document
from lmworks.text.entry import Entry


def _called(text: str, name: str) -> list[Document]:
    """BFCL's questions; of its answers, the calls as they are written there."""
    records = [json.loads(line) for line in text.splitlines()]
    said = [
        one["question"][0][-1]["content"] if "question" in one else json.dumps(one["ground_truth"]) for one in records
    ]
    return [Document(one, f"{name}#{number}") for number, one in enumerate(said, 1)]


ENTRIES: dict[str, Entry] = {}
ENTRIES |= {
    f"bfcl-{name}": Entry(
        folder="bfcl",
        repository="ShishirPatil/gorilla",
        commit="6ea57973c7a6097fd7c5915698c54c17c5b1b6c8",
        path=f"berkeley-function-call-leaderboard/bfcl_eval/data/{file}",
        sha256=sha256,
        bytes=size,
        licence="Apache-2.0 (Patil et al. 2025)",
        what=f"BFCL v4: {what}",
        documents=_called,
        local=local,
    )
    for name, file, local, size, sha256, what in (
        (
            "simple",
            "BFCL_v4_simple_python.json",
            None,
            283_274,
            "82dd63ba502eb2520c6b5d1d9a5c4b590e03ff261565175561f6228a367d1991",
            "400 questions, each with the one function that answers it",
        ),
        (
            "simple-answers",
            "possible_answer/BFCL_v4_simple_python.json",
            "answers_simple_python.json",
            63_627,
            "90cd5bc653690ee8e459b5b3f3fc9458606f7f3fcbf795bb51b7dc581f8c86dc",
            "the calls that are right for bfcl-simple",
        ),
        (
            "multiple",
            "BFCL_v4_multiple.json",
            None,
            316_583,
            "aef168155ebd74b7ac2401198b201343bc7d16d7a3d7e0d4e6d8ee82c6969b2a",
            "200 questions, each with two to four functions, one of which answers it",
        ),
        (
            "multiple-answers",
            "possible_answer/BFCL_v4_multiple.json",
            "answers_multiple.json",
            32_254,
            "244e00ce9395df948bcafc7bee64e8f9c87ef70887587d83cae45b13699f3047",
            "the calls that are right for bfcl-multiple",
        ),
        (
            "parallel",
            "BFCL_v4_parallel.json",
            None,
            171_896,
            "19f51a82eff42e5d62541aa500115a056eb78f437c2ba1f10415fd7c8e5dda84",
            "200 questions that one function answers when it is called several times",
        ),
        (
            "parallel-answers",
            "possible_answer/BFCL_v4_parallel.json",
            "answers_parallel.json",
            66_005,
            "8a6aa19c1adddc6a5a2f7e40f9dbf30cc7e95815e7b830c90589ab318229e0f0",
            "the calls that are right for bfcl-parallel",
        ),
        (
            "irrelevance",
            "BFCL_v4_irrelevance.json",
            None,
            159_940,
            "2b6ed4c2e992cdcf5f1678a701851f944bef7550ee026ed1ddb89efed5be01a6",
            "240 questions that the function beside them does not answer",
        ),
    )
}
