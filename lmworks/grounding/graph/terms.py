"""Terms of a graph as queries give them back, and the names of the web's vocabularies that are used here."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import unquote

XSD = "http://www.w3.org/2001/XMLSchema#"
RDFS = "http://www.w3.org/2000/01/rdf-schema#"
SKOS = "http://www.w3.org/2004/02/skos/core#"
KIND = "http://www.w3.org/1999/02/22-rdf-syntax-ns#type"
LABEL = f"{RDFS}label"
ALSO = f"{SKOS}altLabel"
TEXT = "http://www.w3.org/ns/prov#value"
"""Of the named graph of a sentence: the sentence."""
NAMES = (
    LABEL,
    f"{SKOS}prefLabel",
    "http://xmlns.com/foaf/0.1/name",
    "http://schema.org/name",
    "https://schema.org/name",
    "http://purl.org/dc/terms/title",
    "http://purl.org/dc/elements/1.1/title",
)
"""Properties whose value is a name; the first is the one that is shown."""
UNASKED = frozenset((*NAMES, ALSO, KIND, TEXT))
"""Properties that questions are not about."""
NUMBERS = frozenset(XSD + one for one in ("integer", "decimal", "double", "float", "int", "long", "nonNegativeInteger"))
DATES = frozenset(XSD + one for one in ("date", "dateTime", "gYear", "gYearMonth"))


@dataclass(frozen=True)
class Term:
    """An IRI, a literal or a blank node."""

    kind: Literal["uri", "literal", "bnode"]
    value: str
    datatype: str = ""
    language: str = ""

    @staticmethod
    def of(binding: dict[str, Any]) -> Term:
        """From SPARQL's JSON results."""
        kind = binding["type"].replace("typed-literal", "literal")
        return Term(kind, binding["value"], binding.get("datatype", ""), binding.get("xml:lang", ""))

    @property
    def number(self) -> float | None:
        """Its value, where it is a number; RDF may call anything one ("many"^^xsd:integer)."""
        try:
            return float(self.value) if self.datatype in NUMBERS else None
        except ValueError:
            return None

    def __str__(self) -> str:
        """As it is written in SPARQL."""
        if self.kind != "literal":
            return f"<{self.value}>" if self.kind == "uri" else f"_:{self.value}"
        text = json.dumps(self.value, ensure_ascii=False).replace("\x7f", "\\u007F")
        if self.language:
            return f"{text}@{self.language}"
        return f"{text}^^<{self.datatype}>" if self.datatype and self.datatype != f"{XSD}string" else text


def local_name(iri: str) -> str:
    """What an IRI says for want of a name: its last part, in words (`birthPlace` is "birth place")."""
    last = unquote(re.split(r"[#/:]", iri.rstrip("#/:"))[-1])
    apart = re.sub(r"(?<=[a-z0-9])([A-Z])(?=[a-z])", lambda one: f" {one[1].lower()}", last.replace("_", " "))
    return " ".join(apart.split()) or iri
