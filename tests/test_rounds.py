"""What is mixed in among the labelled images: which readings are trusted, and which images never are."""

import io
import math
import re
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from conftest import SMALL, assert_clean_failure, draw_numbers, run_aocr
from PIL import Image

from aocr.config import ModelConfig, TrainConfig
from aocr.data.annotations import IMAGE_ENDINGS
from aocr.data.automatic import split_key
from aocr.data.batching import plan_batches
from aocr.data.datasets import open_dataset
from aocr.data.images import canonical_image, pixel_digest
from aocr.data.pipeline import Batches
from aocr.data.record_files import RecordWriter
from aocr.data.records import Example, read_examples, serialize
from aocr.data.unlabelled import build_unlabelled, digests_of
from aocr.errors import ConfigError
from aocr.folder.model_folder import ModelFolder
from aocr.reading.originals import find_originals, reading_like
from aocr.results import Prediction
from aocr.text.charset import Charset
from aocr.training import rounds
from aocr.training.calibration import TEMPERATURES, TemperedReader
from aocr.training.cluster import Cluster
from aocr.training.prepare import TrainRequest, make_plan
from aocr.training.seen import Role, read_seen
from aocr.training.trust import MAX_WRONG, MISS, binomial_cdf, find_threshold

# Trust


@pytest.mark.parametrize(("wrong", "total", "share"), [(0, 16, 0.1), (3, 40, 0.1), (7, 7, 0.5), (2, 300, 0.02)])
def test_the_binomial_is_exact(wrong, total, share):
    exact = sum(math.comb(total, k) * share**k * (1 - share) ** (total - k) for k in range(wrong + 1))
    assert binomial_cdf(wrong, total, share) == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize(("count", "hard"), [(40, 1.0), (200, 1.0), (200, 3.0), (1000, 8.0)])
def test_more_wrong_readings_than_the_bound_are_as_rare_as_promised(count, hard):
    """Of sets on which a reading of confidence c is right with probability c ** hard."""
    rng, sets, exceeded, found = np.random.default_rng(0), 400, 0, 0
    many = np.sort(rng.beta(2, 0.3, 200_000))
    wrong_above = np.cumsum((1 - many**hard)[::-1])[::-1] / np.arange(len(many), 0, -1)  # share from each on
    for _ in range(sets):
        confidences = rng.beta(2, 0.3, count)
        threshold = find_threshold(confidences, rng.random(count) < confidences**hard)
        if threshold is None:
            continue
        found += 1
        exceeded += wrong_above[min(np.searchsorted(many, threshold), len(many) - 1)] > MAX_WRONG
    assert found > 0.1 * sets
    assert exceeded / sets <= MISS + 2 * math.sqrt(MISS * (1 - MISS) / sets)


def test_all_is_trusted_where_all_is_right_and_nothing_where_all_is_wrong():
    confidences = np.linspace(0.2, 1, 60)
    assert find_threshold(confidences, np.ones(60, bool)) == 0.2
    assert find_threshold(confidences, np.zeros(60, bool)) is None
    assert find_threshold(np.ones(60), np.arange(60) % 2 == 0) is None  # as sure of the wrong ones
    assert find_threshold(np.ones(12), np.ones(12, bool)) is None  # too few to tell


# Images


def test_the_same_picture_has_one_digest_however_it_is_stored():
    pixels = np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8)
    digests = set()
    for kind, picture in (("PNG", pixels), ("BMP", pixels), ("TIFF", pixels), ("PNG", pixels.reshape(12, 8, 3))):
        file = io.BytesIO()
        Image.fromarray(picture).save(file, kind)
        digests.add(pixel_digest(canonical_image(file.getvalue()).data))
    assert len(digests) == 2


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Labelled, held-out, test and unlabelled numbers; among the last copies of all others under other names."""
    root = tmp_path_factory.mktemp("rounds")
    for seed, (name, count) in enumerate({"labelled": 40, "held": 30, "test": 20, "unlabelled": 30}.items()):
        draw_numbers(root / name, count, seed)
    for name in ("labelled", "held", "test"):
        for number in range(10):
            path = root / "unlabelled" / f"{name}-{number}.bmp"
            Image.open(root / name / f"{number}.png").save(path)
    (root / "unlabelled/broken.png").write_bytes(b"no image")
    return root


def test_unlabelled_images_are_read_once_and_never_those_left_out(folders, tmp_path, caplog):
    caplog.set_level("INFO", "aocr")
    with open_dataset([str(folders / "test/numbers.txt")]) as test:
        never = dict.fromkeys(digests_of(test), "images of --exclude")
    output = str(tmp_path / "unlabelled.tfrecords")
    folder = str(folders / "unlabelled")
    found = build_unlabelled([folder, folder], output, never)
    names = [path for path in (folders / "unlabelled").iterdir() if path.suffix in IMAGE_ENDINGS]
    assert len(found.summary.labels) == len(names) - 1 - 10 and not any(found.summary.labels)
    assert not never.keys() & set(digests_of(found))
    for word in ("broken.png", "20 unlabelled images left out: identical to images of --exclude"):
        assert word in caplog.text


def test_nothing_is_left_where_all_images_are_left_out(folders, tmp_path):
    with open_dataset([str(folders / "held/numbers.txt")]) as held:
        never = dict.fromkeys(digests_of(held), "validation images")
    assert build_unlabelled([str(folders / "held/numbers.txt")], str(tmp_path / "none.tfrecords"), never) is None


def test_look_alikes_are_copied_from_the_chosen_images_alone(folders):
    class Reader:
        def predict_each(self, images):
            return (Prediction("", 0.0) for _ in images)

    with open_dataset([str(folders / "labelled/numbers.txt")]) as data:
        usable = np.arange(40) % 3 == 0
        found = find_originals(data, Reader(), usable)
        assert [one.label for one in found] == [data.summary.labels[i] for i in np.flatnonzero(usable)]
        assert set(map(pixel_digest, (one.data for one in found))) == set(digests_of(data, usable))
    assert all(one.centres is None for one in found)


def test_reading_keeps_to_what_the_labels_have():
    pattern = reading_like(["A-1", "7]", "A" * 40], ModelConfig(Charset("A-17]x"), max_prediction=32)).pattern
    assert re.fullmatch(pattern, "7]A") and not re.fullmatch(pattern, "x1") and not re.fullmatch(pattern, "A")
    assert reading_like(["é"], ModelConfig(Charset("ab"))).pattern is None
    assert reading_like(["a" * 40], ModelConfig(Charset("ab"), max_prediction=32)).pattern is None


# Mixing


def test_half_of_what_is_learnt_is_labelled_and_a_restart_goes_on_alike(folders):
    with (
        open_dataset([str(folders / "labelled/numbers.txt")]) as data,
        open_dataset([str(folders / "held/numbers.txt")]) as others,
    ):
        config = ModelConfig(Charset("0123456789"), max_width=96, max_height=32)
        plan = plan_batches(np.array([40, 96]), 8, config)
        batches, extra = (Batches(one.paths, config, plan, one.summary) for one in (data, others))

        def epochs(epoch, skip, count):
            rows = batches.training_batches(epoch, skip, 0, 0.0, extra).take(count)
            return [(int(number), int(i), batch.label.numpy().tolist()) for number, i, batch in rows]

        whole = epochs(0, 0, 24)
        first = [label for number, _, labels in whole if number == 0 for label in labels]
        assert len(first) == 40 + 30
        expected = [label.encode() for one in (data, others) for label in one.summary.labels]
        assert sorted(first) == sorted(expected)
        number, i, _ = whole[13]
        assert epochs(number, i, 5) == whole[13:18]


# Rounds


def picture(grey, label="0", width=32, told=32):
    data = io.BytesIO()
    Image.new("L", (width, 32), grey).save(data, "PNG")
    return Example(data.getvalue(), label, "", told, 32)


def a_plan(*held_out):
    """What rounds ask of a plan in which these images are held out."""
    places = split_key(tf.constant([example.image for example in held_out], tf.string)).numpy()
    summary = SimpleNamespace(labels=["0"], places=places, held_out=np.ones(len(places), bool))
    training = SimpleNamespace(plan=SimpleNamespace(edges=(32,)))
    config = ModelConfig(Charset("0"), max_width=64)
    data = SimpleNamespace(summary=summary)
    return SimpleNamespace(data=data, training=training, look_alikes=1, config=config, validation_data=None)


def test_what_was_mixed_in_and_is_held_out_by_now_is_not_learnt(tmp_path, monkeypatch):
    """An unlabelled image that a person has labelled since the training was killed."""
    monkeypatch.setattr(rounds.Rounds, "_look_alikes", lambda self, step: ([picture(7)], 1))
    monkeypatch.setattr(rounds, "faces_for", lambda *_: [])
    for held_out, name in ((picture(8), "mixed-in-5.tfrecords"), (picture(9), "mixed-in-7.tfrecords")):
        with RecordWriter(str(tmp_path / "mixed-in-5.tfrecords")) as writer:
            writer.write(picture(9))
        plan = a_plan(held_out)
        made = rounds.Rounds(TrainRequest(["x"]), plan, rounds.Unlabelled(), ModelFolder(tmp_path), None)
        monkeypatch.setattr(rounds.Rounds, "_batches", lambda self, paths: paths)
        assert made.mixed_in(7, True) == [str(tmp_path / name)]


def test_a_round_is_kept_until_the_next_and_made_again_where_it_is_not_there(tmp_path, monkeypatch):
    made = []

    def look_alikes(self, step):
        made.append(step)
        return [picture(len(made), str(step))], 1

    monkeypatch.setattr(rounds.Rounds, "_look_alikes", look_alikes)
    monkeypatch.setattr(rounds, "faces_for", lambda *_: [])
    monkeypatch.setattr(
        rounds.Rounds, "_batches", lambda self, paths: [r.label for p in paths for r in read_examples(p)]
    )
    request = TrainRequest(["x"], config=TrainConfig(steps_per_checkpoint=10))
    parts = a_plan()

    def started(never=()):
        return rounds.Rounds(request, parts, rounds.Unlabelled(None, never), ModelFolder(tmp_path), None)

    first = started()
    assert first.mixed_in(0, True) == ["0"] and not first.is_due(0) and not first.is_due(29) and first.is_due(30)
    assert started().mixed_in(20, True) == ["0"]  # after a stop between two rounds
    assert first.mixed_in(30, True) == ["30"]
    assert [path.name for path in tmp_path.iterdir()] == ["mixed-in-30.tfrecords"]
    again = started()  # after a stop at a round
    assert again.mixed_in(30, True) == ["30"] and not again.is_due(30)
    assert started().mixed_in(60, False) == ["30"]  # the learning rate decays: no more rounds
    assert made == [0, 30]
    assert started({pixel_digest(picture(1).image)}).mixed_in(50, True) == ["30"] and made == [0, 30]
    assert started({pixel_digest(picture(2).image)}).mixed_in(50, True) == ["50"]  # what was is excluded by now
    assert [path.name for path in tmp_path.iterdir()] == ["mixed-in-50.tfrecords"]
    first.close()
    assert not list(tmp_path.iterdir())


def features(**lists):
    made = {name: tf.train.Feature(bytes_list=tf.train.BytesList(value=values)) for name, values in lists.items()}
    for name in ("width", "height"):
        made[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=[32]))
    return tf.train.Example(features=tf.train.Features(feature=made)).SerializeToString()


DATA = picture(9).image


@pytest.mark.parametrize(
    "written",
    [
        [],
        b"no records",
        [b"of another program"],
        [serialize(picture(9)), serialize(Example(DATA[:-20], "0", "", 32, 32))],
        [serialize(picture(9, width=40, told=40))],  # wider than the images of now
        [serialize(picture(9, width=40))],
        [serialize(picture(9, "0" * 20_000))],
        [features(image=[DATA], label=[b"\xff"])],
        [features(image=[DATA, DATA], label=[b"0"])],
        [features(label=[b"0"])],
        [serialize(picture(9, told=0))],
    ],
)
def test_what_was_mixed_in_by_a_stranger_or_of_other_data_is_not_learnt(written, tmp_path, monkeypatch):
    """Most were an unforeseen error in the middle of the training, or forbade to go on."""
    path = tmp_path / "mixed-in-5.tfrecords"
    if isinstance(written, bytes):
        path.write_bytes(written)
    else:
        with tf.io.TFRecordWriter(str(path)) as writer:
            for record in written:
                writer.write(record)
    monkeypatch.setattr(rounds.Rounds, "_look_alikes", lambda self, step: ([picture(7)], 1))
    monkeypatch.setattr(rounds, "faces_for", lambda *_: [])
    monkeypatch.setattr(rounds.Rounds, "_batches", lambda self, paths: paths)
    made = rounds.Rounds(TrainRequest(["x"]), a_plan(), rounds.Unlabelled(), ModelFolder(tmp_path), None)
    assert made.mixed_in(7, True) == [str(tmp_path / "mixed-in-7.tfrecords")]
    assert not path.exists()


def test_a_folder_of_such_a_name_stays(tmp_path):
    (tmp_path / "mixed-in-5.tfrecords").mkdir()
    plan = SimpleNamespace(look_alikes=0, training=SimpleNamespace(plan=SimpleNamespace(edges=(32,))))
    rounds.Rounds(TrainRequest(["x"]), plan, rounds.Unlabelled(), ModelFolder(tmp_path), None).close()
    assert (tmp_path / "mixed-in-5.tfrecords").exists()


# The command


def read_as_one(self, batch):
    count = len(batch.label)
    return ["1"] * count, np.full((count, len(TEMPERATURES)), -0.1, np.float32)


@pytest.mark.parametrize(("typed", "num_trusted", "mixed"), [
    (None, 0, ["drawn"]), (None, 1, ["read"]), (1, 1, ["drawn", "read"]), (1, 0, ["drawn"]),
])  # fmt: skip
def test_real_images_take_the_place_of_look_alikes(typed, num_trusted, mixed, tmp_path, monkeypatch):
    """Unless the look-alikes are asked for."""

    def one(label):
        return [Example(label.encode(), label, "", 8, 8)]

    monkeypatch.setattr(rounds.Rounds, "_look_alikes", lambda self, step: (one("drawn"), 1))
    monkeypatch.setattr(rounds.Rounds, "_trusted", lambda self, step: (one("read"), num_trusted))
    monkeypatch.setattr(rounds, "faces_for", lambda *_: [])
    monkeypatch.setattr(
        rounds.Rounds, "_batches", lambda self, paths: sorted(r.label for p in paths for r in read_examples(p))
    )
    training = SimpleNamespace(plan=SimpleNamespace(edges=(8,)))
    plan = SimpleNamespace(
        data=SimpleNamespace(summary=SimpleNamespace(labels=["1"])), training=training, look_alikes=1
    )
    made = rounds.Rounds(TrainRequest(["x"], look_alikes=typed), plan, rounds.Unlabelled(), ModelFolder(tmp_path), None)
    assert made.mixed_in(0, True) == mixed


class TiredPainter:
    """Draws three images, and no more."""

    def draw(self, number):
        if number == 3:
            raise ConfigError("--fonts", "3", "this text cannot be drawn in any font tried.")
        return SimpleNamespace(data=b"", label=str(number), width=8, height=8)


@pytest.mark.parametrize(
    ("count", "given", "flags", "drawn"),
    [
        (40, True, {}, 1000),
        (40, False, {}, 800),  # 8 are held out
        (20, True, {}, 500),
        (20, False, {}, 0),  # so few are not split, and nothing tells when to stop
        (40, True, {"init_from": "none"}, 0),
        (40, True, {"look_alikes": 7}, 7),
        (200, True, {}, 0),
    ],
)
def test_small_sets_are_given_look_alikes_where_a_reader_starts(count, given, flags, drawn, tmp_path):
    path, held = draw_numbers(tmp_path / "t", count), draw_numbers(tmp_path / "v", 4, seed=9) if given else None
    request = TrainRequest([str(path)], **flags)
    with open_dataset([str(path)], None) as data, open_dataset([str(held or path)], None) as other:
        plan = make_plan(request, None, data, other if given else None, Cluster(tf.distribute.get_strategy()))
    assert plan.look_alikes == drawn
    assert plan.num_validation == (4 if given else 8 if count == 40 else 0)


def test_look_alikes_that_cannot_be_drawn_end_no_training():
    drawn = rounds._drawn(TiredPainter(), 0, 10)
    assert [example.label for example in drawn] == ["0", "1", "2"]


def test_never_is_a_validation_or_excluded_image_learnt(folders, tmp_path, monkeypatch):
    """Even where every reading is trusted."""
    learnt = []
    kept = rounds.Rounds._batches

    def spy(self, paths):
        learnt.extend(pixel_digest(example.image) for path in paths for example in read_examples(path))
        return kept(self, paths)

    monkeypatch.setattr(rounds.Rounds, "_batches", spy)
    monkeypatch.setattr(rounds, "find_threshold", lambda *_: 0.0)
    monkeypatch.setattr(TemperedReader, "read", read_as_one)
    model = tmp_path / "model"
    done = run_aocr(
        "train", folders / "labelled/numbers.txt", "--validation", folders / "held/numbers.txt", "--init-from", "none",
        "--unlabeled", folders / "unlabelled", "--exclude", folders / "test/numbers.txt", "--model-dir", model,
        "--num-epoch", "2", "--steps-per-checkpoint", "4", *SMALL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(set(learnt)) > 20
    for name in ("labelled", "held", "test"):
        with open_dataset([str(folders / name / "numbers.txt")]) as dataset:
            assert not set(learnt) & set(digests_of(dataset)), name
    for word in (
        "10 unlabelled images left out: identical to validation images",
        "of --exclude",
        "broken.png",
    ):
        assert word in done.stderr
    assert not list(model.glob("mixed-in-*"))
    seen = read_seen(ModelFolder(model))
    roles = {}
    for name in ("labelled", "held"):
        with open_dataset([str(folders / name / "numbers.txt")]) as dataset:
            roles[name] = set(seen.roles_of(dataset.summary.split_keys))
    assert roles == {"labelled": {Role.LEARNT}, "held": {Role.VALIDATION}}
    assert (seen.roles == Role.MIXED_IN).sum() == len(set(learnt))


def test_exclude_is_for_unlabelled_images(folders, tmp_path):
    done = run_aocr("train", folders / "held/numbers.txt", "--exclude", folders / "test/numbers.txt", cwd=tmp_path)
    assert_clean_failure(done, "--exclude", "--unlabeled")


def test_a_folder_without_images_is_named(folders, tmp_path):
    (tmp_path / "empty").mkdir()
    done = run_aocr("train", folders / "held/numbers.txt", "--unlabeled", tmp_path / "empty", "--model-dir",
                    tmp_path / "model")  # fmt: skip
    assert_clean_failure(done, "empty", "contains no images")
    assert not (tmp_path / "model/model.json").exists()
