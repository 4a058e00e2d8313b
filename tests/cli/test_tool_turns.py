"""`lmworks chat --tools`: calls are shown, the user says what they give, and the model goes on with that."""

from __future__ import annotations

import json
import sys

import pytest

pytest.importorskip("pty", reason="pseudo-terminals are a matter of Unix")

from cli.terminal import Terminal

TOOLS = json.dumps([{"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}])
# Instead of an answer: two calls, then what the model would read, and what it may call.
CALLS = r"""
from lmworks.language_model import LanguageModel
def stream(self, prompt, *rest, tools, **named):
    if prompt[-1]["role"] == "user":
        for city in ("Rome", "Oslo"):
            yield 'So:\n' * (city == "Rome") + '\n' + '<tool_call>\n{"name": "weather", "argu'
            yield 'ments": {"city": "%s"}}\n</tool_call>' % city
    else:
        yield f"{tools.choice} " + " ".join(f"{one['role']}={one['content']}" for one in prompt)
LanguageModel.stream = stream
from lmworks.cli import main
main()
"""


def test_the_user_says_what_calls_give(model_folder):
    arguments = ["chat", model_folder, "--tools", TOOLS, "--tool-choice", "required"]
    with Terminal(sys.executable, "-c", CALLS, *arguments) as terminal:
        terminal.wait_for("> ")
        terminal.type("Where does it rain?\n")
        shown = terminal.wait_for("gives> ").replace("\r", "")
        assert 'So:\nweather({"city": "Rome"})\nweather({"city": "Oslo"})\n' in shown
        terminal.type("sun\n")
        terminal.wait_for("gives> ")
        terminal.type("rain\n")
        shown = terminal.wait_for("\n> ").replace("\r", "")
        assert "auto user=Where does it rain? assistant= tool=sun tool=rain" in shown
        terminal.type("Again?\n")
        terminal.wait_for("gives> ")
        terminal.type("\x04")
        assert "(no result; the question is forgotten)" in terminal.wait_for("\n> ")
        terminal.type("/exit\n")
        assert terminal.end() == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--tools", TOOLS], "tools are shown to a model in a conversation; give --chat too"),
        (["--tool-choice", "auto"], "--tool-choice is about tools; give --tools too"),
        (["--chat", "--tools", TOOLS, "--regex", "a"], "--tools and --regex both say the form of the answer"),
        (["--chat", "--tools", "no.json"], "no.json is neither a file that can be read nor JSON that begins with ["),
        (["--chat", "--tools", TOOLS, "--tool-choice", "fly"], "the tool choice is 'fly'; give auto, none, required"),
    ],
)
def test_a_mistake_is_one_sentence(run, model_folder, arguments, sentence):
    shown = run("generate", model_folder, "Rain?", *arguments)
    assert shown.code == 1 and sentence in shown.err and shown.err.count("\n") == 1
