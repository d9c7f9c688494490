"""The toy word set: complete, small, usable without warnings, and drawn by its script."""

import importlib.util
import os

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

from aocr.data.annotations import parse_annotations
from aocr.data.builder import BuildOptions, build_records

DATASETS = ROOT / "datasets"
SETS = ("training", "testing")


@pytest.fixture
def make_toy():
    """The drawing script as a module."""
    spec = importlib.util.spec_from_file_location("make_toy", DATASETS / "make_toy.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def listed(name, folder=DATASETS):
    path = folder / f"annotations-{name}.txt"
    return list(parse_annotations(path.read_bytes(), str(path)))


@pytest.mark.parametrize("name", SETS)
def test_every_line_is_usable(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    report = build_records(str(DATASETS / f"annotations-{name}.txt"), str(tmp_path / "o"), BuildOptions())
    assert report.drops == [] and report.conflicts == [] and report.num_repeats == 0
    assert report.num_images == len(listed(name)) == {"training": 1000, "testing": 100}[name]
    assert min(report.lengths) == 3 and max(report.lengths) == 7
    assert set(report.symbols) <= set("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    assert min(report.widths) > 30 and max(report.widths) <= 200


def test_sets_share_no_image_but_all_symbols():
    training, testing = ({(DATASETS / line.path).read_bytes() for line in listed(name)} for name in SETS)
    assert not training & testing
    training, testing = (set("".join(line.label for line in listed(name))) for name in SETS)
    assert testing <= training


def test_folder_has_only_the_listed_images_and_is_small():
    files = sorted(path.name for path in (DATASETS / "images").iterdir())
    assert files == sorted(os.path.basename(line.path) for name in SETS for line in listed(name))
    assert sum(path.stat().st_size for path in (DATASETS / "images").iterdir()) < 2_500_000


def test_contrast():
    for line in listed("training")[::25]:
        grey = np.asarray(Image.open(DATASETS / line.path).convert("L"), np.float64)
        low, high = np.percentile(grey, (2, 98))
        assert high - low > 40, line.path


def test_script_is_deterministic(make_toy, tmp_path, monkeypatch):
    monkeypatch.setattr(make_toy, "SIZES", {"training": 12, "testing": 3})
    runs = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        monkeypatch.setattr(make_toy, "HERE", folder)
        make_toy.main()
        runs.append({str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()})
    assert runs[0] == runs[1] and len(runs[0]) == 12 + 3 + 2
    assert listed("training", tmp_path / "one")[0] == listed("training")[0]  # the committed set's first word
