"""A model in a process of its own, for what it takes there: python -m lmworks.reporting.alone MODEL 512 64.

Prints the most memory that the process held, in MB.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Load, read, write, print."""
    from lmworks.basics.memory import peak_megabytes
    from lmworks.loading import load
    from lmworks.reporting.sections.speed import read, write

    reference, size, written = sys.argv[1:]
    model = load(reference)
    read(model, int(size))
    write(model, int(written))
    print(peak_megabytes())


if __name__ == "__main__":
    main()
