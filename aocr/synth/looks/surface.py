"""Steps that paint the ground, or effects behind, in or over the letters; each is called with (work, rng)."""

from __future__ import annotations

from random import Random

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from aocr.synth.looks.colours import apart, colour, darker, near
from aocr.synth.looks.textures import photo_piece, texture_piece
from aocr.synth.looks.work import Work, blend, dimmed, rounded


def plain_ground(work: Work, rng: Random) -> None:
    """Fill with one colour."""
    work.picture = Image.new("RGB", work.size, rounded(work.ground))


def textured_ground(work: Work, rng: Random) -> None:
    """Paint a texture of two similar shades."""
    other = near(rng, work.ground, 14 if rng.random() < 0.5 else 34)
    work.picture = blend(work.ground, other, texture_piece(rng, work.size))


def motley_ground(work: Work, rng: Random) -> None:
    """Paint a texture of two colours, both distinct from the letters."""
    other = colour(rng)
    if not apart(other, work.ink, 35):
        other = near(rng, work.ground, 30)
    work.picture = blend(work.ground, other, texture_piece(rng, work.size))


def photo_ground(work: Work, rng: Random) -> None:
    """Paint a clutter of surfaces, blended with the ground's colour for contrast."""
    plain = Image.new("RGB", work.size, rounded(work.ground))
    work.picture = Image.blend(photo_piece(rng, work.size), plain, rng.uniform(0.25, 0.85))


def shadow(work: Work, rng: Random) -> None:
    """Add a soft or hard shadow, mostly dark."""
    height = work.size[1]
    dx = rng.choice((-1, 1)) * rng.randint(0, max(1, height // 16))
    mask = ImageChops.offset(work.letters, dx, rng.randint(-1, max(1, height // 14)))
    if rng.random() < 0.6:
        mask = mask.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 2.5)))
    shade = near(rng, (0, 0, 0), 18) if rng.random() < 0.8 else colour(rng)
    work.picture.paste(rounded(shade), mask=dimmed(mask, rng.uniform(0.35, 0.95)))


def extrusion(work: Work, rng: Random) -> None:
    """Extrude the letters: add their sides in another colour."""
    dx, dy = rng.choice(((1, 1), (-1, 1), (0, 1), (1, 0), (-1, 0), (1, -1)))
    mask = work.letters
    for depth in range(1, rng.randint(2, max(3, work.size[1] // 12))):
        mask = ImageChops.lighter(mask, ImageChops.offset(work.letters, dx * depth, dy * depth))
    side = colour(rng) if rng.random() < 0.5 else darker(rng, work.ink)
    work.picture.paste(rounded(side), mask=mask)


def rim(work: Work, rng: Random) -> None:
    """Add a contrasting outline."""
    mask, reach = work.letters, rng.choice((1, 1, 2))
    for dx, dy in ((reach, 0), (-reach, 0), (0, reach), (0, -reach)):
        mask = ImageChops.lighter(mask, ImageChops.offset(mask, dx, dy))
    line = colour(rng)
    if not apart(line, work.ink, 40):
        line = (255, 255, 255) if sum(work.ink) < 384 else (0, 0, 0)
    work.picture.paste(rounded(line), mask=mask)


def emboss(work: Work, rng: Random) -> None:
    """Add relief, lit from the upper left or the lower right."""
    light, dark = ImageChops.offset(work.letters, -1, -1), ImageChops.offset(work.letters, 1, 1)
    if rng.random() < 0.3:
        light, dark = dark, light
    strength = rng.uniform(0.15, 0.5)
    work.picture.paste((255, 255, 255), mask=dimmed(light, strength))
    work.picture.paste((0, 0, 0), mask=dimmed(dark, strength))


def halo(work: Work, rng: Random) -> None:
    """Add a glow around lit letters."""
    mask = work.letters.filter(ImageFilter.GaussianBlur(rng.uniform(2, 5)))
    glow = near(rng, work.ink, 25)
    work.picture.paste(rounded(glow), mask=dimmed(mask, rng.uniform(0.3, 0.9)))


def hollow(work: Work, rng: Random) -> None:
    """Keep only the outlines of the letters."""
    if work.size[1] < 44:
        return
    inside = work.letters.filter(ImageFilter.MinFilter(3)).filter(ImageFilter.GaussianBlur(0.4))
    work.letters = ImageChops.subtract(work.letters, inside)


def worn(work: Work, rng: Random) -> None:
    """Remove patches of the letters' paint."""
    texture = texture_piece(rng, work.size).point([255 if level > 70 else level * 255 // 70 for level in range(256)])
    work.letters = ImageChops.multiply(work.letters, texture)


def plain_ink(work: Work, rng: Random) -> None:
    """Paint letters in one colour, sometimes half transparent."""
    mask = work.letters if rng.random() < 0.8 else dimmed(work.letters, rng.uniform(0.55, 1))
    work.picture.paste(rounded(work.ink), mask=mask)


def graded_ink(work: Work, rng: Random) -> None:
    """Paint letters with a vertical gradient."""
    ramp = Image.linear_gradient("L").resize(work.size)
    work.picture.paste(blend(work.ink, near(rng, work.ink, 50), ramp), mask=work.letters)


def textured_ink(work: Work, rng: Random) -> None:
    """Paint letters with a texture."""
    texture = texture_piece(rng, work.size)
    work.picture.paste(blend(work.ink, near(rng, work.ink, 45), texture), mask=work.letters)


def raised(work: Work, rng: Random) -> None:
    """Form letters out of the ground, as of metal, plastic or stone: a soft shadow, a lit edge and a dark one."""
    height, material = work.size[1], work.picture.copy()
    dx, dy = rng.choice((-1, 1)) * height * rng.uniform(0.01, 0.06), height * rng.uniform(0.01, 0.08)
    cast = ImageChops.offset(work.letters, round(dx), round(dy))
    cast = cast.filter(ImageFilter.GaussianBlur(rng.uniform(0.02, 0.06) * height))
    work.picture.paste((0, 0, 0), mask=dimmed(cast, rng.uniform(0.4, 0.9)))
    emboss(work, rng)
    shade = near(rng, work.ground, 12) if rng.random() < 0.7 else near(rng, (170, 165, 150), 30)
    tone = Image.new("RGB", work.size, rounded(shade))
    work.picture.paste(Image.blend(material, tone, rng.uniform(0.3, 1)), mask=work.letters)


def lighting(work: Work, rng: Random) -> None:
    """Vary the light across the image."""
    strength = rng.uniform(0.03, 0.30)
    levels = np.array([[rng.gauss(0, 1) for _ in range(3)] for _ in range(2)], np.float32)
    levels = np.clip(190 * np.exp(levels * strength), 0, 255).astype(np.uint8)
    light = Image.fromarray(levels).resize(work.size, Image.Resampling.BICUBIC)
    pixels = np.asarray(work.picture, np.float32) * (np.asarray(light, np.float32)[..., None] * np.float32(1 / 190))
    work.picture = Image.fromarray(np.minimum(pixels, 255).astype(np.uint8))


def highlight(work: Work, rng: Random) -> None:
    """Add a reflection."""
    width, height = work.size
    radius = int(rng.uniform(0.3, 1.2) * height)
    spot = ImageChops.invert(Image.radial_gradient("L"))
    spot = spot.resize((max(4, radius * 2), max(4, int(radius * rng.uniform(0.5, 2)))))
    mask = Image.new("L", work.size)
    mask.paste(spot, (rng.randint(-radius, width), rng.randint(-radius, height)))
    work.picture.paste((255, 255, 255), mask=dimmed(mask, rng.uniform(0.2, 0.85)))


def scratches(work: Work, rng: Random) -> None:
    """Draw thin lines across the image, like wires, branches or cracks."""
    width, height = work.size
    mask = Image.new("L", work.size)
    draw = ImageDraw.Draw(mask)
    for _ in range(rng.randint(1, 4)):
        ends = (rng.randint(0, width), rng.randint(0, height), rng.randint(0, width), rng.randint(0, height))
        draw.line(ends, fill=255, width=rng.randint(1, 2))
    work.picture.paste(rounded(colour(rng)), mask=dimmed(mask, rng.uniform(0.2, 0.8)))


def covered(work: Work, rng: Random) -> None:
    """Cover a piece of a letter, as posts, leaves and stickers do."""
    width, height = work.size
    wide, tall = rng.uniform(0.25, 0.7) * width / work.num_chars, rng.uniform(0.25, 0.6) * height
    if rng.random() < 0.3:  # a post
        wide, tall = wide / 3, height
    size = (max(2, int(wide)), int(tall))
    mask = Image.new("L", size)
    draw = ImageDraw.Draw(mask)
    (draw.ellipse if rng.random() < 0.4 else draw.rectangle)((0, 0, size[0] - 1, size[1] - 1), fill=255)
    patch = photo_piece(rng, size) if rng.random() < 0.6 else Image.new("RGB", size, rounded(colour(rng)))
    corner = (rng.randint(0, max(0, width - size[0])), rng.choice((0, height - size[1], (height - size[1]) // 2)))
    work.picture.paste(patch, corner, mask)


def strikes(work: Work, rng: Random) -> None:
    """Draw straight or bent lines through the text."""
    width, height = work.size
    draw = ImageDraw.Draw(work.picture)
    for _ in range(rng.randint(1, 5)):
        ends = [(x, rng.randint(0, height)) for x in (0, width // 3, 2 * width // 3, width)]
        shade = work.ink if rng.random() < 0.5 else colour(rng)
        points = ends if rng.random() < 0.5 else (ends[0], ends[-1])
        draw.line(points, rounded(shade), rng.choice((1, 1, 2, 3)), "curve")


def dots(work: Work, rng: Random) -> None:
    """Scatter dots."""
    width, height = work.size
    draw = ImageDraw.Draw(work.picture)
    for _ in range(rng.randint(20, 120)):
        x, y, radius = rng.randint(0, width), rng.randint(0, height), rng.choice((0, 0, 1, 1, 2))
        draw.ellipse((x, y, x + radius, y + radius), rounded(work.ink if rng.random() < 0.5 else colour(rng)))


def stains(work: Work, rng: Random) -> None:
    """Add dirt, shadows of leaves or reflections."""
    mask = texture_piece(rng, work.size)
    shade = (0, 0, 0) if rng.random() < 0.6 else near(rng, (255, 255, 255), 30)
    work.picture.paste(rounded(shade), mask=dimmed(mask, rng.uniform(0.1, 0.4)))
