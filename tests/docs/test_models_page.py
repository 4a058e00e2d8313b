"""docs/models.md stands as the declarations make it."""

from __future__ import annotations

from benchmarks.machine import ROOT
from lmworks.jobs.families import page, public


def test_the_page_is_what_the_declarations_make():
    written = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    assert written == page(), "docs/models.md is not what the declarations make: python -m lmworks.jobs.families"


def test_every_family_names_a_public_model():
    assert [family.name for family in public() if not family.examples] == []
