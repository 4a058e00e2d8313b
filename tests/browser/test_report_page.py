"""The page of a report in Chromium: it fits its screen, is all there on paper, and axe has nothing against it."""

from __future__ import annotations

from pathlib import Path

import pytest
from reporting.test_report import BIASES, a_report, a_report_of_bias

from browser.test_lab_pages import SCHEMES, WIDTHS, Visit, judged, package
from lmworks.reporting.page import html
from lmworks.reporting.section import Found


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


@pytest.mark.parametrize("width", [320, 400])
def test_on_a_phone_no_figure_is_cut_off(chromium, address, width):
    """Those at a glance and those of a section; each says what it is, as there are no heads above it."""
    with Visit(chromium, width) as page:
        page.goto(address)
        for cell in page.locator(".figures td").all():
            if cell.inner_text():
                box = cell.bounding_box()
                assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= width, cell.inner_text()
        scrolled = "[...document.querySelectorAll('.figures')].map(one => one.scrollWidth - one.clientWidth)"
        assert page.evaluate(scrolled) == [0, 0]
        told = "getComputedStyle(document.querySelector('.glance [data-is=n]'), '::before').content"
        assert "n" in page.evaluate(told)


def test_on_a_desk_a_long_remark_is_not_cut_off(chromium, tmp_path):
    kept = Found(measurements=BIASES, note="", key=BIASES[1].name, adjusted={BIASES[1].name: 0.02})
    (tmp_path / "report.html").write_text(html(a_report_of_bias(tmp_path, kept.model_dump(mode="json"))))
    with Visit(chromium, 1200) as page:
        page.goto((tmp_path / "report.html").as_uri())
        scrolled = "[...document.querySelectorAll('.figures')].map(one => one.scrollWidth - one.clientWidth)"
        assert page.evaluate(scrolled) == [0, 0]


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
