"""benchmarks/peers: the scorer, the lists that other programs read, the limit of processor time, and the tables."""

import json
import sys

import pytest
from conftest import ROOT
from PIL import Image

FOLDER = ROOT / "benchmarks/peers"


@pytest.fixture
def peers(monkeypatch):
    """The scripts, importable."""
    monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])
    return FOLDER


@pytest.fixture
def task(peers, tmp_path):
    """Twenty training images and one test image."""
    from peer import Task

    (tmp_path / "images").mkdir()
    rows = [(f"images/{n}.png", f"text {n}") for n in range(21)]
    for path, _ in rows:
        (tmp_path / path).touch()
    (tmp_path / "work").mkdir()
    return Task("toy", tmp_path, rows[:20], rows[20:], tmp_path / "work")


def test_score_normalises_and_counts_missing_texts(peers):
    from score import score

    labels = {"a": "e\u0301 x", "b": "0K-1", "c": "abc", "d": "ಕಾಲ"}
    scores = score(labels, {"a": "\u00e9   x\n", "b": "ok1", "d": "ಕಲ"})
    assert scores.words == 1 / 4
    assert scores.cer == pytest.approx((0 + 3 + 3 + 1) / (3 + 4 + 3 + 3))
    assert scores.loose == 2 / 4


def test_score_refuses_texts_of_other_images(peers):
    from score import score

    with pytest.raises(ValueError, match="other"):
        score({"a": "x"}, {"other": "x"})


def test_validation_rows_are_apart_and_the_same_each_time(task):
    train, held_out = task.split()
    assert len(held_out) == 4 and not set(train) & set(held_out)
    assert sorted([*train, *held_out]) == sorted(task.train)
    assert task.split() == (train, held_out)


def test_pairs_are_numbered_links_with_labels(task, tmp_path):
    from peer import write_pairs

    links = write_pairs(tmp_path / "pairs", task.images, task.train)
    assert [link.name for link in links[:2]] == ["00000.png", "00001.png"]
    assert links[3].resolve() == tmp_path / "images/3.png"
    assert links[3].with_suffix(".gt.txt").read_text("utf-8") == "text 3\n"


def test_plates_are_tables_with_an_alphabet(task):
    from with_fast_plate_ocr import FastPlateOCR

    FastPlateOCR(task.work).convert(task)
    assert (task.work / "val.csv").read_text("utf-8").splitlines()[0] == "image_path,plate_text"
    plate = json.loads((task.work / "plate.yaml").read_text("utf-8"))
    assert plate["max_plate_slots"] == 7 and plate["alphabet"] == " 0123456789etx_"


def test_long_texts_are_not_for_plates(task):
    from peer import PeerError
    from with_fast_plate_ocr import FastPlateOCR

    with pytest.raises(PeerError, match="11 characters"):
        next(FastPlateOCR(task.work).train(task._replace(test=[("a.png", "x" * 11)]), [2.0]))


def test_a_command_is_stopped_after_its_processor_time(peers, tmp_path):
    from peer import run_limited

    polls = []
    run, _ = run_limited(["sh", "-c", "while :; do :; done"], tmp_path / "log", 0.1, on_poll=polls.append)
    assert not run.ended and run.cpu_seconds >= 0.1 and polls[-1] >= 0.1


def test_a_failure_says_why(peers, tmp_path):
    from peer import Peer, PeerError

    with pytest.raises(PeerError, match="sh: no such thing"):
        Peer(tmp_path).run(["sh", "-c", "echo no such thing; exit 3"], tmp_path / "log")


def test_snapshots_of_one_training(task):
    from peer import SnapshotPeer

    class Fake(SnapshotPeer):
        name = "fake"
        convert = staticmethod(lambda task: ["sh", "-c", "touch model.ckpt"])
        best = staticmethod(lambda task: task.work / "model.ckpt" if (task.work / "model.ckpt").exists() else None)

    for _ in range(2):  # the second finds what the first has kept
        models = dict(Fake(task.work).train(task, [2.0, 6.0]))
        assert [models[limit].path.name for limit in (2.0, 6.0)] == ["model-2.ckpt", "model-6.ckpt"]
        assert models[2.0].ended


def run_compare(tmp_path, monkeypatch, kinds, *flags):
    import compare

    lines = (ROOT / "datasets/annotations-testing.txt").read_text("utf-8").splitlines()
    folder = tmp_path / "data/toy"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("train", "test"):
        (folder / f"{name}.txt").write_text("\n".join(lines[:4]) + "\n", "utf-8")
    monkeypatch.setattr(compare, "PEERS", kinds)
    monkeypatch.setattr(compare, "SETS", ("toy",))
    monkeypatch.setattr(compare.os, "sched_setaffinity", lambda *args: None)
    given = {"data": "data", "work": "work", "results": "results.jsonl", "plot": "peers.png"}
    arguments = [f"--{flag}={tmp_path / name}" for flag, name in given.items()]
    monkeypatch.setattr(sys, "argv", ["compare.py", *arguments, "--minutes=2,6", "--labels=all", *flags])
    compare.main()
    return [json.loads(line) for line in (tmp_path / "results.jsonl").read_text("utf-8").splitlines()]


def test_compare_fills_the_table_and_resumes(peers, tmp_path, monkeypatch, capsys):
    from peer import Model, Peer, PeerError, Reading

    class Fake(Peer):
        name = "fake"
        install = staticmethod(lambda: None)

        def train(self, task, minutes):
            for limit in minutes:
                yield limit, Model(task.work, 60 * limit, images=600, ended=limit == 6)

        def read(self, task, model):
            return Reading(dict(task.test[:3]), 40.0)

    class Broken(Fake):
        name = "broken"

        def train(self, task, minutes):
            raise PeerError(f"no disk space in {task.work}")

    rows = run_compare(tmp_path, monkeypatch, [Fake, Broken])
    assert [(row["peer"], row["minutes"]) for row in rows] == [("fake", 2), ("fake", 6), ("broken", 2), ("broken", 6)]
    assert rows[0]["words"] == 0.75 and rows[0]["trained_per_second"] == 5.0
    assert rows[2]["error"] == "no disk space in WORK/broken/broken-toy-all"
    printed = capsys.readouterr().out
    assert "| toy | all | 6 | 75.0 / " in printed and "broken: no disk space" in printed
    with Image.open(tmp_path / "peers.png") as picture:
        assert picture.width > 300
    assert run_compare(tmp_path, monkeypatch, [Fake, Broken]) == rows
    assert len(run_compare(tmp_path, monkeypatch, [Fake, Broken], "--retry")) == 6


def test_table_names_what_is_missing(peers):
    from table import table

    key = {"set": "toy", "labels": "all"}
    scores = {"words": 0.5, "cer": 0.25, "loose": 0.75}
    rows = [{"peer": "a", "minutes": 2.0, **key, **scores}]
    rows += [{"peer": "b", "minutes": 6.0, **key, **scores, "ended": True}]
    rows += [{"peer": "a", "minutes": 6.0, **key, "error": "it broke"}]
    rows += [{"peer": "c", "set": "toy", "labels": "none", "minutes": 0, **scores}]
    text = table(rows, ["toy"], ["a", "b", "c"])
    assert "| toy | all | 2 | 50.0 / 25.0 | not measured |" in text
    assert "| toy | all | 6 | none (1) | 50.0 / 25.0 ended |" in text and "(1) it broke" in text
    assert "| toy | 50.0 / 75.0 / 25.0 |" in text
