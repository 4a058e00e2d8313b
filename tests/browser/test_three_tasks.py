"""Three people's tasks, written down in docs/pages.md before they were tried, each done with the keyboard alone.

- A student finds out whether beam search helps.
- A teacher runs claim 12 again with top-k 5.
- A writer makes a link to the figure of claim 6.
"""

from __future__ import annotations

from typing import Any

import pytest

from browser.test_lab_pages import Visit, address


def focused(page: Any) -> str:
    """What the keyboard is at: the name of a field, the address of a `#`, or the words."""
    return page.evaluate(
        "(({ name, innerText, hash }) => name || (innerText === '#' ? hash : innerText))(document.activeElement)"
    )


def tab_to(page: Any, wanted: str, most: int = 60) -> None:
    """Press Tab until the element with these words is reached."""
    for _ in range(most):
        page.keyboard.press("Tab")
        if (focused(page) or "").startswith(wanted):
            return
    raise AssertionError(f"{most} times Tab, and not at {wanted!r} but at {focused(page)!r}")


def test_a_student_finds_out_whether_beam_search_helps(chromium, site):
    with Visit(chromium) as page:
        page.goto(address(site, "index.html"))
        tab_to(page, "q", 6)
        page.keyboard.type("beam")
        assert "Four beams translate better" in page.locator(".row:visible").inner_text(), "the front says it already"
        tab_to(page, "Beam search", 6)
        page.keyboard.press("Enter")
        page.wait_for_url("**/q05.html")
        found = page.locator("main").inner_text()
        assert "2 of 4 parts hold" in found.lower() and "Four beams translate better" in found
        assert page.locator("svg.plot").first.is_visible(), "the evidence is one step from the front"


@pytest.mark.slow
def test_a_teacher_runs_claim_12_again_with_top_k_5(chromium, served, smollm2_path):
    del smollm2_path  # what the claim's experiment loads
    with Visit(chromium) as page:
        page.goto(f"{served}/lab/")
        tab_to(page, "q", 6)
        page.keyboard.type("top-k")
        tab_to(page, "Top-k", 6)
        page.keyboard.press("Enter")
        page.wait_for_url("**/q12.html")
        for name, value in (("documents", "3"), ("steps", "2"), ("top_k", "5"), ("length", "2")):
            tab_to(page, name)
            page.keyboard.press("ControlOrMeta+a")
            page.keyboard.type(value)
        page.keyboard.press("Enter")
        page.get_by_text("Your run beside the stored one").wait_for(timeout=240_000)
        assert page.locator(".beside tr", has_text="top_k").inner_text().split() == ["top_k", "40", "5"]


def test_a_writer_makes_a_link_to_a_figure(chromium, site):
    with Visit(chromium, reduced_motion="reduce") as page:  # it does not scroll there but is there
        page.goto(address(site, "q06.html"))
        tab_to(page, "#figure")
        page.keyboard.press("Enter")
        page.get_by_text("The link is in the address bar").or_(page.get_by_text("on the clipboard")).first.wait_for()
        link = page.url
        assert link.endswith("/q06.html#figure")
        page.goto(address(site, "index.html"))
        page.goto(link)
        assert abs(page.evaluate("document.querySelector('#figure').getBoundingClientRect().top")) < 200
