"""The command line: one file per verb; each parses and prints, and decides nothing."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run a verb; an error of the user's is one sentence on standard error and exit code 1."""
    from lmworks.basics.terminal import guarded

    # pydantic would look for plugins among all installed packages at each start; verbs use none.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    with guarded():
        _run()


def _run() -> None:
    from lmworks.basics import progress
    from lmworks.basics.errors import LmworksError, Stopped
    from lmworks.cli.app import app

    try:
        try:
            app(prog_name="lmworks")
        finally:
            progress.end_line()
    except SystemExit as end:
        if end.code == 130:  # Ctrl-C, which typer makes this of
            print("lmworks: stopped", file=sys.stderr)
        raise
    except Stopped as stopped:
        print(f"lmworks: {stopped}", file=sys.stderr)
        if stopped.resume and "WORLD_SIZE" not in os.environ:  # a rank is not what was typed
            print(f"next    {_again(sys.argv[1:])}", file=sys.stderr)
        sys.exit(130)
    except LmworksError as error:
        print(f"lmworks: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("lmworks: stopped", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader of a pipe went away
        sys.stderr.close()
        sys.exit(141)
    except Exception as error:
        from lmworks.basics.files import FULL, is_full

        if is_full(error):  # of temporary files, or of where the output goes
            print(f"lmworks: {FULL}; free some space and run it again ({error})", file=sys.stderr)
        else:  # a fault of lmworks, whose text may be foreign too: told while the terminal is guarded
            import traceback

            traceback.print_exc()
        sys.exit(1)


def _again(arguments: list[str]) -> str:
    """The command that goes on with what was stopped."""
    from lmworks.basics.terminal import for_shell

    more = [] if "--resume" in arguments else ["--resume"]
    return " ".join(["lmworks", *map(for_shell, [*arguments, *more])])
