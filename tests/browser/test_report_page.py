"""The page of a report in Chromium: it fits its screen, is all there on paper, and axe has nothing against it."""

from __future__ import annotations

from pathlib import Path

import pytest
from reporting.test_report import a_report

from browser.test_lab_pages import SCHEMES, WIDTHS, Visit, judged, package
from lmworks.reporting.page import html


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(html(a_report(path.parent)), encoding="utf-8")
    return path.as_uri()


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_fits_its_screen_and_asks_for_nothing_else(chromium, address, width):
    visit = Visit(chromium, width)
    with visit as page:
        page.goto(address)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert len(visit.asked) == 1


def test_it_is_all_there_on_paper(chromium, address):
    with Visit(chromium) as page:
        page.goto(address)
        page.emulate_media(media="print")
        assert page.get_by_text("No training text is known.").is_visible()
        assert page.locator("figure svg.plot .at").count() == 2
        assert page.locator("details table").is_visible()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_axe_has_no_objection(chromium, address, width, scheme):
    script = package("axe-core/axe.min.js").read_text(encoding="utf-8")
    with Visit(chromium, width, color_scheme=scheme, bypass_csp=True) as page:
        page.goto(address)
        assert judged(page, script) == []
