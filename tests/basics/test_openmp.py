"""How PyTorch's threads wait: what libgomp is told, before it is loaded, and that a user's own choice stays."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from lmworks.basics.openmp import ROUNDS, SETTINGS, wait_briefly


@pytest.mark.parametrize("own", [{}, {"GOMP_SPINCOUNT": "7"}, {"OMP_WAIT_POLICY": "passive"}])
def test_only_where_the_user_says_nothing_the_number_of_rounds_is_set(own):
    environment = {"PATH": "/bin"} | own
    wait_briefly(environment)
    assert environment == {"PATH": "/bin"} | (own or {"GOMP_SPINCOUNT": str(ROUNDS)})


@pytest.mark.skipif(sys.platform != "linux", reason="libgomp is what PyTorch computes with on Linux")
@pytest.mark.parametrize(
    ("statement", "expected"),
    [("import lmworks, torch", str(ROUNDS)), ("import torch, lmworks", "300000")],
    ids=["before torch", "too late"],
)
def test_what_libgomp_was_told_is_what_it_shows_when_it_is_loaded(statement, expected):
    environment = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    ran = subprocess.run(
        [sys.executable, "-c", statement],
        env=environment | {"OMP_DISPLAY_ENV": "VERBOSE"},
        capture_output=True,
        text=True,
        check=True,
    )
    shown = re.search(r"GOMP_SPINCOUNT = '(\d+)'", ran.stderr)
    if shown is None:
        pytest.skip("this PyTorch computes with another library")
    assert shown[1] == expected
