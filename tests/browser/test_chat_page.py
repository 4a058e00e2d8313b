"""The chat page in front of another server: what is kept, sent, shown and never run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from browser.axe import ENOUGH, judged, package, scores
from browser.other_server import ENDLESS, Other, other_server
from lmworks.text.sources import read

HOSTILE = """<script>document.title = 'taken'</script> <img src=x onerror="document.title='taken'">

[run](javascript:alert(1)) [data](data:text/html,hi) [good](https://example.org/a_b "a title") <https://example.org>
![a picture](https://example.org/x.png) [mail](mailto:a@example.org) [up](../etc) [file](file:///etc/passwd)

| <b>a</b> | b |
| --- | --: |
| 1 | `2 \\| 3` |
"""
RICH = """## Two numbers

Adding them is **easy**, *really* and `fast`:

1. read both
   - the first
   - the second
2. add

```python
def add(a, b):  # the sum
    return a + 1 + "x"
```

> done"""


@pytest.fixture(scope="module")
def other() -> Iterator[Other]:
    with other_server() as made:
        yield made


class Tab:
    """The page in a browser of its own; what the console says, and what is asked for from elsewhere, are errors."""

    def __init__(self, chromium: Any, other: Other, path: str = "/", script: str = "", **options: Any) -> None:
        self.context = chromium.new_context(**({"viewport": {"width": 1440, "height": 900}} | options))
        self.context.add_init_script(script)
        self.page = self.context.new_page()
        self.page.set_default_timeout(20_000)
        self.faults: list[str] = []
        self.page.on("console", lambda said: self.faults.append(said.text))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on(
            "request", lambda one: one.url.startswith((other.address, "data:", "blob:")) or self.faults.append(one.url)
        )
        self.page.goto(other.address + path)
        self.page.locator("#log .hint, #log .turn").first.wait_for()

    def ask(self, text: str) -> Any:
        """Send a message; its answer, when it is over."""
        self.page.locator("#message").fill(text)
        self.page.keyboard.press("Enter")
        return self.over()

    def over(self) -> Any:
        self.page.locator("#send").wait_for()
        return self.page.locator(".answer").last


@pytest.fixture
def tab(chromium: Any, other: Other) -> Iterator[Tab]:
    other.asked.clear()
    other.left.clear()
    made = Tab(chromium, other)
    yield made
    made.context.close()
    assert made.faults == []


def test_markdown_is_shown_as_elements_and_code_in_colours(tab, other):
    other.answers["rich"] = RICH
    answer = tab.ask("rich")
    assert answer.locator("h3").inner_text() == "Two numbers"
    assert answer.locator("strong").inner_text() == "easy" and answer.locator("em").inner_text() == "really"
    assert answer.locator("ol > li").count() == 2 and answer.locator("ol ul li").all_inner_texts() == [
        "the first",
        "the second",
    ]
    assert answer.locator(".code code").inner_text() == 'def add(a, b):  # the sum\n    return a + 1 + "x"'
    assert answer.locator(".c-keyword").all_inner_texts() == ["def", "return"]
    assert (
        answer.locator(".c-comment").inner_text() == "# the sum" and answer.locator(".c-string").inner_text() == '"x"'
    )
    assert answer.locator("blockquote").inner_text() == "done"
    tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    answer.locator(".code button").click()
    tab.page.get_by_text("Copied.").wait_for()
    assert tab.page.evaluate("navigator.clipboard.readText()").startswith("def add(a, b):")
    answer.get_by_role("button", name="Copy").last.click()
    tab.page.wait_for_function("async text => await navigator.clipboard.readText() === text", arg=RICH)


def test_nothing_of_a_hostile_answer_runs_or_is_fetched(tab, other):
    other.answers["hostile"] = HOSTILE
    said = tab.ask("hostile").locator(".said")
    assert "<script>" in said.inner_text() and 'onerror="' in said.inner_text()
    assert said.locator("script, img, iframe, b, [onerror], [style*=url]").count() == 0
    links = said.locator("a").evaluate_all("all => all.map(one => [one.href, one.rel, one.target])")
    assert [href for href, *_ in links] == [
        "https://example.org/a_b", "https://example.org/", "https://example.org/x.png", "mailto:a@example.org",
    ]  # fmt: skip
    assert all("noopener" in rel and target == "_blank" for _, rel, target in links)
    assert said.locator("td").all_inner_texts() == ["1", "2 | 3"]
    assert tab.page.title() == "one · lmworks"
    tab.page.reload()  # kept text is no safer than new text
    tab.page.locator(".said script, .said img").wait_for(state="detached")
    assert "<script>" in tab.page.locator(".said").inner_text() and tab.page.title() == "one · lmworks"


def test_a_megabyte_and_an_open_fence_are_written_without_a_halt(tab, other):
    brackets = "[" * 300_000 + "*" * 300_000 + "`" * 300_001 + "\n" + "> " * 50_000
    other.answers |= {"long": "word " * 200_000, "brackets": brackets, "fence": "```python\n" + "x = 1\n" * 60_000}
    assert len(tab.ask("long").locator(".said").text_content()) > 999_000
    assert len(tab.ask("brackets").locator(".said").text_content()) > 900_000
    code = tab.ask("fence").locator(".code code")
    assert code.text_content().count("x = 1") == 60_000


def test_an_open_fence_is_code_while_it_is_written_and_in_colours_once_it_is_closed(tab):
    shown = tab.page.evaluate(
        """async text => {
          const { Growing } = await import("/page/markdown.js");
          const place = document.createElement("div"), growing = new Growing(place), seen = [];
          for (let n = 1; n <= text.length; n += 1) {
            growing.show(text.slice(0, n));
            const count = kind => place.querySelectorAll(kind).length;
            seen.push([place.textContent.includes("`"), count(".code"), count(".c-keyword")]);
          }
          const whole = document.createElement("div");
          whole.append((await import("/page/markdown.js")).rendered(text));
          return { seen, grown: place.innerHTML, whole: whole.innerHTML };
        }""",
        arg="One\n\n```python\nreturn 1\n```\n\nTwo *x*\n- a\n  - b\n\n| a | b |\n| - | - |\n| 1 | 2 |",
    )
    assert shown["grown"] == shown["whole"]  # written piece by piece, or at once
    inside = shown["seen"][18:23]  # "return 1", not closed
    assert all(not marks and blocks == 1 and not coloured for marks, blocks, coloured in inside)
    assert shown["seen"][-1][2] == 1


def test_an_answer_without_a_word_says_so(tab, other):
    other.answers["Silence"] = ""
    tab.page.locator("#message").fill("Silence")
    tab.page.keyboard.press("Enter")
    tab.page.locator(".answer .foot", has_text="The model wrote nothing").wait_for()


def test_escape_stops_an_answer_and_the_server_hears_of_it(tab, other):
    tab.page.locator("#message").fill(ENDLESS)
    tab.page.keyboard.press("Enter")
    tab.page.locator(".answer", has_text="word word").wait_for()
    tab.page.keyboard.press("Escape")
    answer = tab.over()
    assert "stopped" in answer.locator(".foot").inner_text()
    assert other.left.wait(20)
    other.left.clear()  # so that it waits between words again
    answer.get_by_role("button", name="Continue").click()
    tab.page.get_by_role("button", name="Stop").click()
    tab.over()
    last = other.asked[-1]
    assert last["continue_final_message"] is True and last["messages"][-1]["role"] == "assistant"
    assert last["messages"][-1]["content"].startswith("word word")


def test_a_reload_stops_an_answer_and_is_no_error(tab, other):
    tab.page.locator("#message").fill(ENDLESS)
    tab.page.keyboard.press("Enter")
    tab.page.locator(".answer", has_text="word word").wait_for()
    tab.page.reload()
    foot = tab.over().locator(".foot")
    foot.wait_for()
    assert foot.inner_text().startswith("stopped")
    assert other.left.wait(20)


def test_a_new_answer_stands_beside_the_first_and_an_edit_takes_what_follows_with_it(tab, other):
    other.answers |= {"a": "first", "b": "about b", "c": "about c"}
    tab.ask("a")
    other.answers["a"] = "second"
    tab.page.get_by_role("button", name="Regenerate").click()
    assert tab.over().locator(".said").inner_text() == "second"
    tab.page.get_by_role("button", name="Earlier answer").click()
    assert tab.page.locator(".answer .said").inner_text() == "first"
    tab.ask("b")
    assert [one["content"] for one in other.asked[-1]["messages"]] == ["a", "first", "b"]
    tab.page.get_by_role("button", name="Edit").last.click()
    tab.page.get_by_label("The message, edited").fill("c")
    tab.page.keyboard.press("Enter")
    tab.page.locator(".said", has_text="about c").wait_for()
    assert [one["content"] for one in other.asked[-1]["messages"]] == ["a", "first", "c"]
    assert tab.page.locator(".asked").count() == 2 and "about b" not in tab.page.locator("#log").inner_text()


def test_an_error_is_said_and_asked_again_without_loss(tab, other):
    answer = tab.ask("unknown")
    assert "nothing is known of this" in answer.locator(".foot").inner_text()
    tab.faults.clear()  # the browser logs an answer of 500
    other.answers |= {"unknown": "found", "next": "and on"}
    tab.page.get_by_role("button", name="Regenerate").click()
    tab.page.locator(".said", has_text="found").wait_for()
    assert tab.page.get_by_role("button", name="Earlier answer").count() == 0
    del other.answers["unknown"]
    tab.ask("next")
    assert [one["content"] for one in other.asked[-1]["messages"]] == ["unknown", "found", "next"]


def test_conversations_are_kept_found_renamed_and_deleted(tab, other):
    other.answers |= {"about foxes": "They are *red*.", "about owls": "They fly."}
    tab.ask("about foxes")
    tab.page.get_by_role("button", name="New conversation").click()
    tab.ask("about owls")
    tab.page.reload()
    assert tab.page.locator(".answer .said").inner_text() == "They fly."
    tab.page.get_by_label("Search conversations").fill("RED")
    assert tab.page.locator("#kept .open").all_inner_texts() == ["about foxes"]
    tab.page.locator("#kept .open").click()
    assert tab.page.locator(".answer em").inner_text() == "red"
    tab.page.once("dialog", lambda dialog: dialog.accept("Animals"))
    tab.page.get_by_role("button", name="Rename").click()
    tab.page.get_by_label("Search conversations").fill("")
    assert tab.page.locator("#kept .open").all_inner_texts() == ["Animals", "about owls"]
    tab.page.once("dialog", lambda dialog: dialog.accept())
    tab.page.get_by_role("button", name="Delete").click()
    tab.page.reload()
    tab.page.locator("#kept .open").wait_for()
    assert tab.page.locator("#kept .open").all_inner_texts() == ["about owls"]


def test_an_export_is_what_tune_reads_and_comes_back_as_it_was(tab, other, tmp_path: Path):
    other.answers |= {"one": 'Says "yes".\n\nTwo 🦊', "two": "again"}
    tab.page.get_by_label("Instructions").fill("Be brief.")
    tab.ask("one")
    tab.ask("two")
    tab.ask("never answered")
    tab.faults.clear()
    with tab.page.expect_download() as saved:
        tab.page.get_by_role("button", name="Export all").click()
    path = tmp_path / "chats.jsonl"
    saved.value.save_as(path)
    [document] = read(str(path)).documents
    said = ["Be brief.", "one", 'Says "yes".\n\nTwo 🦊', "two", "again"]
    assert [one["content"] for one in document.messages] == said
    assert [one["role"] for one in document.messages] == ["system", "user", "assistant", "user", "assistant"]
    tab.page.once("dialog", lambda dialog: dialog.accept())
    tab.page.get_by_role("button", name="Delete").click()
    tab.page.locator("#imported").set_input_files(path)
    tab.page.locator("#kept .open").click()
    assert tab.page.locator(".turn .text, .turn .said").all_inner_texts()[1:3] == ['Says "yes".\n\nTwo 🦊', "two"]
    path.write_text(path.read_text() + json.dumps({"messages": [{"role": "user"}]}) + "\n")
    tab.page.locator("#imported").set_input_files(path)
    tab.page.get_by_text("Line 2 of chats.jsonl is not a conversation").wait_for()
    assert tab.page.locator("#kept .open").count() == 1


def test_text_files_go_with_a_message_by_their_name(tab, other, tmp_path: Path):
    (tmp_path / "notes.md").write_text("# Rent\n\nDue in May <b>.")
    (tmp_path / "x.png").write_bytes(b"\x89PNG\xff")
    (tmp_path / "nothing.txt").write_bytes(b"a\0b")
    (tmp_path / "big.txt").write_text("a" * 199_999 + "ü")  # cut inside a letter
    (tmp_path / "big.pdf").write_bytes(b"%PDF-1.7\n\xe2\xe3" + b"a" * 200_000)
    bad = {
        "x.png": "x.png is not a picture that this browser can read",
        "nothing.txt": "nothing.txt is not text in UTF-8; save it as text in UTF-8 first.",
        "big.pdf": "big.pdf is not text in UTF-8; save it as text in UTF-8 first.",
    }
    for name, said in (bad | {"big.txt": "big.txt is larger than 200 KB"}).items():
        tab.page.locator("#attach").set_input_files(tmp_path / name)
        tab.page.get_by_text(said).wait_for()
    tab.page.locator("#attach").set_input_files(tmp_path / "notes.md")
    tab.page.get_by_role("button", name="Remove notes.md").wait_for()
    sent = "When?\n\nnotes.md:\n\n# Rent\n\nDue in May <b>."
    other.answers[sent] = "May"
    assert tab.ask("When?").locator(".said").inner_text() == "May"
    assert other.asked[-1]["messages"][0]["content"] == sent
    assert tab.page.locator(".asked .text").inner_text() == "When?"
    assert "notes.md" in tab.page.locator(".asked summary").inner_text()


def test_one_is_told_in_the_singular(tab, other, tmp_path):
    (tmp_path / "a.txt").write_text("a")
    tab.page.locator("#attach").set_input_files(tmp_path / "a.txt")
    tab.page.get_by_role("button", name="Remove a.txt").wait_for()
    other.answers["What?\n\na.txt:\n\na"] = "A letter."
    tab.ask("What?")
    assert tab.page.locator(".asked summary").inner_text() == "a.txt (1 character)"
    counts = """async () => {
      const { number, t } = await import("/page/dom.js");
      return [0, 1, 2].map(n => t("count", { n: number(n) }));
    }"""
    assert tab.page.evaluate(counts) == ["0 tokens", "1 token", "2 tokens"]


def test_a_new_conversation_begins_without_the_files_of_the_one_before(tab, other, tmp_path):
    (tmp_path / "notes.md").write_text("Due in May.")
    tab.page.locator("#attach").set_input_files(tmp_path / "notes.md")
    tab.page.get_by_role("button", name="Remove notes.md").wait_for()
    tab.page.get_by_role("button", name="New conversation").click()
    tab.page.locator("#files").wait_for(state="hidden")
    other.answers["When?"] = "May"
    tab.ask("When?")
    assert other.asked[-1]["messages"][0]["content"] == "When?"


def test_the_model_that_is_chosen_answers_and_settings_are_sent_where_they_differ(tab, other):
    other.answers["hello"] = "hi"
    tab.page.get_by_label("Model", exact=True).select_option("two")
    tab.ask("hello")
    assert other.asked[-1] == {
        "model": "two", "stream": True, "temperature": 0.7, "top_p": 0.95, "max_tokens": 1024,
        "messages": [{"role": "user", "content": "hello"}],
    }  # fmt: skip
    assert tab.page.get_by_role("link", name="Next token").count() == 0  # another server cannot tell
    tab.page.get_by_label("Top-k").fill("5")
    answer = tab.ask("hello")
    assert "unknown: {'top_k'}" in answer.locator(".foot").inner_text()
    tab.faults.clear()


def test_keys_send_break_and_reach_everything(tab, other):
    other.answers["a\nb"] = "yes"
    assert tab.page.evaluate("document.activeElement.id") == "message"
    tab.page.keyboard.type("a")
    tab.page.keyboard.press("Shift+Enter")
    tab.page.keyboard.type("b")
    tab.page.keyboard.press("Enter")
    tab.page.locator(".said", has_text="yes").wait_for()
    tab.page.locator("body").press("Tab")
    tab.page.evaluate("document.activeElement.blur()")
    reached = []
    for _ in range(40):
        tab.page.keyboard.press("Tab")
        reached.append(tab.page.evaluate("document.activeElement.id || document.activeElement.textContent"))
    order = [
        "show-chats",
        "model",
        "to-chat",
        "show-settings",
        "new",
        "search",
        "Edit",
        "Regenerate",
        "pick",
        "message",
        "send",
    ]
    found = [one for one in reached if one in order]
    assert found[: len(order)] == order


NO_STORAGE = """for (const name of ["localStorage", "sessionStorage"]) {
  Object.defineProperty(window, name, { get() { throw new DOMException("no", "SecurityError"); } });
}"""


def test_the_focus_stays_where_a_button_was_pressed(tab, other):
    other.answers["hello"] = "hi"
    tab.ask("hello")
    regenerate = tab.page.get_by_role("button", name="Regenerate")
    regenerate.focus()
    tab.page.keyboard.press("Enter")
    tab.page.get_by_role("button", name="Earlier answer").wait_for()
    assert tab.page.evaluate("document.activeElement.id") == "message"
    tab.page.get_by_role("button", name="Earlier answer").focus()
    tab.page.keyboard.press("Enter")
    tab.page.get_by_text("1 / 2").wait_for()
    tab.page.get_by_role("button", name="Later answer").focus()
    tab.page.keyboard.press("Enter")
    tab.page.get_by_text("2 / 2").wait_for()
    assert tab.page.evaluate("document.activeElement !== document.body")


def test_a_conversation_that_is_deleted_while_it_is_written_stays_deleted(tab):
    tab.page.locator("#message").fill(ENDLESS)
    tab.page.keyboard.press("Enter")
    tab.page.locator(".answer", has_text="word word").wait_for()
    tab.page.once("dialog", lambda dialog: dialog.accept())
    tab.page.get_by_role("button", name="Delete").click()
    tab.page.locator("#log .hint").wait_for()
    tab.page.locator("#send").wait_for()
    assert tab.page.evaluate("Object.keys(localStorage).filter(key => key.startsWith('lmworks.chat.'))") == []


def test_a_browser_that_keeps_nothing_has_a_chat_too(chromium, other):
    other.answers["hello"] = "hi"
    made = Tab(chromium, other, script=NO_STORAGE)
    assert made.ask("hello").locator(".said").inner_text() == "hi"
    made.context.close()
    assert made.faults == []


def test_what_finds_no_room_is_said_and_the_answer_stands(tab, other):
    other.answers["hello"] = "hi"
    tab.page.evaluate("() => { Storage.prototype.setItem = () => { throw new DOMException('full'); }; }")
    assert tab.ask("hello").locator(".said").inner_text() == "hi"
    tab.page.get_by_text("The browser has no room for more conversations").wait_for()


def test_german_is_there_for_who_asks(chromium, other):
    made = Tab(chromium, other, "/?lang=de")
    assert made.page.evaluate("document.documentElement.lang") == "de"
    made.page.get_by_role("button", name="Neues Gespräch").wait_for()
    assert "Frag etwas" in made.page.locator("#log").inner_text()
    made.context.close()
    assert made.faults == []


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1440, "light"), (360, "light"), (1440, "dark")])
def test_axe_has_no_objection_and_it_fits_the_screen(chromium, other, width, scheme):
    script = package("axe-core/axe.min.js").read_text(encoding="utf-8")
    other.answers |= {"rich": RICH + "\n\n| a | b |\n| - | - |\n| 1 | 2 |", "hostile": HOSTILE}
    options = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme, "bypass_csp": True}
    made = Tab(chromium, other, **options)
    found = judged(made.page, script)
    made.ask("rich")
    made.ask("hostile")
    found += judged(made.page, script)
    for name in ("Conversations", "Settings") if width < 900 else ():
        made.page.get_by_role("button", name=name, exact=True).click()
        found += judged(made.page, script)
    wide = made.page.evaluate("document.documentElement.scrollWidth")
    made.context.close()
    assert (found, made.faults) == ([], []) and wide <= width


@pytest.mark.slow
def test_lighthouse_finds_it_fast_and_accessible(other, tmp_path):
    found = scores(other.address, tmp_path)
    assert found["accessibility"] == 1.0 and found["performance"] >= ENOUGH, found
