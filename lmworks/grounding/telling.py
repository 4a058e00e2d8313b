"""How an answer from documents is told: its text, and each citation with the place where it stands.

for line in lines_of(answer, index): print(line)
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from lmworks.grounding.answer import Answer, Citation
from lmworks.grounding.index import Index


def lines_of(answer: Answer, index: Index) -> list[str]:
    """For a terminal: the answer, or why there is none; then the citations, verbatim where the answer is not."""
    if answer.refused:
        return [answer.text, *([answer.reason] if answer.reason else [])]
    lines = [_flowing(answer.text), ""]
    for one in answer.citations:
        above = " > ".join(filter(None, [one.document, one.heading]))
        lines.append(f"[{one.number}] {one.file}, {place_of(one, index)} ({above})")
        if one.text not in answer.text:
            lines.append("    " + _flowing(one.text))
    return lines


def facts_of(answer: Answer, index: Index) -> dict[str, Any]:
    """For programs: the answer with its citations, and not what else was found."""
    return {
        "text": answer.text,
        "refused": answer.refused,
        "confidence": answer.confidence,
        "reason": answer.reason,
        "citations": [asdict(one) | {"place": place_of(one, index)} for one in answer.citations],
    }


def place_of(citation: Citation, index: Index) -> str:
    """Where a citation begins in its document, as a line of its text; in characters where it is there no more."""
    text = index.document(citation.file)
    if text is None:
        return f"characters {citation.start:,} to {citation.end:,}"
    return f"line {text.count(chr(10), 0, citation.start) + 1:,}"


def _flowing(text: str) -> str:
    """A text without the line ends of the document that it stands in."""
    return " ".join(text.split())
