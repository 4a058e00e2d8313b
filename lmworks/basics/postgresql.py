"""Addresses of PostgreSQL databases, and what a server says, without passwords."""

from __future__ import annotations

import re
from urllib.parse import unquote

_ACCOUNT = re.compile(r"(?<=://)([^:/@?#]*):([^/?#]*)@")
"""User and password in front of a host."""
_PARAMETER = re.compile(r"(?<=[?&])(?:ssl)?password=([^&#]*)&?")


def without_password(address: str) -> str:
    """An address that can be shown."""
    return _PARAMETER.sub("", _ACCOUNT.sub(r"\1@", address)).rstrip("?&")


def reason_of(error: BaseException, address: str) -> str:
    """The first line of what went wrong, without the address's password."""
    lines = str(error.__cause__ or error).strip().splitlines() or [type(error).__name__]
    reason = lines[0].rstrip(":").replace(address, without_password(address))
    for secret in [found[2] for found in _ACCOUNT.finditer(address)] + _PARAMETER.findall(address):
        for spelt in {secret, unquote(secret)} - {""}:
            reason = reason.replace(spelt, "***")
    return reason
