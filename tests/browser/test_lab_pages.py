"""The claims' pages in Chromium: from a file and served, by keyboard, without JavaScript, and what axe says of them."""

from __future__ import annotations

import functools
import http.server
import threading
from pathlib import Path
from typing import Any

import pytest

from browser.axe import ENOUGH, judged, package, scores
from lmworks.lab import registry, store

SCHEMES, WIDTHS = ("light", "dark"), (360, 1440)


class Visit:
    """A tab; what the console says and what is asked for from elsewhere are errors."""

    def __init__(self, chromium: Any, width: int = 1440, **options: Any) -> None:
        self._context = chromium.new_context(viewport={"width": width, "height": 900}, **options)
        self.page = self._context.new_page()
        self.page.set_default_timeout(30_000)
        self.faults: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda said: self.faults.append(said.text))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))

    def __enter__(self) -> Any:
        return self.page

    def __exit__(self, *error: object) -> None:
        self._context.close()
        if error[0] is None:
            assert self.faults == []
            assert [one for one in self.asked if not one.startswith(("file:", "data:", "http://127.0.0.1:"))] == []


def address(folder: Path, name: str) -> str:
    return (folder / name).as_uri()


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1440, "light")])
def test_pages_fit_their_screen_and_say_nothing_on_the_console(chromium, site, width, scheme):
    for name in ("index.html", "q06.html", "q32.html", "de/q12.html", "all.html"):
        visit = Visit(chromium, width, color_scheme=scheme)
        with visit as page:
            page.goto(address(site, name))
            assert page.evaluate("document.documentElement.scrollWidth") <= width, name
            assert len(visit.asked) == 1, f"{name} asks for more than itself"
            dark = page.evaluate("getComputedStyle(document.documentElement).backgroundColor") < "rgb(2"
            assert dark == (scheme == "dark")


def test_everything_is_there_without_javascript(chromium, site):
    with Visit(chromium, java_script_enabled=False) as page:
        page.goto(address(site, "q06.html"))
        finding = store.stored(6)
        for text in (finding.claim, finding.headline, "3 of 4 parts hold, 1 fails."):
            assert text in page.locator("main").inner_text()
        assert page.locator("svg.plot use.at").count() == 8
        assert page.locator("#table tbody tr").count() == 8
        page.goto(address(site, "index.html"))
        assert page.locator(".row").count() == 50 and not page.locator(".filters").is_visible()


def test_the_front_is_filtered_opened_and_gone_back_to_by_keyboard(chromium, site):
    with Visit(chromium) as page:
        page.goto(address(site, "index.html"))
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")  # skip to the content
        page.keyboard.press("Tab")
        page.keyboard.type("beam")
        shown = page.locator(".row:visible")
        assert shown.count() == 1 and "1 of 50" in page.locator("output").inner_text()
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.wait_for_url("**/q05.html")
        page.go_back()  # Alt and the left arrow; without a window Chromium has no such key
        assert page.url.endswith("/index.html#q=beam")
        assert shown.count() == 1 and page.get_by_label("Search").input_value() == "beam"


def test_a_choice_on_the_front_is_an_address(chromium, site):
    with Visit(chromium) as page:
        page.goto(address(site, "index.html") + "#theme=writing&found=fails")
        found = page.locator(".row:visible .number").all_inner_texts()
        wanted = [n for n in (5, 6, 12) if any(part.verdict == "fails" for part in store.stored(n).parts)]
        assert found == [str(number) for number in wanted]
        page.get_by_label("Search").fill("zebra")
        page.get_by_text("No claim has all of this").wait_for()
        page.goto(address(site, "index.html") + "#attention")
        assert page.locator(".row:visible").count() == 50


def test_a_link_into_what_is_folded_opens_it(chromium, site):
    with Visit(chromium) as page:
        page.goto(address(site, "q30.html") + "#table")
        page.locator("#table table").wait_for(state="visible")


def test_printing_shows_what_is_folded(chromium, site):
    with Visit(chromium, java_script_enabled=False) as page:
        page.goto(address(site, "q06.html"))
        page.emulate_media(media="print")
        assert page.get_by_text("Rules, fixed before the run").is_visible()
        assert "looks after" in page.locator(".rules").inner_text()
        assert not page.locator("#again").is_visible()


@pytest.mark.slow
def test_a_claim_is_run_again_beside_the_stored_result_by_keyboard(chromium, served):
    with Visit(chromium) as page:
        page.goto(f"{served}/lab/q23.html")
        page.get_by_label("rows").focus()
        page.keyboard.press("ControlOrMeta+a")
        page.keyboard.type("4")
        page.keyboard.press("Tab")
        page.keyboard.type("8")
        page.keyboard.press("Enter")
        page.get_by_text("Your run beside the stored one").wait_for(timeout=120_000)
        row = page.locator(".beside tr", has_text="rows")
        assert row.inner_text().split() == ["rows", "4096", "4"]
        assert page.locator(".both tbody tr").count() == len(store.stored(23).parts)
        assert page.locator("#again .state").inner_text() == "Done"
        page.reload()
        page.get_by_text("Your run beside the stored one").wait_for()  # the run is in the address


@pytest.mark.slow
def test_a_mistake_in_a_parameter_is_said_where_it_was_made(chromium, served):
    visit = Visit(chromium)
    with visit as page:
        page.goto(f"{served}/lab/q23.html")
        page.get_by_label("rows").evaluate("field => { field.value = '0'; field.form.noValidate = true; }")
        page.get_by_role("button", name="Run").click()
        page.get_by_text("rows is 0; it should be greater than or equal to 2").wait_for()
        visit.faults.clear()  # the browser logs an answer of 400


@pytest.mark.slow
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_axe_has_no_objection_to_any_page(chromium, site, width, scheme):
    script, said = package("axe-core/axe.min.js").read_text(encoding="utf-8"), {}
    names = [f"q{number:02d}.html" for number in range(1, 51)]
    for name in ["index.html", *names, "de/index.html", "de/q06.html", "all.html"]:
        with Visit(chromium, width, color_scheme=scheme, bypass_csp=True) as page:
            page.goto(address(site, name))
            page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
            if found := judged(page, script):
                said[name] = found
    assert said == {}


@pytest.mark.slow
def test_axe_has_no_objection_to_a_page_with_a_run(chromium, served):
    script = package("axe-core/axe.min.js").read_text(encoding="utf-8")
    with Visit(chromium, bypass_csp=True) as page:
        page.goto(f"{served}/lab/q23.html")
        page.get_by_label("rows").fill("4")
        page.get_by_role("button", name="Run").click()
        page.get_by_text("Your run beside the stored one").wait_for(timeout=120_000)
        assert judged(page, script) == []


@pytest.mark.slow
def test_every_experiment_that_is_registered_has_a_served_page_with_its_parameters(chromium, served):
    del chromium
    import httpx

    for number in list(registry.experiments())[:3]:
        text = httpx.get(f"{served}/lab/q{number:02d}.html").text
        names = registry.load(number).settings("quick")
        assert all(f'name="{name}"' in text for name in names)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["index.html", "q06.html"])
def test_lighthouse_finds_pages_fast_and_accessible(site, tmp_path, name):
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        found = scores(f"http://127.0.0.1:{server.server_address[1]}/{name}", tmp_path)
        server.shutdown()
    assert found["accessibility"] == 1.0 and found["performance"] >= ENOUGH, found
