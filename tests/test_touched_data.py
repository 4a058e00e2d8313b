"""Tests that read data or ask for the network are noted, by one process of pytest or by several."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from touched_data import NAMES

CONFTEST = """
import pytest
from touched_data import Watch

def pytest_configure(config):
    config.pluginmanager.register(Watch())

@pytest.fixture(scope="session")
def text(): return open({data!r}).read()
"""
TESTS = """
import socket

def test_reads_by_a_fixture(text): pass
def test_reads_another_file(): open(__file__).close()
def test_asks_for_an_address():
    try: socket.getaddrinfo("nowhere.invalid", 80)
    except OSError: pass
def test_asks_this_machine(): socket.getaddrinfo("127.0.0.1", 80)
def test_reads_nothing(): pass
"""


@pytest.mark.parametrize("processes", ["0", "2"])
def test_what_reads_data_or_asks_for_the_network_is_noted(tmp_path: Path, processes: str):
    (tmp_path / "data").mkdir()
    data = tmp_path / "data" / "text.txt"
    data.write_text("one")
    (tmp_path / "conftest.py").write_text(CONFTEST.format(data=str(data)))
    (tmp_path / "test_some.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "xdist", "-n", processes],
        cwd=tmp_path,
        env=os.environ | {"LMWORKS_DATA": str(data.parent), "PYTHONPATH": path, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert (tmp_path / NAMES).read_text().splitlines() == [
        "test_some.py::test_asks_for_an_address",
        "test_some.py::test_reads_by_a_fixture",
    ]
