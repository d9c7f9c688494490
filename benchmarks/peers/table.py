"""Tables and the picture of the results."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

NOT_MEASURED = "not measured"
BY_CER = {"lines_fraktur"}
"""Sets that the picture shows by 1 - CER: hardly a whole line is exact."""
COLOURS = ("#d2452b", "#e99b7d", "#1f6fb5", "#2f8f5b", "#8a4fa3", "#c79a1b", "#5b6770")
SCALE = 4
"""Pixels drawn per pixel of the layout; half of them are kept, the rest smooths the edges."""
WIDTH, HEIGHT, GAP, TOP, FOOT = 250, 190, 54, 40, 34


def percent(share: float) -> str:
    """Return a share as a number of percent."""
    return f"{100 * share:.1f}"


def cell(row: dict | None, notes: list[str], parts: Sequence[str] = ("words", "cer")) -> str:
    """Return scores in percent; a reason becomes a numbered note."""
    if row is None:
        return NOT_MEASURED
    if "error" in row:
        if row["error"] not in notes:
            notes.append(row["error"])
        return f"none ({notes.index(row['error']) + 1})"
    return " / ".join(percent(row[part]) for part in parts) + (" ended" if row.get("ended") else "")


def table(rows: Sequence[dict], sets: Sequence[str], peers: Sequence[str]) -> str:
    """Return the tables with and without labels, the reasons of cells without scores, and the speeds, as markdown."""
    notes: list[str] = []
    trained = [p for p in peers if any(r["peer"] == p and r["minutes"] and "error" not in r for r in rows)]
    untrained = [p for p in peers if any(r["peer"] == p and not r["minutes"] for r in rows)]
    by_key = {(r["peer"], r["set"], r["labels"], r["minutes"]): r for r in rows}
    lines = ["Exact words / CER, in %.", "", *header("set", "labels", "minutes", *trained)]
    for name in sets:
        keys = {(r["labels"], r["minutes"]) for r in rows if r["set"] == name and r["peer"] in trained}
        for labels, minutes in sorted(keys, key=lambda key: (key[0] != "all", key)):
            cells = [cell(by_key.get((peer, name, labels, minutes)), notes) for peer in trained]
            lines.append(f"| {name} | {labels} | {minutes:g} | {' | '.join(cells)} |")
    if untrained:
        lines += [
            "",
            "Without labels: exact words / letters and digits only / CER, in %.",
            "",
            *header("set", *untrained),
        ]
    for name in sets if untrained else ():
        cells = [cell(by_key.get((p, name, "none", 0)), notes, ("words", "loose", "cer")) for p in untrained]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    absent = {r["peer"]: r["error"] for r in rows if r["minutes"] and r["peer"] not in trained}
    lines += ["", *(f"({number}) {note}" for number, note in enumerate(notes, 1))]
    lines += [f"{peer}: {error}" for peer, error in absent.items()]
    return "\n".join([*lines, "", *speeds(rows, sets, peers)])


def header(*names: str) -> list[str]:
    """Return the first two lines of a table."""
    return [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]


def speeds(rows: Sequence[dict], sets: Sequence[str], peers: Sequence[str]) -> Iterator[str]:
    """Return a table of images per processor second, medians over the cells of a peer and a set."""
    kinds = ("trained_per_second", "read_per_second", "warm_per_second")
    yield from header("images per processor second", "set", "trained", "read, start included", "read, warm")
    for peer in peers:
        for name in sets:
            some = [row for row in rows if row["peer"] == peer and row["set"] == name]
            values = [[row[kind] for row in some if kind in row] for kind in kinds]
            if any(values):
                cells = [f"{statistics.median(v):.0f}" if v else "" for v in values]
                yield f"| {peer} | {name} | {' | '.join(cells)} |"


def curves(rows: Sequence[dict], name: str) -> dict[str, list[tuple[float, float]]]:
    """Map each trained peer to its points: limit in minutes and score, with all labels."""
    found: dict[str, list[tuple[float, float]]] = {}
    for row in sorted(rows, key=lambda row: row["minutes"]):
        if row["set"] == name and row["labels"] == "all" and "words" in row:
            value = 1 - row["cer"] if name in BY_CER else row["words"]
            found.setdefault(row["peer"], []).append((row["minutes"], min(1.0, max(0.0, value))))
    return found


def draw(rows: Sequence[dict], sets: Sequence[str], names: Sequence[str], path: Path) -> None:
    """Plot the score over processor minutes, a panel for each set; nothing until a training has two limits."""
    panels = [(name, curves(rows, name)) for name in sets if curves(rows, name)]
    if not any(len(points) > 1 for _, lines in panels for points in lines.values()):
        return
    peers = [name for name in names if any(name in lines for _, lines in panels)]
    colours = dict(zip(peers, COLOURS, strict=False))
    limits = sorted({minutes for _, lines in panels for points in lines.values() for minutes, _ in points})
    across = min(3, len(panels))
    size = (12 + across * (WIDTH + GAP), -(-len(panels) // across) * (TOP + HEIGHT + FOOT) + 40)
    picture = Image.new("RGB", tuple(SCALE * n for n in size), "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(12 * SCALE)
    for number, (name, lines) in enumerate(panels):
        left, top = GAP + number % across * (WIDTH + GAP), TOP + number // across * (TOP + HEIGHT + FOOT)
        _panel(pen, (left, top), name, lines, colours, limits, font)
    left = GAP
    for peer in peers:
        y = size[1] - 20
        pen.line(_scaled((left, y), (left + 22, y)), colours[peer], 3 * SCALE)
        _dot(pen, (left + 11, y), colours[peer])
        pen.text((SCALE * (left + 30), SCALE * y), peer, "#222222", font, anchor="lm")
        left += 52 + round(font.getlength(peer) / SCALE)
    picture.resize(tuple(2 * n for n in size), Image.Resampling.LANCZOS).save(path, optimize=True)


def _panel(pen, corner, name, lines, colours, limits, font) -> None:
    (left, top), low = corner, math.log(limits[0])
    span = math.log(limits[-1]) - low or 1.0

    def at(minutes: float, value: float) -> tuple[float, float]:
        return left + 14 + (WIDTH - 28) * (math.log(minutes) - low) / span, top + HEIGHT * (1 - value)

    for share in (0, 0.25, 0.5, 0.75, 1):
        y = at(limits[0], share)[1]
        pen.line(_scaled((left, y), (left + WIDTH, y)), "#9a9a9a" if share == 0 else "#e4e4e4", SCALE)
        pen.text((SCALE * (left - 7), SCALE * y), f"{share:.0%}", "#666666", font, anchor="rm")
    for minutes in limits:
        place = _scaled((at(minutes, 0)[0], top + HEIGHT + 7))[0]
        pen.text(place, f"{minutes:g} min", "#666666", font, anchor="mt")
    what = "1 - CER" if name in BY_CER else "exact words"
    pen.text((SCALE * left, SCALE * (top - 14)), f"{name}: {what}", "#222222", font, anchor="ls")
    for peer in [peer for peer in reversed(colours) if peer in lines]:  # the first is drawn on top
        places = [at(*point) for point in lines[peer]]
        if len(places) > 1:
            pen.line(_scaled(*places), colours[peer], 3 * SCALE, joint="curve")
        for place in places:
            _dot(pen, place, colours[peer])


def _scaled(*points: tuple[float, float]) -> list[tuple[float, float]]:
    return [(SCALE * x, SCALE * y) for x, y in points]


def _dot(pen, place: tuple[float, float], colour: str) -> None:
    pen.circle((SCALE * place[0], SCALE * place[1]), 5 * SCALE, colour, "white", SCALE)
