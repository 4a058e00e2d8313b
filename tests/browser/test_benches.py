"""The benches in Chromium: live from a file, stored without the model, by keyboard, in the address, and as axe sees
them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from browser.axe import judged, package
from browser.test_lab_pages import SCHEMES, WIDTHS, Visit, address
from lmworks.lab.site.benches import stories
from lmworks.lab.site.benches.declaration import benches
from lmworks.lab.site.export import export

KINDS = benches()


@pytest.fixture(scope="module", name="site")
def with_the_model(site: Path) -> Path:
    """The export with the model beside it."""
    if why := stories.missing():
        pytest.skip(why)
    return site


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    """A tab whose console is silent and that asks for nothing but files."""
    with Visit(chromium) as made:
        yield made


def opened(page: Any, folder: Path, claim: int, bench: str, state: str = "", ready: str = "whole") -> Any:
    """The bench below a claim, opened with a state in the address, which loads its model."""
    page.goto(address(folder, f"q{claim:02d}.html") + f"#bench={bench}{state}")
    found = page.locator(f"#bench-{bench}")
    page.locator(f"#bench-{bench}[data-ready={ready}]").wait_for()
    return found


def test_the_model_comes_when_a_bench_is_touched_and_not_before(chromium, site):
    visit = Visit(chromium)
    with visit as page:
        page.goto(address(site, "q06.html"))
        bench = page.locator("#bench-sampling[data-ready=stored]")
        assert "67.7 %" in bench.inner_text() and len(visit.asked) == 1
        before = bench.locator(".shown").inner_text()
        bench.get_by_label("Text so far").focus()
        bench = page.locator("#bench-sampling[data-ready=whole]")
        assert bench.locator(".shown").inner_text() == before, "what is stored is what the model computes"
        assert [one.rpartition("/")[2] for one in visit.asked] == ["q06.html", stories.FILE]


def test_a_bench_is_ready_soon_after_it_is_touched(page, site):
    page.goto(address(site, "q05.html"))
    page.locator("#bench-beams[data-ready=stored]").wait_for()
    took = page.evaluate("""() => new Promise(done => {
        const bench = document.getElementById("bench-beams"), begun = performance.now();
        new MutationObserver(() => { if (bench.dataset.ready === "whole") done(performance.now() - begun); }).observe(bench, { attributes: true });
        bench.dispatchEvent(new Event("pointerenter"));
    })""")  # noqa: E501
    assert took < 15_000  # a limit that only a halt would reach


def test_sampling_is_cut_drawn_and_kept_in_the_address_by_keyboard(page, site):
    bench = opened(page, site, 12, "sampling")
    bench.get_by_label("Top-k").focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    page.wait_for_url("**/q12.html#bench=sampling&top_k=5")
    assert bench.locator(".kept").count() == 3  # of the five that top-k leaves
    assert bench.locator(".line").all_inner_texts() == ["cut by top-p 0.9", "cut by top-k 5"]
    texts = bench.locator("dd").all_inner_texts()
    assert texts[0] == texts[1] != texts[2] and "the same" in bench.locator("dt").nth(1).inner_text()
    page.reload()
    page.locator("#bench-sampling[data-ready=whole]").wait_for()
    assert bench.locator(".kept").count() == 3 and bench.locator("dd").all_inner_texts() == texts
    assert bench.locator("a.here").get_attribute("href") == "#bench=sampling&top_k=5"


def test_attention_links_token_matrix_and_formula(page, site):
    bench = opened(page, site, 2, "attention")
    formula = bench.locator(".formula")
    assert formula.inner_text().startswith("at → ␣saw: 98.0 %") and "q · k / √8" in formula.inner_text()
    bench.locator("button.chip").nth(2).focus()
    assert formula.inner_text().startswith("at → ␣saw: ")
    assert bench.locator(".cell.at").first.get_attribute("data-key") == "2"
    assert bench.locator(".chip.to").inner_text() == "␣saw"
    bench.locator(".cell[data-row='5'][data-key='2']").first.click()
    page.wait_for_url(re.compile("from=5&to=2"))
    assert formula.inner_text().startswith("g → ␣saw: 9") and "distance alone" in formula.inner_text()
    bench.get_by_role("button", name="layer 1, head 8").press("Enter")
    page.wait_for_url(re.compile("layer=1&head=8"))
    assert page.evaluate("document.activeElement.dataset.at") == "h0-7", "the focus stays where it was"
    bench.get_by_label("Text", exact=True).fill("Tom had a cat.")
    page.wait_for_url(re.compile("text=Tom"))
    assert bench.locator("button.chip").count() == len(["<s>", "Tom(2)", "had", "a", "c", "at", "."]) + 1


def test_beams_show_what_is_dropped_and_greedy_beside_them(page, site):
    bench = opened(page, site, 5, "beams")
    assert "56.2 times as probable" in bench.inner_text()
    assert bench.locator(".node.dropped").count() == 30 and bench.locator(".node.best").count() == 10
    bench.get_by_role("slider", name="Beams").press("Home")
    page.wait_for_url("**#bench=beams&width=1")
    bench.get_by_text("write the same text here").wait_for()
    assert not bench.locator("table").first.is_visible()
    bench.get_by_text("All steps in a table").click()
    assert bench.locator("table").first.is_visible()
    assert bench.locator("table").first.locator("tbody tr").count() == 20


def test_a_slider_of_noise_says_what_is_exposed_and_what_it_costs(page, site):
    bench = opened(page, site, 18, "privacy")
    assert bench.locator(".said").inner_text().startswith("Noise 0 (epsilon: no bound): secrets planted 16 times")
    bench.get_by_role("slider").press("ArrowRight")
    page.wait_for_url("**/q18.html#bench=privacy&noise=0.4")
    bench.locator(".said", has_text="Noise 0.4 (epsilon: ").wait_for()
    assert bench.locator(".at-noise").count() == 3, "both exposures and the loss"
    rows, runs = bench.locator("tbody tr"), KINDS["privacy"].stored["runs"]
    assert rows.locator("th").all_inner_texts() == [f"{one['noise']:g}" for one in runs]
    assert [float(text.split()[0]) for text in rows.locator("td:last-child").all_inner_texts()] == pytest.approx(
        [one["loss"][0] for one in runs], abs=0.006
    )


def test_without_the_model_what_is_stored_can_still_be_cut(chromium, site, tmp_path, monkeypatch):
    monkeypatch.setattr(stories, "missing", lambda fetch=False: "not here")
    export(tmp_path / "site")
    visit = Visit(chromium)
    with visit as page:
        bench = opened(page, tmp_path / "site", 6, "sampling", "&temperature=0.3&text=Other")
        assert bench.get_by_label("Text so far").input_value() == "Once upon a time, there was a"
        assert bench.get_by_label("Text so far").is_disabled() and bench.locator(".kept").count() == 1
        assert "These texts are stored" in bench.inner_text() and len(visit.asked) == 1


def test_without_javascript_a_bench_is_a_table(chromium, site):
    with Visit(chromium, java_script_enabled=False) as page:
        page.goto(address(site, "q05.html"))
        bench = page.locator("#bench-beams")
        assert not bench.locator("form").is_visible()
        assert "lived in a small house" in bench.locator("table").inner_text()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", KINDS)
def test_axe_has_no_objection_to_a_bench_and_it_fits(chromium, site, name, width, scheme):
    script = package("axe-core/axe.min.js").read_text(encoding="utf-8")
    with Visit(chromium, width, color_scheme=scheme, bypass_csp=True) as page:
        for folder in ("", "de/"):
            page.goto(address(site, f"{folder}q{KINDS[name].claims[0]:02d}.html") + f"#bench={name}")
            page.locator(f"#bench-{name}[data-ready=whole]").wait_for()
            page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
            assert judged(page, script) == []
            assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.slow
def test_a_served_model_is_asked_about_a_text_of_one_s_own(chromium, served):
    with Visit(chromium) as page:
        page.goto(f"{served}/lab/q45.html#bench=bias")
        bench = page.locator("#bench-bias")
        bench.get_by_label("A sentence of your own").fill("The [nurse/doctor] was late.")
        bench.locator("li.kept", has_text="The nurse was late.").wait_for()
        assert bench.locator("li.kept").count() == 2 and " times as likely" in bench.inner_text()
        bench.get_by_label("A sentence of your own").fill("The nurse was late.")
        bench.get_by_text("put the two words in brackets").wait_for()
        page.goto(f"{served}/lab/q01.html#bench=tokenizer&own=two+words")
        bench = page.locator("#bench-tokenizer")
        bench.locator("dt", has_text="The served model").wait_for()
        assert "".join(bench.locator(".cut-text span").all_inner_texts()) == "two words"
