"""The program, as `aocr` and as `python -m aocr`: nothing is imported before what tells a Ctrl-C in one line."""

import os
import sys


def run() -> None:
    """Run as a program. Those that it starts look for no module in the working directory, which may be a stranger's."""
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        from aocr.cli import main

        main.entry_point()
    except KeyboardInterrupt:  # before `main` takes over the signals, or after it gives them back
        print("aocr: interrupted.", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    run()
