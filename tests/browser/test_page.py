"""The page, in Chromium: answers with their probabilities, settings that act, keyboard, phone, and who may use it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from browser.conftest import serving

QUESTION = "Say in one sentence what the moon is."


@pytest.fixture
def page(chromium: Any, smollm2: str) -> Iterator[Any]:
    """The page, newly opened; what it asks of other machines is an error."""
    with chromium.new_context(viewport={"width": 1200, "height": 800}) as context:
        made = context.new_page()
        made.set_default_timeout(60_000)
        asked: list[str] = []
        made.on("request", lambda request: asked.append(request.url))
        made.goto(smollm2)
        made.get_by_label("Message").wait_for()
        yield made
        assert [url for url in asked if not url.startswith((smollm2, "data:"))] == []


def ask(page: Any, text: str) -> None:
    """Send a message, and wait until its answer has begun."""
    before = page.locator(".lm-answer").count()
    page.get_by_label("Message").fill(text)
    page.keyboard.press("Enter")
    page.locator(".lm-answer").nth(before).locator(".lm-token").first.wait_for()


def long(page: Any) -> None:
    """Ask for more than can be written before the next key is pressed."""
    page.get_by_label("Most tokens").fill("8000")
    page.get_by_label("Seed").fill("1")  # this answer has thousands of tokens
    ask(page, "Write a very long story about a fox.")


def finished(page: Any) -> None:
    """Wait until nothing is being written."""
    page.locator(".lm-caret").first.wait_for(state="detached")
    page.get_by_role("button", name="Send").wait_for()


def heat(page: Any, key: str, *values: str) -> None:
    """Move the temperature by ten steps a value; the server has heard of each when it shows it."""
    page.get_by_label("Temperature").locator("[tabindex]").focus()
    for value in values:
        page.keyboard.press(key)
        page.locator(".lm-pair", has_text="Temperature").get_by_text(value, exact=True).wait_for()


def answer(address: str, *messages: str) -> dict[str, Any]:
    """The API's greedy answer to a conversation."""
    turns = [{"role": "user" if at % 2 == 0 else "assistant", "content": one} for at, one in enumerate(messages)]
    body = {"messages": turns, "temperature": 0, "max_tokens": 256, "logprobs": True}
    return httpx.post(f"{address}/v1/chat/completions", json=body, timeout=60).json()["choices"][0]


def test_an_answer_is_that_of_the_api_and_each_token_tells_its_probability(page, smollm2):
    heat(page, "PageDown", "0.2", "0")  # always the likeliest
    ask(page, QUESTION)
    finished(page)
    choice = answer(smollm2, QUESTION)
    tokens = page.locator(".lm-token:not(.lm-end)")
    assert "".join(tokens.all_text_contents()) == choice["message"]["content"]
    page.locator(".lm-token").nth(1).click()
    rows = page.locator(".lm-others .lm-row")
    assert rows.count() == 6
    percent = round(100 * 2.718281828 ** choice["logprobs"]["content"][1]["logprob"])
    assert rows.first.inner_text().split("\n")[-1] == f"{percent} %"
    assert page.locator(".lm-end").inner_text() == "<|im_end|>"


def test_the_conversation_goes_on_and_starts_over(page, smollm2):
    heat(page, "PageDown", "0.2", "0")
    said: list[str] = []
    for text in ("My name is Ada.", "What is my name?"):
        ask(page, text)
        finished(page)
        written = page.locator(".lm-answer").last.locator(".lm-token:not(.lm-end)").all_text_contents()
        assert "".join(written) == answer(smollm2, *said, text)["message"]["content"]
        said += [text, "".join(written)]
    page.get_by_role("button", name="New conversation").click()
    page.locator(".lm-answer").first.wait_for(state="detached")


@pytest.mark.slow  # on a crowded machine the browser may need a minute to hear of it
def test_escape_stops_an_answer_and_its_work(page, smollm2):
    long(page)
    page.keyboard.press("Escape")
    finished(page)
    assert page.locator(".lm-foot").inner_text() == "stopped"
    assert running(smollm2) == 0


@pytest.mark.slow  # on a crowded machine the browser may need a minute to hear of it
def test_a_tab_that_is_closed_stops_its_work(page, smollm2):
    long(page)
    page.close()
    end = time.monotonic() + 60
    while running(smollm2):
        assert time.monotonic() < end, "its work goes on"


def running(address: str) -> float:
    text = httpx.get(f"{address}/metrics").text
    [found] = re.findall(r"^lmworks:num_requests_running\S* (\S+)$", text, re.MULTILINE)
    return float(found)


def test_everything_can_be_reached_with_the_keyboard(page):
    page.keyboard.type(QUESTION)  # the line has the focus from the beginning
    page.keyboard.press("Enter")
    page.locator(".lm-token").first.wait_for()
    finished(page)
    page.keyboard.press("Shift+Tab")
    first = page.evaluate("document.activeElement.textContent")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.className").startswith("lm-token")
    assert page.evaluate("document.activeElement.textContent") != first
    assert page.locator(".lm-others").is_visible()
    page.keyboard.press("Escape")
    page.locator(".lm-others").wait_for(state="detached")


def test_it_fits_on_a_phone(page):
    page.set_viewport_size({"width": 360, "height": 700})
    page.reload()
    page.get_by_label("Message").wait_for()
    ask(page, "Say hello.")
    finished(page)
    for tab in ("Next token", "Inside", "Chat"):
        page.get_by_role("tab", name=tab).click()
        page.wait_for_function("document.documentElement.scrollWidth <= 360")
    settings = page.get_by_role("button", name="Settings")
    settings.click()
    page.get_by_text("How the next token is chosen").wait_for()


def test_settings_act_on_the_next_token_while_they_are_moved(page):
    page.get_by_role("tab", name="Next token").click()
    page.get_by_role("button", name="Read").click()
    said = page.get_by_text("tokens can be chosen")
    said.wait_for()
    before = said.inner_text()
    heat(page, "PageUp", "1.2", "1.7", "2")
    page.get_by_text("temperature 2, then top_p 0.95").wait_for()
    kept = [int(re.search(r"([\d,]+) of 49,152", text)[1].replace(",", "")) for text in (before, said.inner_text())]
    assert kept[0] < kept[1]
    page.get_by_label("Top-k").fill("5")
    page.get_by_text("5 of 49,152").wait_for()


def test_a_look_inside(page):
    page.get_by_role("tab", name="Inside").click()
    page.get_by_role("button", name="Look").click()
    page.locator(".lm-lens table").wait_for()
    assert page.locator(".lm-lens tbody tr").count() == 30
    assert page.locator(".lm-square canvas").first.is_visible()
    page.get_by_label("A text to look at").fill("word " * 100)
    page.get_by_role("button", name="Look").click()
    page.get_by_text("at most 64 are shown here; shorten it").wait_for()


def test_what_is_wrong_is_said_and_loses_nothing(page):
    ask(page, QUESTION)
    finished(page)
    page.get_by_label("Most tokens").fill("")
    page.get_by_label("Message").fill("And the sun?")
    page.keyboard.press("Enter")
    page.get_by_text("give the most tokens that an answer may have").wait_for()
    page.get_by_label("Most tokens").fill("8")
    ask(page, "And the sun?")
    page.locator(".lm-foot", has_text=re.compile(r"^8 tokens .*the longest answer is reached")).wait_for()


def test_the_api_is_there_beside_it_and_knows_its_addresses(smollm2):
    unknown, method = httpx.get(f"{smollm2}/v1/unknown"), httpx.get(f"{smollm2}/v1/completions")
    assert (unknown.status_code, method.status_code) == (404, 405)
    assert unknown.json()["error"]["type"] == "not_found_error"
    assert "text/html" in httpx.get(smollm2).headers["content-type"]


def test_its_answers_are_counted(page, smollm2):
    before = counts(smollm2)
    ask(page, QUESTION)
    finished(page)
    tokens = page.locator(".lm-token").count()
    assert tokens and counts(smollm2) == [before[0] + 1, before[1] + tokens]


def counts(address: str) -> list[float]:
    """Answers that came to their end, and their tokens."""
    text = httpx.get(f"{address}/metrics").text
    found = re.findall(r"^lmworks:(request_success_total|request_generation_tokens_sum)\S* (\S+)$", text, re.MULTILINE)
    return [sum(float(value) for name, value in found if name.startswith(one)) for one in ("request_s", "request_g")]


@pytest.mark.parametrize(("origin", "status"), [(None, 200), ("http://elsewhere.example", 403)])
def test_a_page_from_elsewhere_has_no_connection(smollm2, origin, status):
    headers = {} if origin is None else {"Origin": origin}
    asked = httpx.get(f"{smollm2}/_nicegui_ws/socket.io/?EIO=4&transport=polling", headers=headers)
    assert asked.status_code == status


def test_with_a_key_the_page_asks_for_it(chromium, smollm2_path):
    with serving("smollm2", "--api-key", "sesame") as address:
        assert httpx.get(address, headers={"Accept": "text/html"}).headers["www-authenticate"].startswith("Basic")
        with chromium.new_context(http_credentials={"username": "me", "password": "sesame"}) as context:
            page = context.new_page()
            page.set_default_timeout(60_000)
            page.goto(address)
            ask(page, QUESTION)
            finished(page)
