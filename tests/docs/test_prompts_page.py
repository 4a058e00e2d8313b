"""The handbook's page on prompts runs as it stands."""

from __future__ import annotations

import json
import re
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "prompts.md").read_text(encoding="utf-8")


def test_the_page_runs_as_it_stands(smollm2_path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    films = [
        {"prompt": f"Film {number}: {'dull' if number % 2 else 'a joy'}.", "response": str((number + 1) % 2)}
        for number in range(44)
    ]
    Path("films.jsonl").write_text("".join(json.dumps(one) + "\n" for one in films), encoding="utf-8")
    seen: dict = {}
    for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(code, seen)
    assert seen["found"].test.n == 8 and seen["found"].tried == 2 and len(seen["thought"].ways) == 3
