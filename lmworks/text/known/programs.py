"""Programs with their tests."""

from __future__ import annotations

from lmworks.text.entry import Entry, records

ENTRIES = {
    "humaneval": Entry(
        folder="humaneval",
        repository="openai/human-eval",
        commit="6d43fb980f9fee3c892a914eda09951f772ad10d",
        path="data/HumanEval.jsonl.gz",
        sha256="1d49078ba3e2b196b9344535bef34a43021f038fad9561d6ee7c53450609a6a2",
        bytes=214_438,
        licence="MIT (Chen et al. 2021)",
        what="HumanEval: 164 functions in Python, begun with their description, with tests",
        documents=records("prompt"),
    ),
    "mbpp": Entry(
        folder="mbpp",
        repository="OckBench/OckBench",
        commit="b72752a0ba5989d3c212675ec60d3eedcd838628",
        path="data/mbpp.jsonl",
        sha256="ccf64ceae9c5403bf50a044cb6d505bfd2a2963ee58338ba268fd65beab92a9f",
        bytes=563_743,
        licence="CC BY 4.0 (Austin et al. 2021)",
        what="MBPP: 974 small programs in Python, described in a sentence, with tests",
        documents=records("text"),
    ),
}
