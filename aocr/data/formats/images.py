"""Find the images that a file of another program names."""

from __future__ import annotations

import os
import re
from urllib.parse import unquote

from aocr import files


def locate(annotations: str, name: str) -> str:
    """Find an image in the folder of the file that names it, in `images` there, or in the folder above.

    Tried are the name as written and its last part; Label Studio's `/data/local-files/?d=PATH` as PATH, and the file
    that it stored as `0123abcd-NAME` as NAME.

    Returns:
      A path that exists; otherwise the name as written, or the last part of an address.
    """
    if name.startswith("/data/local-files/"):
        name = unquote(name.partition("?d=")[2])
    last = unquote(re.split(r"[\\/]", name.partition("?")[0])[-1])
    is_address = name.startswith(("http://", "https://"))
    names = [last, re.sub(r"^[0-9a-f]{8}-", "", last)]
    folder = os.path.dirname(annotations)
    for candidate in names if is_address else [name, *names]:
        for path in (os.path.join(folder, place, candidate) for place in ("", "images", os.pardir)):
            if candidate and files.exists(path) and not files.is_folder(path):
                return os.path.normpath(path) if not files.is_remote(path) else path
    return last if is_address else name
