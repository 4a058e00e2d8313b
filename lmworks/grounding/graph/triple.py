"""Triple: a fact of a graph, and where it is from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Triple:
    """A fact, and where it is from."""

    subject: str
    property: str
    value: str
    file: str = ""
    """The file that it was loaded from or found in; empty where the graph does not say."""
    start: int | None = None
    """Where its sentence begins in the file, in characters; None for a fact that is in no sentence."""
    end: int | None = None
    sentence: str = ""
    """Verbatim."""
    subject_iri: str = ""
    property_iri: str = ""
    value_term: str = ""

    def __str__(self) -> str:
        return f"{self.subject} | {self.property} | {self.value}"

    def with_file(self) -> str:
        """For people: the fact, and the file or the place in it that it is from."""
        if not self.file:
            return str(self)
        placed = self.start is not None and self.end is not None
        return f"{self}  ({self.file}{f', characters {self.start:,} to {self.end:,}' if placed else ''})"
