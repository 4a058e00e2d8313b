"""docs/pages.md: what it types gives what it shows."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from benchmarks.pages import STORED, table

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/pages.md").read_text(encoding="utf-8")
NUMBERS = re.compile(r"[\d.]+(?= (?:pages|MB))|file://\S*/site/")


def test_an_export_says_what_the_page_shows(tmp_path):
    typed, *shown = re.search(r"\$ lmworks (lab --export .*?)\$ ls", PAGE, re.DOTALL)[1].strip().split("\n")
    ran = subprocess.run(
        [sys.executable, "-m", "lmworks", *typed.split()], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    said = [line for line in ran.stdout.splitlines() if not line.startswith("note ")]  # the benches' model is not here
    assert [NUMBERS.sub("*", line) for line in said] == [NUMBERS.sub("*", line) for line in shown]
    listed = " ".join(sorted(path.name for path in (tmp_path / "site").iterdir()))
    wanted = re.search(r"\$ ls site\n(.*?) \.\.\.", PAGE)[1]
    assert listed.startswith(" ".join(wanted.split()))


def test_every_place_that_can_be_linked_to_is_there():
    from lmworks.lab.site.claims import claims
    from lmworks.lab.site.pages import Pages
    from lmworks.lab.site.words import Words

    known = claims()
    page = Pages(known, Words.of("en")).claim(next(at for at, one in enumerate(known) if one.number == 6))
    named = re.search(r"\*\*Links that stay\*\*(.*?)\n- ", PAGE, re.DOTALL)[1]
    places = re.findall(r"#([a-z][\w-]*)", named)
    assert len(places) > 4 and [one for one in places if f'id="{one}"' not in page] == []


def test_what_it_weighs_is_what_was_stored():
    assert table(json.loads(STORED.read_text(encoding="utf-8"))) in PAGE
