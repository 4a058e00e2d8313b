"""A terminal obeys nobody else's text: control characters are shown, whoever prints them."""

from __future__ import annotations

import json
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

import lmworks
from lmworks.basics import progress
from lmworks.basics.terminal import console, guarded, printable, verbatim

FOREIGN = "a\x1b[31mb\x9bc\r\x07\u202ed\udcff"
SHOWN = "a\\x1b[31mb\\u009bc\\x0d\\x07\\u202ed\\udcff"


def test_no_control_character_is_printable():
    orders = [sign for sign in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(sign) in ("Cc", "Cs")]
    assert printable("".join(orders)).encode() and len(orders) == 2113
    assert [sign for sign in orders if sign in printable(sign)] == ["\t", "\n"]
    turns = [sign for sign in map(chr, range(0x2000, 0x2100)) if unicodedata.bidirectional(sign) in _TURNS]
    assert len(turns) == 9 and not any(sign in printable(sign) for sign in turns)
    assert printable("שלום, naïve ▁ 中\n\t\u200d") == "שלום, naïve ▁ 中\n\t\u200d"


_TURNS = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")


def test_whatever_is_printed_is_shown(capsys):
    with guarded():
        print(FOREIGN)
        print(FOREIGN, file=sys.stderr)
        sys.stdout.writelines([FOREIGN])
        print(json.dumps("\x7f\u202e", ensure_ascii=False))
    out, err = capsys.readouterr()
    first, second = out.splitlines()
    assert first == err.strip() == SHOWN and second.startswith(SHOWN)
    assert json.loads(second.removeprefix(SHOWN)) == "\x7f\u202e"
    print("\x1b")
    assert capsys.readouterr().out == "\x1b\n"  # as it was


def test_tables_and_progress_draw_and_show_what_is_foreign(capsys):
    from rich.table import Table
    from rich.text import Text

    grid = Table("name", "size", header_style="bold")
    grid.add_row(FOREIGN[:-1], "7")
    with guarded():
        screen = console(force_terminal=True, width=80, color_system="standard", legacy_windows=False)
        screen.print(grid)
        screen.print(Text(FOREIGN[:-1]))
        with progress._live_line(FOREIGN[:-1] + "[/b]", 3, ""):
            pass
    out, err = capsys.readouterr()
    in_table, alone = SHOWN.removesuffix("\\udcff"), "a\\x1b[31mb\\u009bc\\u202ed"  # rich takes \r and \a away itself
    assert "\x1b[1m" in out and in_table in out and alone in out and "\x1b[31m" not in out
    assert alone + "[/b]" in err and "\x1b[31m" not in err


def test_what_a_model_wrote_goes_to_a_pipe_as_it_is_and_to_a_terminal_shown(capsys, monkeypatch):
    with guarded():
        verbatim("\x1b[2J")
        monkeypatch.setattr(sys.stdout.unguarded, "isatty", lambda: True)
        verbatim("\x1b[2J")
    assert capsys.readouterr().out == "\x1b[2J\\x1b[2J"


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&- <&-"])
def test_a_stream_that_is_closed_is_nowhere(closed):
    command = ["bash", "-c", f"{sys.executable} -m lmworks explain sample {closed}"]
    ran = subprocess.run(command, check=True, capture_output=True, text=True)
    assert not ran.stderr and bool(ran.stdout) == (closed == "2>&-")


@pytest.mark.parametrize("words", ["rich.console import", "Console(stderr"])
def test_only_one_file_makes_a_console(words):
    root = Path(lmworks.__path__[0])
    makers = [path.name for path in root.rglob("*.py") if words in path.read_text(encoding="utf-8")]
    assert makers in ([], ["terminal.py"])
