"""Attention pictures."""

import io
import os

import numpy as np
import pytest
from PIL import Image

from aocr.errors import AocrError, ImageError
from aocr.report.attention import (
    MAP_ROW_HEIGHT,
    attention_map,
    attention_sheet,
    overlay_frames,
    padding_share,
    write_visualization,
)
from aocr.results import Character, Prediction, Sample

LABELS = [
    "a/b\\c",
    "..",
    "",
    "CON",
    "x\0y",
    "x" * 400,
    "\u0c95\u0ccd\u0cb7",
    "\u05e9\u05dc\u05d5\u05dd",
    "a:b*?",
    " . ",
]


def image_bytes(width=100, height=40, mode="RGB"):
    buffer = io.BytesIO()
    Image.new(mode, (width, height), 200 if mode == "L" else (200, 180, 90)).save(buffer, "PNG")
    return buffer.getvalue()


def sample(text="abc", label="abc", name="a.png", width=100, columns=25, image=None, weights=None):
    steps = len(text) + 1
    weights = np.eye(steps, columns, dtype=np.float32) if weights is None else weights
    characters = tuple(Character(c, 0.9, 4.0 * i, 4.0 * i + 4) for i, c in enumerate(text))
    prediction = Prediction(text, 0.5, characters, weights, width, width / columns if columns else 0.0)
    return Sample(name, label, prediction, image_bytes(width) if image is None else image)


def test_files_of_a_correct_and_a_misread_image(tmp_path):
    correct, misread = (write_visualization(sample(label=label), tmp_path) for label in ("abc", "abd"))
    for folder, kind in ((correct, "correct"), (misread, "incorrect")):
        assert os.path.basename(os.path.dirname(folder)) == kind
        assert sorted(os.listdir(folder)) == ["attention.gif", "attention.png", "word.txt"]
        with Image.open(os.path.join(folder, "attention.gif")) as gif:
            assert gif.n_frames == 3 and gif.info["loop"] == 0
        with open(os.path.join(folder, "word.txt"), encoding="utf-8") as file:
            assert file.read().split() == ["abc" if kind == "correct" else "abd", "abc"]


def test_changed_reading_moves_to_the_other_folder(tmp_path):
    misread = write_visualization(sample(text="abd"), tmp_path)
    other = write_visualization(sample(text="abd", name="b.png"), tmp_path)
    correct = write_visualization(sample(), tmp_path)
    assert os.path.isdir(correct) and os.listdir(tmp_path / "incorrect") == [os.path.basename(other)]
    notes = os.path.join(correct, "notes.txt")  # the user's file
    with open(notes, "w", encoding="utf-8") as file:
        file.write("why?")
    assert write_visualization(sample(text="abd"), tmp_path) == misread
    assert os.listdir(correct) == ["notes.txt"] and len(os.listdir(misread)) == 3


def test_every_label_gets_a_safe_folder(tmp_path):
    folders = {write_visualization(sample(text, text, f"{i}{text}"), tmp_path) for i, text in enumerate(LABELS)}
    assert len(folders) == len(LABELS)
    for folder in folders:
        inside = os.path.relpath(folder, tmp_path)
        assert inside.split(os.sep)[0] == "correct" and len(inside.split(os.sep)) == 2
        name = os.path.basename(folder)
        assert name not in (".", "..", "") and len(name.encode()) < 200 and not set(name) & set('/\\:*?"<>|\0')


def test_the_heat_is_where_the_attention_is():
    frames = overlay_frames(sample())
    assert len(frames) == 3
    red_columns = []
    for frame in frames:
        values = np.asarray(frame.convert("RGB"), float)
        redness = (values[:, :, 0] - values[:, :, 2])[60 : frame.height // 2 + 20].mean(0)
        red_columns.append(int(redness.argmax()))
    assert red_columns == sorted(red_columns) and red_columns[0] < red_columns[2]


def test_pictures_of_extreme_shapes():
    for text, width, columns in (("", 100, 25), ("a", 1, 1), ("x" * 136, 3000, 375)):
        sheet = attention_sheet(sample(text, text, width=width, columns=columns))
        assert 40 < sheet.height < 40_000 and 100 < sheet.width < 4_000
        assert overlay_frames(sample(text, text, width=width, columns=columns))


def test_attention_on_padding():
    weights = np.zeros((4, 50), np.float32)
    weights[:, 10] = 0.7
    weights[:, 45] = 0.3
    prediction = Prediction("abc", 0.5, (), weights, 100, 4.0)
    np.testing.assert_allclose(padding_share(prediction), 0.3, atol=1e-6)


def test_map_has_rows_of_equal_height():
    with Image.open(io.BytesIO(attention_map(sample().prediction, 100, 40))) as picture:
        assert picture.size == (100, 4 * MAP_ROW_HEIGHT)


def test_damaged_image(tmp_path):
    with pytest.raises(ImageError, match=r"a\.png"):
        write_visualization(sample(image=b"no image"), tmp_path)


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(AocrError, match="file"):
        write_visualization(sample(), tmp_path / "file")
