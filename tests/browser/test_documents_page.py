"""The page where a server has documents: chips open the passage, refusals look different, and text is only text."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import tiny

from browser.conftest import serving
from lmworks.grounding.index import IndexSettings, build

HOSTILE = "The boat's <b>name</b> is <img src=x onerror=\"document.title='taken'\"> & Sons."
NOTES = {
    "harbour.md": "# Animals 🦊🦊🦊\n\nMany 🦊 live here.\n\nA fox 🦊 guards the harbour.\n",
    "rent.md": "# The flat\n\nYou may move in in May.\n\nThe rent is due on the third day. It costs 700 euros.\n",
    "boat.md": f"# The <i>boat</i>\n\n{HOSTILE}\n",
}


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory, minilm: str) -> Iterator[str]:
    """The address of a tiny model with an index."""
    folder = tmp_path_factory.mktemp("documents")
    (folder / "notes").mkdir()
    for name, text in NOTES.items():
        (folder / "notes" / name).write_text(text)
    settings = IndexSettings(embedder=minilm, longest=80, language="english")
    build(folder / "notes", folder / "index", settings)
    tiny.language_model(seed=4, context=512).save(folder / "model")
    with serving(str(folder / "model"), "--index", str(folder / "index")) as address:
        yield address


@pytest.fixture
def page(chromium: Any, documents: str) -> Iterator[Any]:
    with chromium.new_context(viewport={"width": 1100, "height": 700}) as context:
        made = context.new_page()
        made.set_default_timeout(60_000)
        made.goto(documents)
        made.locator("#log .hint").wait_for()
        yield made


def ask(page: Any, text: str) -> Any:
    """Send a question; its answer, when it is there."""
    page.locator("#message").fill(text)
    page.keyboard.press("Enter")
    page.locator("#send").wait_for()
    return page.locator(".answer").last


def seen(page: Any, name: str) -> None:
    """Keep a picture where SCREENSHOTS names a folder."""
    if folder := os.environ.get("SCREENSHOTS"):
        page.wait_for_timeout(500)
        page.screenshot(path=str(Path(folder, f"{name}.png")))


def test_a_chip_opens_the_passage_with_the_span_marked(page):
    answer = ask(page, "When is the rent due?")
    answer.get_by_text("The rent is due on the third day.", exact=True).wait_for()
    answer.get_by_text("The flat · rent.md, line 5").wait_for()
    seen(page, "answer")
    answer.get_by_role("button", name="Citation 1").first.click()
    source = page.locator("dialog.source")
    assert source.locator("mark").inner_text() == "The rent is due on the third day."
    assert "third day" in source.locator("mark b").inner_text()
    assert "You may move in in May." in source.locator(".passage").inner_text()
    source.get_by_text("rent.md, line 5").wait_for()
    seen(page, "passage")
    page.keyboard.press("Escape")
    source.wait_for(state="detached")


def test_a_refusal_looks_different(page, documents):
    ask(page, "When is the rent due?")
    refused = ask(page, "Xyzzy plugh?")
    refused.locator(".refusal", has_text="not in these documents").wait_for()
    assert "nearest: " in refused.locator(".foot").inner_text()
    assert page.locator(".answer.refused").count() == 1 and refused.locator(".chip").count() == 0
    seen(page, "refusal")
    counted = httpx.get(f"{documents}/metrics").text
    assert 'outcome="refused",way="extract"} ' in counted


def test_reasons_and_places_are_said_in_the_pages_language(page, documents):
    page.goto(f"{documents}/?lang=de")
    page.locator("#log .hint").wait_for()
    answer = ask(page, "When is the rent due?")
    answer.get_by_text("The flat · rent.md, Zeile 5").wait_for()
    answer.get_by_role("button", name="Zitat 1").first.click()
    page.locator("dialog.source").get_by_text("rent.md, Zeile 5").wait_for()
    page.keyboard.press("Escape")
    refused = ask(page, "Xyzzy or plugh?")
    assert refused.locator(".refusal").inner_text() == "nicht in diesen Dokumenten"
    foot = refused.locator("> .foot").inner_text()
    assert "die nächsten Stellen erwähnen das nicht: Xyzzy oder plugh" in foot
    assert "am nächsten: " in foot and ", Zeile " in foot
    assert not {"the", "nearest", "line", "or"} & set(re.findall(r"\w+", foot))
    page.reload()  # what was kept says it still
    page.locator(".refusal", has_text="nicht in diesen Dokumenten").wait_for()


def test_text_of_documents_is_only_text(page):
    answer = ask(page, "What is the boat's name?")
    answer.get_by_text("onerror").first.wait_for()
    answer.get_by_role("button", name="Citation 1").first.click()
    source = page.locator("dialog.source")
    assert '<b>name</b> is <img src=x onerror="' in source.locator("mark").inner_text()
    source.get_by_text("The <i>boat</i>", exact=True).wait_for()
    seen(page, "hostile")
    assert page.locator(".answer img, .answer b, .source img, .source i").count() == 0
    assert source.locator("b").count() == 1  # the answer
    assert page.title() != "taken"


def test_a_follow_up_takes_the_words_of_the_question_before_it(page):
    ask(page, "When is the rent due?")
    foot = ask(page, "And how much is it?").locator("> .foot").inner_text()
    assert "asked as: And how much is it (rent due)?" in foot


def test_the_model_answers_by_itself_where_the_settings_say_so(page):
    page.get_by_label("Max tokens").fill("4")
    page.get_by_role("slider", name="Temperature").fill("0")  # drawn at random, one of the four may end the answer
    said = page.get_by_text("Answers from the documents follow none of the settings below.")
    assert said.is_visible()
    page.get_by_label("Answers").select_option("by the model itself")
    assert said.is_hidden()
    assert "4 tokens" in ask(page, "hello").locator("> .foot").inner_text()


def test_a_blank_or_long_question_is_a_sentence(page):
    said = ask(page, "a" * 5000).locator("> .foot").inner_text()
    assert "has 5,000 characters; a question to the documents has at most 4,096" in said


def test_citations_are_there_after_a_reload_and_places_are_characters(page):
    ask(page, "Which animal guards the harbour?")
    page.reload()
    answer = page.locator(".answer").last
    answer.get_by_role("button", name="Citation 1").first.click()
    assert "A fox 🦊 guards the harbour." in page.locator(".source mark").inner_text()


def test_facts_of_a_graph_are_shown_as_facts_and_open_no_passage(page, tmp_path: Path):
    fact = {"subject": "Ann", "property": "manager", "value": "<b>Bob</b>", "file": "staff.csv", "start": None}
    cited = {"number": 1, "text": "The manager of Ann: Bob.", "document": "graph staff", "heading": "", "file": ""}
    cited |= {"start": None, "end": None, "chunk": None, "kind": "graph", "triples": [fact], "place": "graph staff"}
    said = {"role": "assistant", "content": "Bob [1]", "citations": [cited], "grounding": {"probably_right": 0.9}}
    kept = {"messages": [{"role": "user", "content": "Who is Ann's manager?"}, said], "title": "Staff", "model": ""}
    (tmp_path / "kept.jsonl").write_text(json.dumps(kept) + "\n")
    requests: list[str] = []
    page.on("request", lambda one: requests.append(one.url))
    page.locator("#imported").set_input_files(tmp_path / "kept.jsonl")
    page.locator("#kept .open").first.click()
    answer = page.locator(".answer").last
    answer.locator(".sources .foot").wait_for()
    assert answer.locator(".sources .foot").inner_text() == "graph staff"
    answer.get_by_role("button", name="Citation 1").first.click()
    source = page.locator("dialog.source")
    source.wait_for()
    shown = source.locator(".passage").inner_text()
    assert shown == "The manager of Ann: Bob.\n\nAnn | manager | <b>Bob</b>  (staff.csv)"
    assert source.locator(".foot").inner_text() == "graph staff"
    assert not [one for one in requests if "/v1/passages" in one]
