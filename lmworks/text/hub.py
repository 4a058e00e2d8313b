"""Repositories of the Hugging Face hub, `hf:org/name`: fetched into its own cache (extra `hub`)."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from lmworks.basics import terminal
from lmworks.basics.errors import LmworksError
from lmworks.basics.extras import require

PREFIX = "hf:"


def snapshot(reference: str, kind: str, patterns: Sequence[str]) -> Path:
    """The folder with the files of `hf:org/name` that match; `kind` is "model" or "dataset".

    Raises LmworksError: a malformed name, no such repository, no network and nothing cached.
    """
    name = reference.removeprefix(PREFIX)
    if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name, re.ASCII):
        raise LmworksError(f"{reference} is not a hub reference; write it as hf:org/name")
    hub = require("huggingface_hub", "hub")
    try:
        with contextlib.redirect_stderr(terminal.unguarded(sys.stderr)):  # it draws a bar
            return Path(hub.snapshot_download(name, repo_type=kind, allow_patterns=list(patterns)))
    except (OSError, ValueError) as error:  # all of the hub's network and cache errors are one of the two
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise LmworksError(
            f"{reference} could not be fetched ({reason}); check the name and the network, "
            "or fetch it elsewhere and give the path of its folder"
        ) from error
