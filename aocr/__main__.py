"""The program, as `aocr` and as `python -m aocr`. It imports inside `run`, so that Ctrl-C meanwhile is one line."""

import os
import sys


def run() -> None:
    """Run as a program."""
    os.environ["PYTHONSAFEPATH"] = "1"  # processes that it starts import nothing from the working directory
    try:
        from aocr.cli import main

        main.entry_point()
    except KeyboardInterrupt:  # before `main` handles signals, or after
        print("aocr: interrupted.", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    run()
