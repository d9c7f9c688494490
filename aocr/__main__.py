"""Entry point of `aocr` and `python -m aocr`. `run` does the imports, so that Ctrl-C during them prints one line."""

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
