"""`aocr serve` and `aocr label`: reading over HTTP, and pages for a browser. Needs the extra `serve`."""

from aocr.errors import AocrError

try:
    import aiohttp  # noqa: F401
except ImportError:
    raise AocrError("This needs aiohttp: pip install 'aocr[serve]'.") from None
