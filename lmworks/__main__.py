"""python -m lmworks: the command line."""

from lmworks.cli import main

if __name__ == "__main__":
    main()
