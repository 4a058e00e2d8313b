"""Answers from Spanish documents, counted as `benchmarks.german` counts them; nothing was chosen on them.

python -m benchmarks.spanish           # stored in benchmarks/results/quality/spanish.json
"""

from __future__ import annotations

from benchmarks.german import measured

if __name__ == "__main__":
    measured("spanish")
