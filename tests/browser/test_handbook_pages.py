"""The handbook's pages in Chromium: what axe says of them, at both sizes and in both schemes."""

from __future__ import annotations

from pathlib import Path

import pytest

from browser.axe import judged, package
from browser.test_lab_pages import SCHEMES, WIDTHS
from lmworks.jobs.handbook import build

DOCS = Path(__file__).parents[2] / "docs"
WITHOUT_HEADING = "page-has-heading-one"
"""The theme's page of search results writes its heading with a script."""


@pytest.fixture(scope="module")
def handbook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("furo", reason="the handbook is made with the extra handbook")
    folder = tmp_path_factory.mktemp("handbook") / "html"
    build(DOCS, folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_axe_has_no_objection_to_any_page(chromium, handbook, width, scheme):
    script, said = package("axe-core/axe.min.js").read_text(encoding="utf-8"), {}
    names = sorted(path.relative_to(handbook).as_posix() for path in handbook.rglob("*.html"))
    assert len(names) > 50
    context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    for name in names:
        page.goto((handbook / name).as_uri())
        if found := [one for one in judged(page, script) if not one.startswith(WITHOUT_HEADING)]:
            said[name] = found
    context.close()
    assert said == {}
