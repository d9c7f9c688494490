"""Draw the toy word set of this folder with Pillow's built-in font: `python datasets/make_toy.py`.

Words of 3 to 7 capitals and digits in random colours, sizes and slants, with strokes, grain and blur. The same
seed draws the same pictures.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

HERE = Path(__file__).parent
SEED = 7
SIZES = {"training": 1000, "testing": 100}
SYMBOLS = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # 0, 1, I and O look too much alike here
WORDS = """
APPLE BRICK CLOUD DANCE EARTH FLAME GRAPE HEART JUMP KNEE LEMUR MANGO NEST PEARL QUEEN RAVEN STARS
TULIP UNDER VELVET WATER YEAST ZEBRA METER PLATE LABEL STAMP TRUCK PUMP GATE SERVER PARK BENCH TRAY
WALNUT
"""


def draw_word(rng: np.random.Generator) -> str:
    """A word of the list, or random symbols."""
    if rng.random() < 0.25:
        return str(rng.choice(WORDS.split()))
    return "".join(rng.choice(list(SYMBOLS), rng.integers(3, 8)))


def draw_colours(rng: np.random.Generator) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Ink and paper that differ enough in brightness to be read; either may be the lighter."""
    while True:
        ink, paper = rng.integers(0, 256, (2, 3))
        if abs(float((ink - paper) @ (0.3, 0.59, 0.11))) > 90:
            return tuple(ink.tolist()), tuple(paper.tolist())


def draw_image(word: str, rng: np.random.Generator) -> Image.Image:
    """A picture of `word`."""
    ink, paper = draw_colours(rng)
    font = ImageFont.load_default(int(rng.integers(22, 31)))
    left, top, right, bottom = font.getbbox(word)
    width, height = right - left + int(rng.integers(10, 30)), bottom - top + int(rng.integers(8, 18))
    image = Image.new("RGB", (width, height), paper)
    draw = ImageDraw.Draw(image)
    x, y = (int(rng.integers(3, max(4, free - 2))) for free in (width - right + left, height - bottom + top))
    draw.text((x - left, y - top), word, ink, font)
    image = image.rotate(float(rng.uniform(-3, 3)), Image.Resampling.BICUBIC, fillcolor=paper)
    shear = float(rng.uniform(-0.25, 0.25))
    image = image.transform(
        image.size, Image.Transform.AFFINE, (1, shear, -shear * height / 2, 0, 1, 0), Image.Resampling.BICUBIC,
        fillcolor=paper,
    )  # fmt: skip
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(0, 3))):
        ends = rng.integers((0, 0), (width, height), (2, 2)).reshape(-1).tolist()
        draw.line(ends, tuple((np.array(ink) // 2 + np.array(paper) // 2).tolist()), 1)
    if rng.random() < 0.5:
        image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 0.8))))
    grain = rng.normal(0, rng.uniform(2, 12), (height, width, 1))
    return Image.fromarray(np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8))


def main() -> None:
    """Draw both sets again."""
    rng = np.random.default_rng(SEED)
    shutil.rmtree(HERE / "images", ignore_errors=True)
    (HERE / "images").mkdir()
    for name, count in SIZES.items():
        lines = []
        for i in range(count):
            word = draw_word(rng)
            path = f"images/{name}_{i:03d}.jpg"
            draw_image(word, rng).save(HERE / path, quality=80)
            lines.append(f"{path} {word}\n")
        (HERE / f"annotations-{name}.txt").write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
