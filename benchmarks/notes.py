"""Answers from short notes in English, as people keep them at home, in a club or in a small firm, counted as
`benchmarks.german` counts them; nothing was chosen on them.

python -m benchmarks.notes             # stored in benchmarks/results/quality/notes.json
"""

from __future__ import annotations

from benchmarks.german import measured

if __name__ == "__main__":
    measured("notes")
