"""Extra training images: which readings are trusted, which images never are, and when they are renewed."""

import io
import math
import re
import signal
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from conftest import SMALL, assert_clean_failure, draw_numbers, run_aocr, start_aocr
from PIL import Image

from aocr.config import ModelConfig, TrainConfig
from aocr.data.annotations import IMAGE_ENDINGS
from aocr.data.automatic import split_key
from aocr.data.batching import plan_batches
from aocr.data.datasets import open_dataset
from aocr.data.images import canonical_image, pixel_digest
from aocr.data.pipeline import Batches
from aocr.data.records import Example, read_examples
from aocr.data.unlabelled import build_unlabelled, digests_of
from aocr.errors import ConfigError
from aocr.folder.model_folder import ModelFolder
from aocr.reading.originals import find_originals, reading_like
from aocr.results import Prediction
from aocr.text.charset import Charset
from aocr.training import extra
from aocr.training.calibration import MAX_WRONG, MISS, TEMPERATURES, TemperedReader, find_threshold
from aocr.training.cluster import Cluster
from aocr.training.extra import ExtraImages, Unlabelled
from aocr.training.prepare import make_plan
from aocr.training.request import TrainRequest

# The threshold


@pytest.mark.parametrize(("count", "hard"), [(40, 1.0), (200, 1.0), (200, 3.0), (1000, 8.0)])
def test_the_threshold_keeps_its_promise(count, hard):
    """On sets where a reading of confidence c is correct with probability c ** hard."""
    rng, sets, exceeded, num_found = np.random.default_rng(0), 400, 0, 0
    sample = np.sort(rng.beta(2, 0.3, 200_000))
    wrong_above = np.cumsum((1 - sample**hard)[::-1])[::-1] / np.arange(len(sample), 0, -1)  # share from each on
    for _ in range(sets):
        confidences = rng.beta(2, 0.3, count)
        threshold = find_threshold(confidences, rng.random(count) < confidences**hard)
        if threshold is None:
            continue
        num_found += 1
        exceeded += wrong_above[min(np.searchsorted(sample, threshold), len(sample) - 1)] > MAX_WRONG
    assert num_found > 0.1 * sets
    assert exceeded / sets <= MISS + 2 * math.sqrt(MISS * (1 - MISS) / sets)


def test_the_threshold_of_all_correct_and_of_all_wrong_readings():
    confidences = np.linspace(0.2, 1, 60)
    assert find_threshold(confidences, np.ones(60, bool)) == 0.2
    assert find_threshold(confidences, np.zeros(60, bool)) is None
    assert find_threshold(np.ones(60), np.arange(60) % 2 == 0) is None  # wrong ones are as sure
    assert find_threshold(np.ones(12), np.ones(12, bool)) is None  # too few


# Images


def test_a_picture_has_one_digest_in_every_format():
    pixels = np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8)
    digests = set()
    for kind, picture in (("PNG", pixels), ("BMP", pixels), ("TIFF", pixels), ("PNG", pixels.reshape(12, 8, 3))):
        file = io.BytesIO()
        Image.fromarray(picture).save(file, kind)
        digests.add(pixel_digest(canonical_image(file.getvalue()).data))
    assert len(digests) == 2


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Labelled, validation, test and unlabelled numbers; the last contain copies of all others under other names."""
    root = tmp_path_factory.mktemp("extra")
    for seed, (name, count) in enumerate({"labelled": 40, "held": 30, "test": 20, "unlabelled": 30}.items()):
        draw_numbers(root / name, count, seed)
    for name in ("labelled", "held", "test"):
        for number in range(10):
            path = root / "unlabelled" / f"{name}-{number}.bmp"
            Image.open(root / name / f"{number}.png").save(path)
    (root / "unlabelled/broken.png").write_bytes(b"no image")
    return root


def test_unlabelled_images_without_repeats_and_excluded_ones(folders, tmp_path, caplog):
    caplog.set_level("INFO", "aocr")
    with open_dataset([str(folders / "test/numbers.txt")]) as test:
        excluded = dict.fromkeys(digests_of(test), "images of --exclude")
    output = str(tmp_path / "unlabelled.tfrecords")
    folder = str(folders / "unlabelled")
    data = build_unlabelled([folder, folder], output, excluded)
    names = [path for path in (folders / "unlabelled").iterdir() if path.suffix in IMAGE_ENDINGS]
    assert len(data.summary.labels) == len(names) - 1 - 10 and not any(data.summary.labels)
    assert not excluded.keys() & set(digests_of(data))
    for word in ("broken.png", "20 unlabelled images left out: identical to images of --exclude"):
        assert word in caplog.text


def test_all_unlabelled_images_excluded(folders, tmp_path):
    with open_dataset([str(folders / "held/numbers.txt")]) as held:
        excluded = dict.fromkeys(digests_of(held), "validation images")
    assert build_unlabelled([str(folders / "held/numbers.txt")], str(tmp_path / "none.tfrecords"), excluded) is None


def test_look_alikes_imitate_usable_images_only(folders):
    class Reader:
        def predict_each(self, images):
            return (Prediction("", 0.0) for _ in images)

    with open_dataset([str(folders / "labelled/numbers.txt")]) as data:
        usable = np.arange(40) % 3 == 0
        originals = find_originals(data, Reader(), usable)
        assert [original.label for original in originals] == [data.summary.labels[i] for i in np.flatnonzero(usable)]
        assert set(map(pixel_digest, (original.data for original in originals))) == set(digests_of(data, usable))
    assert all(original.edges is None for original in originals)


def test_reading_is_restricted_to_texts_like_the_labels():
    pattern = reading_like(["A-1", "7]", "A" * 40], ModelConfig(Charset("A-17]x"), max_prediction=32)).pattern
    assert re.fullmatch(pattern, "7]A") and not re.fullmatch(pattern, "x1") and not re.fullmatch(pattern, "A")
    assert reading_like(["é"], ModelConfig(Charset("ab"))).pattern is None
    assert reading_like(["a" * 40], ModelConfig(Charset("ab"), max_prediction=32)).pattern is None


def test_half_of_a_mixture_is_labelled_and_it_resumes_anywhere(folders):
    with (
        open_dataset([str(folders / "labelled/numbers.txt")]) as data,
        open_dataset([str(folders / "held/numbers.txt")]) as others,
    ):
        config = ModelConfig(Charset("0123456789"), max_width=96, max_height=32)
        plan = plan_batches(np.array([40, 96]), 8, config)
        batches, others_batches = (Batches(part.paths, config, plan, part.summary) for part in (data, others))

        def epochs(epoch, skip, count):
            rows = batches.training_batches(epoch, skip, 0, 0.0, others_batches).take(count)
            return [(int(number), int(i), batch.label.numpy().tolist()) for number, i, batch in rows]

        whole = epochs(0, 0, 24)
        first = [label for number, _, labels in whole if number == 0 for label in labels]
        assert len(first) == 40 + 30
        expected = [label.encode() for part in (data, others) for label in part.summary.labels]
        assert sorted(first) == sorted(expected)
        number, i, _ = whole[13]
        assert epochs(number, i, 5) == whole[13:18]


# Renewal


def picture(grey, label="0", width=32):
    data = io.BytesIO()
    Image.new("L", (width, 32), grey).save(data, "PNG")
    return Example(data.getvalue(), label, "", width, 32)


def a_plan(*held_out):
    """The parts of a plan that extra images need; these images are held out."""
    keys = split_key(tf.constant([example.image for example in held_out], tf.string)).numpy()
    summary = SimpleNamespace(labels=["0"], split_keys=keys, held_out=np.ones(len(keys), bool))
    training = SimpleNamespace(plan=SimpleNamespace(edges=(32,)))
    config = ModelConfig(Charset("0"), max_width=64)
    data = SimpleNamespace(summary=summary)
    return SimpleNamespace(data=data, training=training, look_alikes=1, config=config, validation_data=None)


@pytest.fixture
def made(monkeypatch) -> list[int]:
    """The steps at which look-alikes were drawn; each is one picture, and `batches` gives the labels."""
    steps = []

    def look_alikes(self, step):
        steps.append(step)
        return 1, iter([picture(len(steps), str(step))])

    monkeypatch.setattr(ExtraImages, "_look_alikes", look_alikes)
    monkeypatch.setattr(extra, "faces_for", lambda *_: [])
    monkeypatch.setattr(ExtraImages, "_open", lambda self, path: [r.label for r in read_examples(path)])
    return steps


def started(folder, plan=None, excluded=(), **settings):
    request = TrainRequest(["x"], config=TrainConfig(steps_per_checkpoint=10))
    return ExtraImages(request, plan or a_plan(), Unlabelled(None, excluded), ModelFolder(folder), None, **settings)


def test_extra_images_are_renewed_every_few_checks(made, tmp_path):
    first = started(tmp_path)
    assert first.batches(0, True) == ["0"] and not first.is_due(0) and not first.is_due(29) and first.is_due(30)
    assert started(tmp_path).batches(20, True) == ["0"]  # stopped between two renewals
    assert first.batches(30, True) == ["30"]
    assert [path.name for path in tmp_path.iterdir()] == ["extra-30.tfrecords"]
    again = started(tmp_path)  # stopped at a renewal
    assert again.batches(30, True) == ["30"] and not again.is_due(30)
    assert started(tmp_path).batches(60, False) == ["30"]  # the learning rate decays
    assert made == [0, 30]
    first.remove_files()
    assert not list(tmp_path.iterdir())


def test_extra_images_that_are_excluded_by_now(made, tmp_path):
    started(tmp_path).batches(0, True)
    assert started(tmp_path, excluded={pixel_digest(picture(9).image)}).batches(20, True) == ["0"]
    assert started(tmp_path, excluded={pixel_digest(picture(1).image)}).batches(20, True) == ["20"]


def test_extra_images_that_are_validated_on_by_now(made, tmp_path):
    """An unlabelled image that a person has labelled since the training was killed."""
    started(tmp_path).batches(0, True)
    assert started(tmp_path, a_plan(picture(1, "0"))).batches(20, True) == ["20"]


def test_extra_images_of_other_data_are_made_again(made, tmp_path):
    started(tmp_path).batches(0, True)
    assert started(tmp_path, images_changed=True).batches(20, True) == ["20"]
    (tmp_path / "extra-20.tfrecords").write_bytes(b"cut off")
    assert started(tmp_path).batches(50, True) == ["50"]


# The command


def read_as_one(self, batch):
    count = len(batch.label)
    return ["1"] * count, np.full((count, len(TEMPERATURES)), -0.1, np.float32)


@pytest.mark.parametrize(("typed", "num_trusted", "mixed"), [
    (None, 0, ["drawn"]), (None, 1, ["read"]), (1, 1, ["drawn", "read"]), (1, 0, ["drawn"]),
])  # fmt: skip
def test_pseudo_labels_replace_look_alikes_by_default(typed, num_trusted, mixed, tmp_path, monkeypatch):
    def example(label):
        return Example(label.encode(), label, "", 8, 8)

    monkeypatch.setattr(ExtraImages, "_look_alikes", lambda self, step: (1, iter([example("drawn")])))
    monkeypatch.setattr(ExtraImages, "_pseudo_labelled", lambda self, step: [example("read")] * num_trusted)
    monkeypatch.setattr(extra, "faces_for", lambda *_: [])
    monkeypatch.setattr(ExtraImages, "_open", lambda self, path: sorted(r.label for r in read_examples(path)))
    images = ExtraImages(TrainRequest(["x"], look_alikes=typed), a_plan(), Unlabelled(), ModelFolder(tmp_path), None)
    assert images.batches(0, True) == mixed


class TiredPainter:
    """Draws three images, and no more."""

    def draw(self, number):
        if number == 3:
            raise ConfigError("--fonts", "3", "this text cannot be drawn in any font tried.")
        return SimpleNamespace(data=b"", label=str(number), width=8, height=8)


@pytest.mark.parametrize(
    ("count", "validates", "flags", "drawn"),
    [
        (40, True, {}, 1000),
        (40, False, {}, 800),  # 8 are validated on
        (20, True, {}, 500),
        (20, False, {}, 0),  # too few to validate on some
        (40, True, {"init_from": "none"}, 0),
        (40, True, {"look_alikes": 7}, 7),
        (200, True, {}, 0),
    ],
)
def test_small_sets_get_look_alikes_from_a_pretrained_start(count, validates, flags, drawn, tmp_path):
    path, held = draw_numbers(tmp_path / "t", count), draw_numbers(tmp_path / "v", 4, seed=9) if validates else None
    request = TrainRequest([str(path)], **flags)
    with open_dataset([str(path)]) as data, open_dataset([str(held or path)]) as other:
        plan = make_plan(request, None, data, other if validates else None, Cluster(tf.distribute.get_strategy()))
    assert plan.look_alikes == drawn
    assert plan.num_validation == (4 if validates else 8 if count == 40 else 0)


def test_look_alikes_that_cannot_be_drawn():
    drawn = extra._draw(TiredPainter(), 0, 10)
    assert [example.label for example in drawn] == ["0", "1", "2"]


@pytest.mark.slow
def test_validation_and_excluded_images_are_never_trained_on(folders, tmp_path, monkeypatch):
    """Even if every reading is trusted."""
    learnt = []
    opens = ExtraImages._open

    def spy(self, path):
        learnt.extend(pixel_digest(example.image) for example in read_examples(path))
        return opens(self, path)

    monkeypatch.setattr(ExtraImages, "_open", spy)
    monkeypatch.setattr(extra, "find_threshold", lambda *_: 0.0)
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
    for word in ("10 unlabelled images left out: identical to validation images", "of --exclude", "broken.png"):
        assert word in done.stderr
    assert not list(model.glob("extra-*"))
    recorded = ModelFolder(model).read_learnt()
    for name, is_recorded in (("labelled", True), ("held", False)):
        with open_dataset([str(folders / name / "numbers.txt")]) as dataset:
            assert (np.isin(dataset.summary.split_keys, recorded) == is_recorded).all(), name
    assert len(recorded) == len(set(learnt)) + 40


def test_exclude_needs_unlabeled(folders, tmp_path):
    done = run_aocr("train", folders / "held/numbers.txt", "--exclude", folders / "test/numbers.txt", cwd=tmp_path)
    assert_clean_failure(done, "--exclude", "--unlabeled")


def test_an_unlabelled_folder_without_images(folders, tmp_path):
    (tmp_path / "empty").mkdir()
    done = run_aocr("train", folders / "held/numbers.txt", "--unlabeled", tmp_path / "empty", "--model-dir",
                    tmp_path / "model")  # fmt: skip
    assert_clean_failure(done, "empty", "contains no images")
    assert not (tmp_path / "model/model.json").exists()


@pytest.mark.slow
def test_a_signal_stops_the_drawing_of_look_alikes(numbers, tmp_path):
    argv = ("train", numbers, "--look-alikes", "100000", "--model-dir", tmp_path / "m", *SMALL)
    with start_aocr(*argv, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        for line in process.stderr:
            if "drawing 100000 look-alikes" in line:
                process.send_signal(signal.SIGINT)
                break
        _, err = process.communicate()
    assert process.returncode == 130 and "Saved at step 0 (stopped by SIGINT)" in err and "Traceback" not in err, err
    assert not list((tmp_path / "m").glob("*.tmp")) and not list((tmp_path / "m").glob("extra*"))
