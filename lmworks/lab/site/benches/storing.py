"""Compute the stored examples again: python -m lmworks.lab.site.benches.storing [NAME ...]"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from lmworks.lab.site.benches.declaration import benches


def store(names: Sequence[str] = ()) -> list[Path]:
    """Write the example of each bench (of all, unless some are named); the files. DataError where the model or the data
    that one needs is not here."""
    chosen = [one for one in benches().values() if not names or one.name in names]
    for one in chosen:
        text = json.dumps(one.example(), ensure_ascii=False, separators=(",", ":"))
        one.place.write_text(text + "\n", encoding="utf-8")
    return [one.place for one in chosen]


if __name__ == "__main__":
    print(*(f"{path}  {path.stat().st_size:,} bytes" for path in store(sys.argv[1:])), sep="\n")
