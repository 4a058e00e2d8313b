"""`lmworks chat` on a pseudo-terminal: history, its commands, and Ctrl-C that stops the answer and not the program."""

from __future__ import annotations

import sys

import pytest

pytest.importorskip("pty", reason="pseudo-terminals are a matter of Unix")


from cli.terminal import Terminal, lmworks
from lmworks.grounding.index import IndexSettings, build

# Instead of an answer, what the model reads: the messages that chat gave it.
ECHO = """
import time
from lmworks.language_model import LanguageModel
def stream(self, prompt, *rest, **named):
    for message in prompt:
        yield f"[{message['role']}: {message['content']}]"
    if prompt[-1]["content"] == "slowly":
        while True:
            yield "."
            time.sleep(0.02)
LanguageModel.stream = stream
from lmworks.cli import main
main()
"""


def talking(*arguments: str) -> list[str]:
    return [sys.executable, "-c", ECHO, "chat", *arguments]


def said(terminal: Terminal, line: str) -> str:
    """Type a line, and what was shown up to the next prompt (the echo of the line left out)."""
    terminal.type(line + "\n")
    return terminal.wait_for("\n> ").replace("\r", "").partition("\n")[2]


def test_a_conversation_remembers_forgets_and_takes_instructions(model_folder):
    with Terminal(*talking(model_folder, "--system", "Be brief.")) as terminal:
        terminal.wait_for("> ")
        assert model_folder in terminal.shown and "/reset" in terminal.shown
        assert said(terminal, "one").startswith("[system: Be brief.][user: one]\n")
        second = said(terminal, "two")
        assert second.startswith(
            "[system: Be brief.][user: one][assistant: [system: Be brief.][user: one]][user: two]\n"
        )
        assert "(forgotten)" in said(terminal, "/reset")
        assert said(terminal, "three").startswith("[system: Be brief.][user: three]\n")
        assert "new conversation" in said(terminal, "/system Be kind.")
        assert said(terminal, "four").startswith("[system: Be kind.][user: four]\n")
        said(terminal, "/system")
        assert said(terminal, "five").startswith("[user: five]\n")
        assert "/dance is not known" in said(terminal, "/dance")
        assert "there are no documents here" in said(terminal, "/documents")
        assert "/system TEXT" in said(terminal, "/help")
        assert "`lmworks chat smolm` talks with another model" in said(terminal, "/model smolm")
        terminal.type("/exit\n")
        assert terminal.end() == 0


def test_ctrl_c_stops_the_answer_and_keeps_the_program_and_what_was_said(model_folder):
    with Terminal(*talking(model_folder)) as terminal:
        terminal.wait_for("> ")
        terminal.type("slowly\n")
        terminal.wait_for("[user: slowly]...")
        terminal.type("\x03")
        terminal.wait_for("(stopped)")
        terminal.wait_for("> ")
        assert "[user: slowly][assistant: [user: slowly]..." in said(terminal, "go on")
        terminal.type("half a li")
        terminal.wait_for("half a li")
        terminal.type("\x03")  # at the prompt it clears the line
        terminal.wait_for("Ctrl-D ends", again="\x03")
        terminal.wait_for("> ")
        terminal.type("\x04")
        assert terminal.end() == 0


def test_a_real_answer_comes_and_a_conversation_may_outgrow_the_window(model_folder):
    with Terminal(*lmworks("chat", model_folder, "--max-new-tokens", "8", "--seed", "1")) as terminal:
        terminal.wait_for("> ")
        assert said(terminal, "hello").strip()
        assert "/reset starts afresh" in said(terminal, "x" * 600)
        assert "/reset starts afresh" not in said(terminal, "and now?")  # what did not fit is not remembered
        terminal.type("\x04")
        assert terminal.end() == 0


def test_the_documents_answer_and_a_switch_lets_the_model(model_folder, tmp_path, minilm):
    (tmp_path / "rent.md").write_text("# The flat\n\nThe rent is due on the third day. It costs 700 euros.\n")
    settings = IndexSettings(embedder=minilm, longest=80, language="english")
    index = str(tmp_path / "index")
    build(tmp_path / "rent.md", index, settings)
    with Terminal(*talking(model_folder, "--index", index)) as terminal:
        terminal.wait_for("> ")
        assert f"Answers come from {index}" in terminal.shown
        answer = said(terminal, "When is the rent due?")
        assert "third day" in answer and "[1] rent.md, line 3  (The flat)" in answer
        assert "(asked as: And how much is it (rent due)?)" in said(terminal, "And how much is it?")
        assert said(terminal, "Xyzzy plugh?").startswith("not in these documents\n")
        assert "(the model by itself)" in said(terminal, "/model")
        assert said(terminal, "hello").startswith("[user: hello]\n")
        said(terminal, "/documents")
        said(terminal, "/reset")
        assert "(asked as" not in said(terminal, "And how much is it?")
        terminal.type("\x04")
        assert terminal.end() == 0
