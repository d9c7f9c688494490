"""`aocr test`: confidence intervals, and several models on the same images."""

import dataclasses
import json
import shutil

import pytest
from conftest import assert_clean_failure, run_aocr

from aocr.report.lines import compare, comparison_text, difference_lines, score_text
from aocr.results import Prediction, Sample
from aocr.text.metrics import score

RATES = ("word_accuracy", "word_accuracy_interval", "cer", "cer_interval", "one_minus_ned")


def samples_of(texts, labels):
    return [
        Sample(f"{i}.png", label, Prediction(text, 0.5))
        for i, (text, label) in enumerate(zip(texts, labels, strict=True))
    ]


def test_table_and_test_of_two_models():
    results = {"good": samples_of("abcdefgh", "abcdefgh"), "bad": samples_of("abxxxxxx", "abcdefgh")}
    comparison, *others = compare(results)
    assert not others and (comparison.only_first, comparison.only_second, comparison.p_value) == (
        6,
        0,
        pytest.approx(1 / 32),
    )
    text = comparison_text({name: score(samples) for name, samples in results.items()}, [comparison])
    lines = text.splitlines()
    assert lines[0].split() == ["good", "bad"]
    accuracy = next(line for line in lines if line.startswith("word accuracy "))
    assert accuracy.split()[2:] == ["100.00%", "25.00%"]
    assert "6 images only by good, 0 only by bad; McNemar's exact test: p = 0.031 (more than chance)" in text
    assert list(difference_lines(results)) == [
        f"{i}.png\t{char}\t{char}\tx" for i, char in enumerate("abcdefgh") if i > 1
    ]


def test_all_pairs_are_compared():
    results = {name: samples_of("ab", "ab") for name in "xyz"}
    assert [(c.models, c.p_value) for c in compare(results)] == [(("x", "y"), 1), (("x", "z"), 1), (("y", "z"), 1)]


@pytest.fixture
def misread(numbers, tmp_path):
    """The first images, of which one has a wrong label."""
    lines = numbers.read_text("utf-8").splitlines()[:20]
    path = tmp_path / "list.txt"
    path.write_text("\n".join([*lines[:-1], lines[-1].split()[0] + " 99999"]) + "\n", "utf-8")
    return (path, "--data-base-dir", numbers.parent)


@pytest.mark.slow
def test_two_models_on_the_command_line(trained, misread, tmp_path):
    shutil.copytree(trained, tmp_path / "other")
    done = run_aocr("test", *misread, "--model-dir", trained, "--model-dir", tmp_path / "other", "--json")
    values = json.loads(done.stdout)
    assert [model["model_dir"] for model in values["models"]] == [str(trained), str(tmp_path / "other")]
    first, second = ({name: value for name, value in model.items() if name in RATES} for model in values["models"])
    assert first == second and len(first) == len(RATES)
    for name in ("word_accuracy", "cer"):
        low, high = first[f"{name}_interval"]
        assert 0 <= low < first[name] < high <= 1
    assert values["comparisons"][0] == {
        "models": [str(trained), str(tmp_path / "other")], "only_first": 0, "only_second": 0, "p_value": 1.0,
    }  # fmt: skip


def test_intervals_stand_beside_the_scores():
    report = score(samples_of("ab", "ax"))
    assert "50.00%\n" in score_text(report)
    report = dataclasses.replace(report, word_accuracy_interval=(0.25, 0.75), cer_interval=(0.3, 0.6))
    rows = [line.rsplit("  ", 2)[1:] for line in score_text(report).splitlines() if "95 %" in line]
    assert rows == [["50.00%", "(95 %: 25.00% to 75.00%)"], ["50.00%", "(95 %: 30.00% to 60.00%)"]]


def test_a_report_shows_one_model(trained, misread, tmp_path):
    models = ("--model-dir", trained, "--model-dir", tmp_path)
    assert_clean_failure(run_aocr("test", *misread, *models, "--report", tmp_path / "r.html"), "Give one --model-dir")
    assert not (tmp_path / "r.html").exists()
