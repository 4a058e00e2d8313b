"""Loading on a terminal: it says at once that it does, and Ctrl-C ends it cleanly."""

from __future__ import annotations

import signal

import pytest

from cli.terminal import Terminal, lmworks


@pytest.mark.parametrize("verb", [("generate", "a"), ("chat",), ("serve", "--port", "0")], ids=lambda verb: verb[0])
def test_ctrl_c_while_a_model_is_loaded_is_one_line(model_folder: str, verb: tuple[str, ...]):
    name, *more = verb
    with Terminal(*lmworks(name, model_folder, *more)) as terminal:
        terminal.wait_for(f"loading {model_folder}\r")  # before PyTorch is imported
        terminal.type("\x03")
        terminal.wait_for("lmworks: stopped")
        # Python ends by the signal itself where the interrupt came inside an exec (of dataclasses, say).
        assert terminal.end() in (130, -signal.SIGINT)
        assert "Traceback" not in terminal.shown


def test_nothing_of_loading_is_written_to_a_pipe(run, model_folder: str):
    done = run("generate", model_folder, "a", "--max-new-tokens", "1")
    assert done.code == 0 and not done.err


def test_models_forget_says_what_it_removed_and_leaves_a_model_of_ones_own(run, model_folder: str):
    done = run("models", "--forget", model_folder)
    assert (done.out, done.code) == (f"nothing is kept of {model_folder}\n", 0)
    assert run("models", "--forget", model_folder, "--json").json == {"model": model_folder, "removed": []}
    assert run("generate", model_folder, "a", "--max-new-tokens", "1").code == 0
    assert "leave out 'fetch'" in run("models", "fetch", "--forget", model_folder).err
