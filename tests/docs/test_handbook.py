"""The handbook: its pages are well formed, its links lead somewhere, and its transcripts are what the verbs print."""

from __future__ import annotations

import html
import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import httpx
import pytest
from docs.printed import but_for_figures, matches
from filelock import FileLock

from lmworks import __version__
from lmworks.basics.errors import LmworksError
from lmworks.cli import main
from lmworks.cli.verb import verbs
from lmworks.jobs.handbook import _newest, build, handbook
from lmworks.jobs.train import pretrain

DOCS = Path(__file__).parents[2] / "docs"
TRANSCRIPTS = {path.stem: path for path in sorted((DOCS / "transcripts").glob("*.txt"))}
SERVED = TRANSCRIPTS.pop("serve")
"""Two people's: one starts the server, the other asks it."""
NEEDS = dict.fromkeys(("embed", "index", "search", "graph"), ("minilm",)) | {"mcp": ("minilm", "mcp")}
NEEDS |= dict.fromkeys(("ask", "build", "chat"), ("minilm", "reranker"))
NEEDS |= dict.fromkeys(("evaluate", "explain-answer", "export", "generate", "models", "report"), ("smollm2_path",))
NEEDS |= {
    "draw": ("emoji_fusion",),
    "transcribe": ("loudspeakers", "whisper"),
    "sweep": ("optuna",),
    "bench": ("fastapi",),
    "docs": ("handbook_pages",),
}
"""The fixtures that fetch what a verb's transcript needs, or skip it."""
MEASURED = {"bench", "build", "classify", "compress", "distill", "forget", "prefer", "probe", "prompt"}
"""Transcripts whose figures differ between machines: they stand there as they were on one."""
SMALL = "models/small"
"""What `lmworks train small.toml` makes: most transcripts begin with this model."""


class Typed(io.StringIO):
    """Lines that somebody types, shown as a terminal shows them."""

    def readline(self, size: int = -1) -> str:
        """The next one."""
        line = super().readline(size)
        print(line, end="")
        return line


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with SMALL, trained once."""
    folder = tmp_path_factory.mktemp("small")
    pretrain(DOCS / "transcripts" / "files" / "small.toml", out=folder / SMALL)
    return folder


@pytest.fixture
def optuna() -> None:
    pytest.importorskip("optuna", reason="pip install 'lmworks[search]'")


@pytest.fixture
def mcp() -> None:
    pytest.importorskip("mcp", reason="pip install 'lmworks[mcp]'")


@pytest.fixture
def fastapi() -> None:
    pytest.importorskip("fastapi", reason="pip install 'lmworks[serve]'")


@pytest.fixture
def handbook_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handbook with a page of a verb; other tests make the real one."""
    (tmp_path / "html" / "reference" / "verbs").mkdir(parents=True)
    (tmp_path / "html" / "reference" / "verbs" / "tune.html").touch()
    monkeypatch.setattr("lmworks.jobs.handbook.handbook", lambda: tmp_path / "html" / "index.html")


@pytest.fixture
def emoji_fusion(tmp_path: Path) -> None:
    """A model that draws, of random weights, in the place of the one that takes half an hour to train."""
    pytest.importorskip("PIL.Image", reason="the extra vision is not installed")
    from serving.drawer import drawer

    drawer().save(tmp_path / "models" / "emoji-fusion")


@pytest.fixture
def loudspeakers(tmp_path: Path) -> None:
    """Two recordings of a voice that many Linux machines have."""
    recordings = {"front": "Front_Center", "rear": "Rear_Left"}
    for name, theirs in recordings.items():
        path = Path(f"/usr/share/sounds/alsa/{theirs}.wav")
        if not path.is_file():
            pytest.skip("the recordings of ALSA's test are not here: apt-get install alsa-utils")
        shutil.copy(path, tmp_path / f"{name}.wav")


def commands_of(transcript: Path) -> list[tuple[str, str]]:
    """Each command of a transcript, and what comes of it."""
    text = transcript.read_text(encoding="utf-8")
    return re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE)


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_a_transcript_is_what_the_verb_prints(name, tmp_path, monkeypatch, capsys, request):
    for fixture in NEEDS.get(name, ()):
        request.getfixturevalue(fixture)
    shutil.copytree(DOCS / "transcripts" / "files", tmp_path, dirs_exist_ok=True)
    commands = commands_of(TRANSCRIPTS[name])
    if any(SMALL in command or "tasks.toml" in command for command, _ in commands):
        shutil.copytree(request.getfixturevalue("small"), tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    assert commands and all(shlex.split(command)[0] == "lmworks" for command, _ in commands)
    assert any(shlex.split(command)[1] == name for command, _ in commands)
    for command, shown in commands:
        monkeypatch.setattr(sys, "argv", shlex.split(command))
        monkeypatch.setattr(sys, "stdin", Typed("".join(re.findall(r"^> (.+\n)", shown, re.MULTILINE))))
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        lines = [line.rstrip() for line in (told.err + told.out).splitlines()]
        # Not how far it is, nor what an earlier version had left in the cache.
        printed = [line for line in lines if not re.search(r" \d+ %  .* left|they are packed anew$", line)]
        wanted = shown.splitlines()
        if name in MEASURED:
            wanted, printed = but_for_figures(wanted), but_for_figures(printed)
        assert not ended.value.code and matches(wanted, printed), "\n".join(lines)


def test_the_transcript_of_serve_is_what_the_server_prints_and_answers(small):
    pytest.importorskip("fastapi", reason="pip install 'lmworks[serve]'")
    (start, told), *asked = commands_of(SERVED)
    command = [sys.executable, "-m", *shlex.split(start), "--port", "0"]
    with subprocess.Popen(command, cwd=small, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        lines: list[str] = []
        while process.poll() is None and "Ctrl-C ends" not in "".join(lines):
            lines.append(process.stdout.readline())
        try:
            site = re.search(r"open (http://\S+)", "".join(lines))[1]
            for words, shown in asked:
                address, *rest = [
                    one.replace("http://127.0.0.1:8000", site) for one in shlex.split(words)[1:] if one != "--json"
                ]
                body = json.loads(rest[0]) if rest else None
                answer = httpx.request("POST" if rest else "GET", address, json=body)
                assert matches(shown.splitlines(), answer.text.splitlines()), answer.text
        finally:
            process.send_signal(signal.SIGINT)
            lines += process.stdout.read().splitlines(keepends=True)
    printed = [line.rstrip().replace(site, "http://127.0.0.1:8000") for line in lines]
    assert matches(told.splitlines(), printed) and process.returncode == 130, "".join(lines)


def test_what_a_transcript_leaves_out():
    assert matches(["a ... c", "...", "z"], ["a b c", "x", "y", "z"]) and matches(["a", "..."], ["a"])
    assert matches(["a  1"], ["a     1"]) and not matches(["a  1"], ["a 1"])
    assert not matches(["a", "z"], ["a", "b", "z"]) and not matches(["a (1)"], ["a 1"])


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> Path:
    """The handbook, where `lmworks docs` has it, made where something is newer: by one process of the tests, once.

    A warning of Sphinx is an error, and so is a link that leads nowhere."""
    pytest.importorskip("furo", reason="the handbook is made with the extra handbook")
    with FileLock(tmp_path_factory.getbasetemp().parent / "handbook.lock"):
        return handbook().parent


def test_every_verb_has_a_transcript():
    assert {"serve", *TRANSCRIPTS} == set(verbs())


def test_every_verb_and_room_has_its_page(pages):
    for name in verbs():
        page = (pages / "reference" / "verbs" / f"{name}.html").read_text(encoding="utf-8")
        assert (f"lmworks {name}" in page) and ("--help" in page)
    rooms = {path.parent.name for path in (DOCS.parent / "lmworks").glob("*/__init__.py")}
    assert {path.stem for path in (pages / "reference" / "rooms").glob("*.html")} == {*rooms, "all"}
    settings = (pages / "reference" / "settings.html").read_text(encoding="utf-8")
    assert "learning_rate" in settings and "Divides the logits: below 1 sharper" in settings


def test_every_link_of_the_pages_leads_somewhere(pages):
    """Sphinx checks those of Markdown; the theme's and those of raw HTML are looked at here."""
    texts = {path: path.read_text(encoding="utf-8") for path in pages.rglob("*.html")}
    places = {path: set(re.findall(r'\bid="([^"]+)"', text)) for path, text in texts.items()}
    for path, text in texts.items():
        for link in set(re.findall(r'<a [^>]*?href="([^"]+)"', text)):
            if re.match(r"[a-z]+:", link):
                continue
            address, _, place = unquote(html.unescape(link)).partition("#")
            there = (path.parent / address).resolve() if address else path
            assert there.exists() and (not place or place in places[there]), f"{path.name}: {link}"


def test_nothing_is_asked_of_the_network(pages):
    for page in pages.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe)[^>]* src=\"([^\"]+)\"|<link[^>]* href=\"([^\"]+)\"", text)
        assert not [one for one in loaded if "//" in "".join(one)], page.name


def test_a_fault_of_a_page_is_told_and_leaves_the_earlier_pages(tmp_path):
    pytest.importorskip("furo", reason="the handbook is made with the extra handbook")
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "conf.py").write_text("extensions = ['myst_parser']\nmyst_heading_anchors = 4\n")
    (docs / "index.md").write_text("# Front\n\n```{toctree}\nverbs\n```\n")
    (docs / "verbs.md").write_text("# Verbs\n\nAll of them.\n")
    build(docs, tmp_path / "html")
    (docs / "verbs.md").write_text("# Verbs\n\n[there](nowhere.md) [here](index.md#no-such-part)\n")
    with pytest.raises(LmworksError, match="the handbook has faults") as raised:
        build(docs, tmp_path / "html")
    assert "nowhere.md" in str(raised.value) and "no-such-part" in str(raised.value)
    assert "All of them." in (tmp_path / "html" / "verbs.html").read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir() if "new" in path.name] == []


def test_a_page_that_is_taken_away_is_a_change(tmp_path):
    """Else the pages that are there, with a link to it, would stay."""
    parts = (tmp_path / "README.md", tmp_path / "docs" / "lab" / "claims.md", tmp_path / "docs" / "index.md")
    for path in parts:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    later = _newest(tmp_path / "docs") + 100
    for more, changed in enumerate((parts[1], parts[1].parent, tmp_path / "docs")):  # a folder, as by unlinking
        os.utime(changed, (later + more, later + more))
        assert _newest(tmp_path / "docs") == later + more


def test_a_wheel_carries_its_pages(tmp_path):
    with pytest.raises(LmworksError, match="came without its handbook"):
        handbook(tmp_path / "docs", tmp_path / "carried")
    (tmp_path / "carried").mkdir()
    (tmp_path / "carried" / "index.html").touch()
    assert handbook(tmp_path / "docs", tmp_path / "carried") == tmp_path / "carried" / "index.html"
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "conf.py").write_text("raise SystemExit('run')")  # another package's, in site-packages
    assert handbook(tmp_path / "docs", tmp_path / "carried") == tmp_path / "carried" / "index.html"


def test_docs_names_the_page_and_refuses_one_that_is_not_there(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("lmworks.jobs.handbook.handbook", lambda: tmp_path / "index.html")
    for place in (tmp_path, tmp_path / "reference" / "verbs"):
        place.mkdir(parents=True, exist_ok=True)
        (place / "index.html").touch()
    (tmp_path / "reference" / "verbs" / "tune.html").touch()
    for words, expected in ((["tune"], "reference/verbs/tune.html"), ([], "index.html")):
        monkeypatch.setattr(sys, "argv", ["lmworks", "docs", *words, "--print"])
        with pytest.raises(SystemExit):
            main()
        assert capsys.readouterr().out.strip() == (tmp_path / expected).as_uri()
    monkeypatch.setattr(sys, "argv", ["lmworks", "docs", "tuna", "--print"])
    with pytest.raises(SystemExit, match="1"):
        main()
    assert "no page 'tuna'; did you mean 'tune'?" in capsys.readouterr().err


def test_the_changes_begin_with_this_version():
    changes = (DOCS.parent / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^## (\S+?),? ", changes, re.MULTILINE)[1] == __version__
