"""The page, in Chromium: answers with their probabilities, settings that act, keyboard, phone, and who may use it."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from browser.conftest import serving

QUESTION = "Say in one sentence what the moon is."
RED = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC")
"""A PNG of one red pixel."""


@pytest.fixture
def page(chromium: Any, smollm2: str) -> Iterator[Any]:
    """The page, newly opened; what it asks of other machines is an error."""
    with chromium.new_context(viewport={"width": 1200, "height": 800}) as context:
        made = context.new_page()
        made.set_default_timeout(60_000)
        asked: list[str] = []
        made.on("request", lambda request: asked.append(request.url))
        made.goto(smollm2)
        made.locator("#log .hint").wait_for()
        yield made
        assert [url for url in asked if not url.startswith((smollm2, "data:"))] == []


def ask(page: Any, text: str) -> Any:
    """Send a message; its answer, when it is over."""
    page.locator("#message").fill(text)
    page.keyboard.press("Enter")
    page.locator("#send").wait_for()
    return page.locator(".answer").last


def long(page: Any) -> None:
    """Ask for more than can be written before the next key is pressed, and wait until it has begun."""
    page.get_by_label("Max tokens").fill("8000")
    page.get_by_label("Seed").fill("1")  # this answer has thousands of tokens
    page.locator("#message").fill("Write a very long story about a fox.")
    page.keyboard.press("Enter")
    page.locator(".answer .foot", has_text="tokens").wait_for()


def greedy(page: Any) -> None:
    """Always the likeliest token."""
    page.get_by_role("slider", name="Temperature").fill("0")


def answer(address: str, *messages: str) -> dict[str, Any]:
    """The API's greedy answer to a conversation."""
    turns = [{"role": "user" if at % 2 == 0 else "assistant", "content": one} for at, one in enumerate(messages)]
    body = {"messages": turns, "temperature": 0, "max_tokens": 256, "logprobs": True}
    return httpx.post(f"{address}/v1/chat/completions", json=body, timeout=60).json()["choices"][0]


def test_an_answer_is_that_of_the_api_and_each_token_tells_its_probability(page, smollm2):
    greedy(page)
    shown = ask(page, QUESTION)
    choice = answer(smollm2, QUESTION)
    assert shown.locator(".said").inner_text() == choice["message"]["content"]
    shown.get_by_role("button", name="Tokens").click()
    tokens = page.locator(".token:not(.end)")
    assert "".join(tokens.all_text_contents()) == choice["message"]["content"]
    page.locator(".token").nth(1).click()
    rows = page.locator(".others .bar")
    assert rows.count() == 5
    percent = round(100 * 2.718281828 ** choice["logprobs"]["content"][1]["logprob"])
    assert rows.first.inner_text().split("\n")[-1] == f"{percent} %"
    assert page.locator(".end").inner_text() == "<|im_end|>"
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.dataset.at") == "2"
    page.keyboard.press("Escape")
    page.locator(".others").wait_for(state="hidden")


def test_the_conversation_goes_on_and_an_answer_that_was_too_long_is_continued(page, smollm2):
    greedy(page)
    said: list[str] = []
    for text in ("My name is Ada.", "What is my name?"):
        written = ask(page, text).locator(".said").inner_text()
        assert written == answer(smollm2, *said, text)["message"]["content"]
        said += [text, written]
    page.get_by_role("button", name="New conversation").click()
    page.get_by_label("Max tokens").fill("9")
    cut = ask(page, QUESTION)
    assert "stopped at Max tokens" in cut.locator(".foot").inner_text()
    page.get_by_label("Max tokens").fill("256")
    page.get_by_role("button", name="Continue").click()
    page.locator("#send").wait_for()
    assert page.locator(".answer .said").inner_text() == answer(smollm2, QUESTION)["message"]["content"]


@pytest.mark.slow  # on a crowded machine the browser may need a minute to hear of it
def test_escape_stops_an_answer_and_its_work(page, smollm2):
    long(page)
    page.keyboard.press("Escape")
    page.locator("#send").wait_for()
    assert "stopped" in page.locator(".answer .foot").inner_text()
    at_rest(smollm2)


@pytest.mark.slow  # on a crowded machine the browser may need a minute to hear of it
def test_a_tab_that_is_closed_stops_its_work(page, smollm2):
    long(page)
    page.close()
    at_rest(smollm2)


def at_rest(address: str) -> None:
    """Wait until the engine does nothing."""
    end = time.monotonic() + 60
    while running(address):
        assert time.monotonic() < end, "its work goes on"


def running(address: str) -> float:
    text = httpx.get(f"{address}/metrics").text
    [found] = re.findall(r"^lmworks:num_requests_running\S* (\S+)$", text, re.MULTILINE)
    return float(found)


def test_it_fits_on_a_phone(page):
    greedy(page)  # another answer may have thousands of tokens
    page.set_viewport_size({"width": 360, "height": 700})
    ask(page, "Say hello.")
    for name in ("Next token", "Inside", "Chat"):
        page.get_by_role("link", name=name).click()
        page.wait_for_function("document.documentElement.scrollWidth <= 360")
    page.get_by_role("button", name="Settings").click()
    page.get_by_text("How the next token is chosen").wait_for()


def test_a_setting_says_what_it_does_to_the_keyboard_too(page):
    said = page.locator(".about:visible")
    assert said.count() == 0
    for name, words in (
        ("Top-k", "keep the k likeliest tokens; 0 keeps all"),
        ("Max tokens", "the longest answer allow"),
    ):
        page.get_by_label(name).focus()
        assert said.count() == 1 and said.inner_text().startswith(words)
    assert page.locator("#unset").is_hidden()  # there are no documents, whose answers follow no setting


def test_settings_act_on_the_next_token_while_they_are_moved(page):
    page.get_by_role("link", name="Next token").click()
    page.get_by_role("button", name="Read").click()
    said = page.locator("#next .hint")
    page.get_by_text("temperature 0.7, top_p 0.95: ").wait_for()
    before = said.inner_text()
    page.get_by_role("slider", name="Temperature").fill("2")
    page.get_by_text("temperature 2, top_p 0.95: ").wait_for()
    kept = [int(re.search(r"([\d,]+) of 49,152", text)[1].replace(",", "")) for text in (before, said.inner_text())]
    assert kept[0] < kept[1]
    page.get_by_label("Top-k").fill("5")
    page.get_by_text("5 of 49,152").wait_for()
    assert page.locator(".bars tbody tr:not(.out)").count() == 5
    assert set(page.locator(".bars tbody tr.out .after").all_inner_texts()) == {"0 %"}  # what cannot be chosen


def test_a_model_that_reads_no_pictures_is_given_none(page, tmp_path):
    (tmp_path / "red.png").write_bytes(RED)
    (tmp_path / "notes.txt").write_text("Due in May.")
    page.locator("#attach").set_input_files([tmp_path / "red.png", tmp_path / "notes.txt"])
    page.get_by_text("red.png was left out: smollm2 reads no pictures.").wait_for()
    page.locator("#files li").wait_for()
    assert page.locator("#files").inner_text().startswith("notes.txt")


def test_a_look_inside(page):
    page.get_by_role("link", name="Inside").click()
    page.get_by_role("button", name="Look").click()
    page.locator(".lens").wait_for()
    assert page.locator(".lens tbody tr").count() == 30 and page.locator(".square tbody tr").count() == 10
    page.get_by_label("A text to look at").fill("word " * 100)
    page.get_by_role("button", name="Look").click()
    page.get_by_text("at most 64 are shown here; shorten it").wait_for()
    assert page.locator("#inside table").count() == 0  # those of another text would stand below its words


def test_a_view_is_seen_no_sooner_than_its_form_is_heard(page):
    seen: list[bool] = []

    def brought(route: Any) -> None:
        seen.append(page.locator("#inside").is_visible())
        route.continue_()

    page.route("**/inside.js", brought)
    page.get_by_role("link", name="Inside").click()
    page.locator("#inside").wait_for()
    assert seen == [False]


def test_the_api_is_there_beside_it_and_knows_its_addresses(smollm2):
    unknown, method = httpx.get(f"{smollm2}/v1/unknown"), httpx.get(f"{smollm2}/v1/completions")
    assert (unknown.status_code, method.status_code) == (404, 405)
    assert unknown.json()["error"]["type"] == "not_found_error"
    assert "text/html" in httpx.get(smollm2).headers["content-type"]


def test_its_answers_are_counted(page, smollm2):
    greedy(page)
    before = counts(smollm2)
    tokens = int(re.match(r"(\d+) tokens", ask(page, QUESTION).locator(".foot").inner_text())[1])
    assert counts(smollm2) == [before[0] + 1, before[1] + tokens]


def counts(address: str) -> list[float]:
    """Answers that came to their end, and their tokens."""
    text = httpx.get(f"{address}/metrics").text
    found = re.findall(r"^lmworks:(request_success_total|request_generation_tokens_sum)\S* (\S+)$", text, re.MULTILINE)
    return [sum(float(value) for name, value in found if name.startswith(one)) for one in ("request_s", "request_g")]


def test_a_message_that_is_sent_before_the_models_are_known_goes_when_they_are(chromium, smollm2):
    with chromium.new_context() as context:
        page, held = context.new_page(), list[Any]()
        page.set_default_timeout(60_000)
        page.route("**/v1/models", lambda route: held.append(route))  # noqa: PLW0108  # it wants a function
        with page.expect_request("**/v1/models"):
            page.goto(smollm2)
        page.locator("#message").fill("Say hello.")
        page.keyboard.press("Enter")
        assert not page.locator(".turn").count() and page.locator("#message").input_value() == "Say hello."
        held[0].continue_()
        page.locator(".answer .said").wait_for()
        assert not page.locator("#message").input_value()


def test_with_a_key_the_page_asks_for_it(chromium, tiny_folder):
    with serving(tiny_folder, "--api-key", "sesame") as address:
        assert httpx.get(address, headers={"Accept": "text/html"}).headers["www-authenticate"].startswith("Basic")
        with chromium.new_context(http_credentials={"username": "me", "password": "sesame"}) as context:
            page = context.new_page()
            page.set_default_timeout(60_000)
            page.goto(address)
            greedy(page)  # a sampled answer of so small a model may be empty
            ask(page, QUESTION).locator(".said", has_text=re.compile(r"\S")).wait_for()
