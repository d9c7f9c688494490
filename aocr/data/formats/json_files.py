"""JSON of Label Studio, of COCO-Text and datasets like it, and lists of records as doccano's."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from typing import Any

from aocr import files
from aocr.config import PLAIN
from aocr.data.annotations import IMAGE_ENDINGS, AnnotationLine, is_image_name, is_json_object
from aocr.data.formats.images import locate
from aocr.data.formats.source import Format, Source
from aocr.data.formats.tables import PATHS, TEXTS, typed_columns
from aocr.data.regions import NOWHERE, Corners, box, pairs, upright
from aocr.errors import AnnotationError
from aocr.text.charset import normalise

Entry = tuple[str, Corners, str | None]
"""An image, the corners of a region or (), and its text."""

MAX_BYTES = 2**29
"""Maximum size of a JSON file."""
_TEXTS = ("utf8_string", "text", "transcription", "translation", "words", "plate_text", "ground_truth", "caption")
"""Keys of the text of a region; `label` is its class."""
_BOXES = {"bbox", "bboxes", "box", "boxes", "points", "polygon", "segmentation"}
"""Keys of a record whose text is not that of the whole image."""
_START = re.compile(rb'(\xef\xbb\xbf)?\s*(\[\s*)?(\{\s*["}]|\])')


def _is_json(source: Source) -> bool:
    return bool(_START.match(source.head.replace(b"\0", b"").lstrip(b"\xff\xfe")))


def _damaged(source: Source, lineno: int | None, error: Exception) -> AnnotationError:
    return AnnotationError(source.path, lineno, f"is damaged JSON ({files.one_line(error)}). Export it again.")


def load_json(source: Source) -> Any:
    """Parse a JSON file; one JSON object a line (JSONL) gives a list.

    Raises:
      AnnotationError: it is damaged.
    """
    data = files.read_limited(source.path, MAX_BYTES)
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        records: list[Any] = []
        for lineno, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").splitlines(), 1):
            try:
                records += [json.loads(line)] if line.strip() else []
            except (ValueError, RecursionError) as line_error:
                raise (_damaged(source, lineno, line_error) if records else _damaged(source, None, error)) from None
        return records


def _first(record: dict, keys: Iterable[str]) -> Any:
    return next((record[key] for key in keys if record.get(key) is not None), None)


def _text(value: Any) -> str | None:
    """Return a text that is written as such or as a list of one; None for half a surrogate pair, which is no text."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value if isinstance(value, str) and not re.search("[\ud800-\udfff]", value) else None


def _unwrapped(value: Any) -> Any:
    """Return the text of Donut's `{"gt_parse": {"text_sequence": ...}}`, a string or not; any other value as it is."""
    data = json.loads(value) if isinstance(value, str) and is_json_object(value) else value
    parse = data.get("gt_parse") if isinstance(data, dict) else None
    return parse.get("text_sequence", value) if isinstance(parse, dict) else value


def _label_studio_corners(result: dict) -> Corners:
    """Return the corners of a rectangle, turned clockwise around its top left, or of a polygon."""
    value = result["value"]
    if result.get("image_rotation"):
        return NOWHERE
    width, height = float(result.get("original_width", 0)) / 100, float(result.get("original_height", 0)) / 100
    if "points" in value:
        return upright(tuple((float(x) * width, float(y) * height) for x, y in value["points"]))
    if not {"x", "y", "width", "height"} <= value.keys():
        return NOWHERE  # an ellipse, a brush
    x, y, angle = float(value["x"]) * width, float(value["y"]) * height, math.radians(value.get("rotation") or 0)
    across, down = float(value["width"]) * width, float(value["height"]) * height
    right = (across * math.cos(angle), across * math.sin(angle))
    below = (-down * math.sin(angle), down * math.cos(angle))
    corners = ((0, 0), right, (right[0] + below[0], right[1] + below[1]), below)
    return tuple((x + dx, y + dy) for dx, dy in corners) if angle else box(x, y, across, down)


def _label_studio(source: Source, tasks: list[dict]) -> Iterator[Entry]:
    """Yield the regions of each task: results of one id are a region's shape, label and text."""
    for task in tasks:
        texts = [value for value in task["data"].values() if isinstance(value, str)]
        name = next((text for text in texts if text.lower().endswith(IMAGE_ENDINGS)), texts[0] if texts else "")
        path = locate(source.path, name)
        annotations = task.get("annotations") or task.get("completions") or []
        finished = sorted(
            (annotation for annotation in annotations if not annotation.get("was_cancelled")),
            key=lambda annotation: not annotation.get("ground_truth"),
        )
        regions: dict[str, tuple[Corners, str | None]] = {}
        for result in finished[0]["result"] if finished else ():
            value, key = result.get("value") or {}, str(result.get("id"))
            corners, text = regions.get(key, ((), None))
            if "original_width" in result and value.keys() - {"text", "choices"}:
                corners = _label_studio_corners(result)
            if corners or "text" in value:
                regions[key] = corners, _text(value["text"]) if "text" in value else text
        yield from ((path, *region) for region in regions.values() or [((), None)])


def _coco_corners(annotation: dict) -> Corners:
    if points := annotation.get("points"):  # of TextOCR, from the top left of the text
        return pairs([*map(float, points)])
    polygon = _first(annotation, ("polygon", "mask", "segmentation"))
    if isinstance(polygon, list) and polygon and isinstance(polygon[0], list):
        polygon = polygon[0]
    if isinstance(polygon, list) and len(polygon) >= 6:
        return upright(pairs([*map(float, polygon)]))
    return box(*map(float, annotation["bbox"]))


def _coco(source: Source, data: dict) -> Iterator[Entry]:
    """Yield the annotations of COCO (lists) or COCO-Text (dictionaries by id), illegible ones without a text."""
    images, annotations = (
        list(part.values()) if isinstance(part, dict) else part
        for part in (_first(data, ("images", "imgs")), _first(data, ("annotations", "anns")))
    )
    paths = {str(image["id"]): locate(source.path, image["file_name"]) for image in images}
    for annotation in annotations:
        text = _text(_first({**(annotation.get("attributes") or {}), **annotation}, _TEXTS))
        is_illegible = annotation.get("legibility") == "illegible" or text == "###"
        is_illegible |= text == "." and "points" in annotation  # TextOCR
        yield paths[str(annotation["image_id"])], _coco_corners(annotation), None if is_illegible else text


def _records(source: Source, records: list[dict]) -> Iterator[Entry]:
    """Yield records of one image and one text, whose keys may be those of `--columns`."""
    typed = [] if source.options.columns == PLAIN else typed_columns(source)
    paths, texts = ((key,) for key in typed) if typed else (PATHS, TEXTS)
    keys = ", ".join(map(repr, list(records[0])[:8])) if records else ""
    for key in typed:
        if not any(key in record for record in records):
            raise AnnotationError(source.path, None, f"has no key {key!r} (--columns). Its records have {keys}.")
    values = [_first(record, texts) for record in records]
    for number, record in enumerate(records):
        name = _first(record, paths)
        if number == 0 and not isinstance(name, str):
            reason = f"is JSON without images: its records have {keys}. If one is the image: --columns IMAGE,TEXT."
            raise AnnotationError(source.path, None, reason)
        boxes = [key for key, value in record.items() if value and (key in _BOXES or "original_width" in str(value))]
        if boxes:
            advice = "Give COCO, or Label Studio's JSON (not JSON-MIN)."
            raise AnnotationError(source.path, None, f"has texts of parts of images ({boxes[0]!r}). {advice}")
        if number == 0:
            _check_values(source, record, values, keys)
        path = locate(source.path, name) if isinstance(name, str) else ""
        yield path, (), _text(_unwrapped(values[number]))


def _check_values(source: Source, record: dict, values: list, keys: str) -> None:
    """Raise an AnnotationError if no record has a text, or most texts are numbers."""
    if sum(isinstance(value, int | float) for value in values) * 2 > len(values):
        raise AnnotationError(source.path, None, 'the texts are numbers. Write them in quotes: "123".')
    if len(record) > 1 and not any(key in record for key in TEXTS) and all(value is None for value in values):
        image = next(key for key in PATHS if record.get(key) is not None)
        reason = f"is JSON without a known key of a text: its records have {keys}. Say which: --columns {image},KEY."
        raise AnnotationError(source.path, None, reason)


def _results(results: list[dict]) -> Iterator[Entry]:
    """Yield the results of a detector in COCO's form, which name their images by id."""
    for result in results:
        yield str(result["image_id"]), box(*map(float, result["bbox"])), None


def entries(source: Source) -> Iterator[Entry]:
    """Yield the regions or images of a JSON file of any of these kinds.

    Raises:
      AnnotationError: it is damaged, or of another kind.
    """
    data = load_json(source)
    try:
        if isinstance(data, dict) and {"images", "imgs"} & data.keys() and {"annotations", "anns"} & data.keys():
            yield from _coco(source, data)
            return
        if isinstance(data, dict) and data and all(map(is_image_name, data)):  # docTR: {"a.png": "TEXT"}
            yield from ((locate(source.path, name), (), _text(text)) for name, text in data.items())
            return
        records = data if isinstance(data, list) else [data]
        if any({"annotations", "completions"} & record.keys() and "data" in record for record in records):
            yield from _label_studio(source, records)
        elif records and {"image_id", "bbox"} <= records[0].keys():
            yield from _results(records)
        else:
            yield from _records(source, records)
    except (TypeError, ValueError, KeyError, AttributeError, IndexError, OverflowError) as error:
        reason = f"is JSON of an unknown structure ({type(error).__name__}: {files.one_line(error)})."
        raise AnnotationError(source.path, None, f"{reason} Label Studio, COCO-Text and doccano can be read.") from None


def read(source: Source) -> list[AnnotationLine]:
    """Read the regions or images of a JSON file; without one text they have no label.

    Raises:
      AnnotationError: it is damaged, of another kind, or has no texts.
    """
    lines = []
    for number, (path, corners, text) in enumerate(entries(source), 1):
        text = None if corners and not (text or "").strip() else text
        label, reason = None if text is None else normalise(text), f"entry {number} has no text, or several."
        lines.append(AnnotationLine(path, label, number, unusable=reason, region=corners))
    if sum(is_json_object(line.label or "") for line in lines) * 2 > sum(bool(line.label) for line in lines):
        raise AnnotationError(source.path, None, "has JSON in place of texts. Write the text of each image alone.")
    if all(line.label is None for line in lines):
        found = f"{len(lines)} images or boxes" if lines else "no images"
        raise AnnotationError(source.path, None, f"is JSON with {found} and no texts. Add the texts, or export them.")
    return lines


JSON = Format("JSON", _is_json, read)
