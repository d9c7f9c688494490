"""Lines, scores and the HTML page."""

import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from aocr.errors import AocrError
from aocr.report.attention import write_visualization
from aocr.report.index import write_index
from aocr.report.lines import prediction_json, prediction_line, result_line, score_json, score_text
from aocr.report.page import MAX_MISSES, align, confusions, right_after_check, surest_first, write_html_report
from aocr.results import Alternative, Character, Prediction, Sample
from aocr.text.metrics import edit_distance, score


def picture():
    buffer = io.BytesIO()
    Image.effect_noise((80, 30), 50).save(buffer, "PNG")
    return buffer.getvalue()


def sample(text, label, confidence=0.5, name="a.png", image=None):
    attention = np.eye(len(text) + 1, 20, dtype=np.float32)
    characters = tuple(Character(c, confidence, 4.0 * i, 4.0 * i + 4) for i, c in enumerate(text))
    prediction = Prediction(text, confidence, characters, attention, 80, 4.0)
    return Sample(name, label, prediction, picture() if image is None else image, -1.0)


def test_line_has_three_fields():
    line = prediction_line("a\tb.png", Prediction("x\ny\\z\t", 0.12345))
    assert line == "a\\tb.png\tx\\ny\\\\z\\t\t0.1235"


def test_json():
    prediction = Prediction(
        "\u0c95", 0.5, (Character("\u0c95", 0.6, 1.0, 2.0),), np.array([[0.25, 0.75]]), 9, 4.0, (Alternative("b", 0.1),)
    )
    values = json.loads(prediction_json("p", prediction))
    assert values == {
        "path": "p", "text": "\u0c95", "confidence": 0.5, "alternatives": [{"text": "b", "confidence": 0.1}],
        "cut": False, "characters": [{"char": "\u0c95", "confidence": 0.6, "x0": 1.0, "x1": 2.0, "y0": 0.0, "y1": 0.0}],
    }  # fmt: skip
    assert "\u0c95" in prediction_json("p", prediction)
    assert json.loads(prediction_json("p", prediction, attention=True))["attention"] == [[0.25, 0.75]]


def test_result_lines_of_aocr_0_7_6():
    assert result_line(sample("ab", "ab")) == "100% (ab)"
    assert result_line(sample("HELLA", "HELLO")) == " 80% (HELLO read as HELLA) a.png"
    assert result_line(sample("HELLA", "HELLO"), use_distance=False) == "  0% (HELLO read as HELLA) a.png"


HIDDEN = "\x1b]0;title\a\n\u202eabc\u2066\x9b31m"
"""Renames a terminal's window, breaks the line, reverses the writing direction and sets a colour."""


def test_lines_cannot_control_the_terminal():
    prediction = Prediction(HIDDEN, 0.5, alternatives=(Alternative(HIDDEN, 0.1),))
    line = prediction_line(HIDDEN, prediction)
    assert line.replace("\t", "").isprintable() and len(line.split("\t")) == 5
    assert line.startswith("\\x1b]0;title\\x07\\n\\u202eabc\\u2066\\x9b31m\t")
    assert result_line(Sample(HIDDEN, HIDDEN, Prediction("x", 0.5))).isprintable()
    assert result_line(Sample("a.png", HIDDEN, prediction)).isprintable()


def test_joiners_and_direction_marks_are_not_escaped():
    text = "\u0915\u094d\u200d\u0937 \u200f\u05e9"
    assert prediction_line("p", Prediction(text, 0.5)) == f"p\t{text}\t0.5000"


def test_json_escapes_control_characters():
    characters = tuple(Character(char, 0.5, 0.0, 1.0) for char in HIDDEN)
    text = prediction_json(
        HIDDEN + "\udcff", Prediction(HIDDEN, 0.5, characters, alternatives=(Alternative(HIDDEN, 0.1),))
    )
    assert text.isprintable()
    values = json.loads(text)
    assert values["path"] == HIDDEN + "\udcff" and values["text"] == HIDDEN == values["alternatives"][0]["text"]


def test_scores_as_text_and_json():
    report = score([sample("ab", "ab"), sample("ax", "ab")], skipped={"missing file": 3})
    values = json.loads(score_json(report))
    assert values["word_accuracy"] == 0.5 and values["cer"] == 0.25 and values["images_per_second"] is None
    assert values["skipped"] == {"missing file": 3}
    text = score_text(report)
    assert re.search(r"^word accuracy +50.00%$", text, re.MULTILINE)
    assert re.search(r"^left out: missing file +3$", text, re.MULTILINE)


@pytest.mark.parametrize("label, text", [("abc", "abc"), ("abc", "axc"), ("", "ab"), ("ab", ""), ("kitten", "sitting")])
def test_alignment(label, text):
    pairs = align(label, text)
    assert "".join(a for a, _ in pairs) == label
    assert "".join(b for _, b in pairs) == text
    assert sum(a != b for a, b in pairs) == edit_distance(label, text)


def test_confusions():
    assert confusions([sample("0O", "00"), sample("O", "0"), sample("", "7"), sample("x", "x")]) == {
        ("0", "O"): 2,
        ("7", ""): 1,
    }


def test_surest_first():
    misses = [sample("ab", "ax", 0.8), sample("zz", "ab", 0.2), sample("yy", "ab", 0.8), sample("ab", "ab")]
    assert [s.prediction.text for s in surest_first(misses)] == ["yy", "ab", "zz"]


def test_three_numbers_come_first(tmp_path):
    samples = [sample("a", "a", 0.9)] * 7 + [sample("b", "a", 0.1), sample("b", "a", 0.8), sample("a", "a", 0.7)]
    assert right_after_check(samples) == 0.9 and right_after_check([]) == 0
    write_html_report(str(tmp_path / "r.html"), score(samples), samples, "t")
    head = (tmp_path / "r.html").read_text("utf-8").partition("<details>")[0]
    assert re.findall(r"<strong>(.*?)</strong>", head) == ["80.0%", "20.0%", "90.0%"]
    assert "8 of 10; of new images likely 49% to 94%" in head


def test_a_space_and_nothing_have_different_marks(tmp_path):
    samples = [sample("71227", "71 227"), sample("71 227", "71227")]
    write_html_report(str(tmp_path / "r.html"), score(samples), samples, "t")
    words = re.findall(r'<bdi class="word">(.*?)</bdi>', (tmp_path / "r.html").read_text("utf-8"))
    space, nothing = "<mark>\u2423</mark>", '<mark class="gap" title="nothing here">\u2205</mark>'
    assert words == [f"71{space}227", f"71{nothing}227", f"71{nothing}227", f"71{space}227"]


def test_index_of_pictures(tmp_path):
    samples = [sample("ab", "ab"), sample("<x", "ab", 0.3, "b.png"), sample("xx", "ab", 0.8, "c.png")]
    samples.append(sample("", "ab", 0.2, "d.png"))
    path = write_index(str(tmp_path), {write_visualization(s, tmp_path): s for s in samples})
    page = (tmp_path / "index.html").read_text("utf-8")
    assert path == str(tmp_path / "index.html")
    assert re.findall(r"<bdi>(.*?)</bdi>", page)[1::2] == ["xx", "&lt;x", "\u2205", "ab"]
    links = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(links) == 8 and all((tmp_path / link).exists() for link in links)
    (tmp_path / "index.html").write_text("mine")
    with pytest.raises(AocrError):
        write_index(str(tmp_path), {})


def test_page_is_self_contained_and_escapes_labels(tmp_path):
    samples = [sample("<b>", "<script>alert(1)</script>"), sample("\u05d0\u05d1", "\u05d0\u05d2"), sample("ok", "ok")]
    path = tmp_path / "r.html"
    write_html_report(str(path), score(samples), samples, "<title>")
    page = path.read_text("utf-8")
    tags = set(re.findall(r"<(\w+)", page))
    assert "script" not in tags and "b" not in tags
    links = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(links) == 4 and all(link.startswith("data:image/") for link in links)
    assert "\u05d0" in page and "33.33%" in page
    assert [entry.name for entry in tmp_path.iterdir()] == ["r.html"]


def test_page_without_misses_and_with_many(tmp_path):
    path = str(tmp_path / "r.html")
    right = [sample("a", "a")]
    write_html_report(path, score(right), right, "t")
    assert "every image was read" in (tmp_path / "r.html").read_text("utf-8")
    many = [sample("a", "b", image=b"") for _ in range(MAX_MISSES + 7)]
    write_html_report(path, score(many), many, "t")
    page = (tmp_path / "r.html").read_text("utf-8")
    assert "7 more misses" in page and page.count("not available") == MAX_MISSES


def test_page_that_cannot_be_written(tmp_path):
    with pytest.raises(AocrError):
        write_html_report(str(tmp_path / "none" / "r.html"), score([]), [], "t")
