"""What the lab found about claims, for pages that let people try them."""

from __future__ import annotations

from collections.abc import Mapping

from lmworks.lab import store


def verdicts(claims: Mapping[int, str]) -> dict[str, str]:
    """A line for each claim (its number and what it is about) that has a stored result, by the address of its page."""
    found = [(number, about, store.stored(number)) for number, about in claims.items()]
    return {
        f"/lab/q{number:02d}.html": f"Claim {number}, on {about}: {finding.count}"
        for number, about, finding in found
        if finding is not None
    }
