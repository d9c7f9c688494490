"""``python -m aocr``: the same program as the ``aocr`` command."""

from aocr.cli.main import entry_point

if __name__ == "__main__":
    entry_point()
