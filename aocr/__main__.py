"""The program, as `aocr` and as `python -m aocr`. It imports inside `run`, so that Ctrl-C meanwhile is one line."""

import sys


def run() -> None:
    """Run as a program."""
    try:
        from aocr.cli import main

        main.entry_point()
    except KeyboardInterrupt:  # before `main` handles signals, or after
        print("aocr: interrupted.", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    run()
