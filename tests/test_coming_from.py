"""Data sets as other programs have them are read as they are: docs/coming-from.md."""

import foreign
import pytest

from aocr.data.builder import BuildOptions, build_records
from aocr.data.records import read_examples


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("foreign")
    pytest.importorskip("lmdb")
    foreign.write_all(folder)
    return folder


@pytest.mark.parametrize(
    "source, count",
    [
        ("lmdb/training", 12),
        ("paddle/rec_gt_val.txt", 4),
        ("plates/train.csv", 12),
        ("doctr/val/labels.json", 4),
        ("ground-truth", 16),
        ("kraken", 6),
        ("kraken/page.xml", 6),
    ],
)
def test_every_label_is_read(sets, source, count, tmp_path):
    report = build_records(str(sets / source), str(tmp_path / "o"), BuildOptions())
    texts = [text for _, text in foreign.toy_words(16)]
    expected = texts[12:] if count == 4 else texts[:count]
    assert [example.label for example in read_examples(str(tmp_path / "o"))] == expected
    assert not report.drops
