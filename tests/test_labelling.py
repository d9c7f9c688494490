"""`aocr label` without its page: order, estimate, files, undo."""

import math
import os
import random

import pytest

pytest.importorskip("aiohttp", reason="the extra serve is not installed")

from aocr.data.annotations import candidate_paths, parse_annotations, split_line
from aocr.errors import AnnotationError, AocrError, ConfigError
from aocr.results import Prediction, Sample
from aocr.serving.labelling.guesses import guess_label, guess_reading
from aocr.serving.labelling.label_files import Kind, LabelFiles, annotation_line
from aocr.serving.labelling.labelling import Labelling
from aocr.serving.labelling.queue import RANDOM_EVERY, SIGNIFICANCE, Queue, estimate_errors
from aocr.serving.web import HTTPError


def take(queue, count):
    """Decide the next `count` images and return them."""
    images = []
    for _ in range(count):
        images.append(queue.current())
        queue.decide([images[-1].index])
    return images


def test_least_certain_first_and_every_tenth_at_random():
    ranks = [(rank,) for rank in random.Random(1).sample(range(1000), 100)]
    images = take(Queue(ranks, range(100)), 100)
    assert sorted(image.index for image in images) == list(range(100))
    assert [image.at_random for image in images] == [number % RANDOM_EVERY == 0 for number in range(1, 101)]
    by_rank = [ranks[image.index] for image in images if not image.at_random]
    assert by_rank == sorted(by_rank)
    assert take(Queue(ranks, range(100)), 100) == images
    assert take(Queue(ranks, range(100), seed=1), 100) != images


def test_skipped_images_come_last():
    queue = Queue([(i,) for i in range(4)], range(4))
    queue.skip(queue.current())
    queue.skip(queue.current())
    assert queue.skipped == {0, 1} and queue.unseen == {2, 3}
    assert [image.index for image in take(queue, 4)] == [2, 3, 0, 1]
    assert queue.current() is None


@pytest.mark.parametrize(("images", "sample", "wrong"), [(412, 40, 0), (412, 100, 1), (30, 5, 5), (7, 3, 1), (0, 4, 1)])
def test_bound_is_the_largest_plausible_number_of_errors(images, sample, wrong):
    def probability(errors):
        total = images + sample
        ways = sum(math.comb(errors, k) * math.comb(total - errors, sample - k) for k in range(wrong + 1))
        return ways / math.comb(total, sample)

    estimate = estimate_errors(images, sample, wrong)
    assert estimate.at_most == max(n for n in range(images + 1) if probability(n + wrong) >= SIGNIFICANCE - 1e-9)
    assert estimate.errors == round(images * wrong / sample)
    without_sample = estimate_errors(images, 0, 0)
    assert (without_sample.errors, without_sample.at_most) == (None, images)


@pytest.mark.parametrize(("path", "label"), [("a.png", "x y"), ("a b.png", "x"), ("a.png", "x\ty"), ("a.png", ""),
                                             ("a\u00a0b.png", "x"), ("a.png", "\u3000x")])  # fmt: skip
def test_annotation_line_round_trip(path, label):
    assert split_line(annotation_line(path, label).rstrip("\n")) == (path, label)


@pytest.fixture
def images(tmp_path):
    """Real paths of sixty empty files that stand for images."""
    folder = tmp_path / "images"
    folder.mkdir()
    paths = [folder / f"{i:02}.png" for i in range(60)]
    for path in paths:
        path.touch()
    return [os.path.realpath(path) for path in paths]


def labelling(images, output, wrong=(), seed=0, **options):
    """The model reads each image's number, more certain with each; those in `wrong` it misreads."""
    texts = ["??" if i in wrong else f"{i:02}" for i in range(len(images))]
    guesses = [guess_reading(Prediction(text, 0.4 + i / 100)) for i, text in enumerate(texts)]
    return Labelling(images, guesses, LabelFiles(str(output)), seed, **options)


def label_correctly(work, count):
    """Label the next `count` images with their number and return them."""
    images = []
    for _ in range(count):
        images.append(work.queue.current())
        work.accept(images[-1].index, f"{images[-1].index:02}")
    return images


def read_back(path):
    """Return {image: label} as `aocr dataset` reads it."""
    return {
        os.path.realpath(next(filter(os.path.exists, candidate_paths(line.path, str(path), None)))): line.label
        for line in parse_annotations(path.read_bytes(), str(path))
    }


def test_decisions_are_written_at_once(images, tmp_path):
    output, validation = tmp_path / "labels.txt", tmp_path / "labels.validation.txt"
    output.write_text("images/00.png mine", encoding="utf-8")  # without a line end
    work = labelling(images, output)
    labelled = label_correctly(work, 24)
    assert output.read_text("utf-8").startswith("images/00.png mine\nimages/01.png 01\nimages/02.png 02\n")
    expected = {images[image.index]: f"{image.index:02}" for image in labelled if not image.at_random}
    assert read_back(output) == {images[0]: "mine", **expected}
    at_random = {images[image.index]: f"{image.index:02}" for image in labelled if image.at_random}
    assert len(at_random) == 2 and read_back(validation) == at_random
    again = labelling(images, output)
    assert again.texts == work.texts and again.queue.current().index not in again.texts


def test_images_elsewhere_are_written_with_absolute_paths(images, tmp_path, monkeypatch):
    output = tmp_path / "out" / "labels.txt"
    output.parent.mkdir()
    label_correctly(labelling(images, output), 1)
    assert output.read_text("utf-8") == f"{images[0]} 00\n"
    # `images/00.png` would be found in the working directory first
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub" / "images").mkdir(parents=True)
    for name in ("images/00.png", " 0.png", "\u30000.png"):
        path = tmp_path / "sub" / name
        path.touch()
        files = LabelFiles(str(tmp_path / "sub" / "labels.txt"))
        files.append(Kind.TRAINING, [os.path.realpath(path)], ["x"])
        assert read_back(tmp_path / "sub" / "labels.txt")[os.path.realpath(path)] == "x"


def test_back_removes_only_the_last_line(images, tmp_path):
    output = tmp_path / "labels.txt"
    output.write_text("images/00.png mine\n", encoding="utf-8")
    work = labelling(images, output)
    with pytest.raises(AocrError, match="nothing to undo"):
        work.back()
    work.accept(1, "typed")
    work.mark_unreadable(2)
    work.skip(3)
    assert work.progress()["skipped"] == 1 and work.unreadable == {2}
    assert read_back(tmp_path / "labels.unreadable.txt") == {images[2]: ""}
    for index in (3, 2, 1):
        work.back()
        assert work.queue.current().index == index
    assert work.suggested_text(1) == "typed"
    assert output.read_text("utf-8") == "images/00.png mine\n"
    assert (tmp_path / "labels.unreadable.txt").read_text("utf-8") == ""
    work.accept(1, "corrected")
    assert work.queue.current().index == 2, "images whose decision was undone come first"
    output.write_text("images/00.png other\n", encoding="utf-8")
    with pytest.raises(AocrError, match="changed by another program"):
        work.back()
    assert output.read_text("utf-8") == "images/00.png other\n" and 1 in work.texts


@pytest.mark.parametrize("text", ["", "  ", "a\nb", "a\u2028b", "\ud800"])
def test_invalid_labels_are_refused(images, tmp_path, text):
    work = labelling(images, tmp_path / "labels.txt")
    with pytest.raises(AocrError):
        work.accept(0, text)
    assert work.queue.current().index == 0 and not (tmp_path / "labels.txt").exists()


def test_accept_all(images, tmp_path):
    wrong = range(40, 60, 2)
    work = labelling(images, tmp_path / "labels.txt", wrong)
    labelled = label_correctly(work, 40)
    rest = work.acceptable(0.8)
    sample = [image.index for image in labelled if image.at_random and image.index >= min(rest)]
    estimate = work.estimate(0.8)
    assert (estimate.images, estimate.sample) == (len(rest), len(sample))
    assert estimate.wrong == sum(index in wrong for index in sample)
    with pytest.raises(HTTPError) as caught:
        work.accept_all(0.8, work.digest(0.9))
    assert caught.value.status == 409
    before = (tmp_path / "labels.txt").read_bytes()
    work.accept_all(0.8, work.digest(0.8))
    assert not work.acceptable(0.8)
    assert read_back(tmp_path / "labels.txt")[images[rest[0]]] == work.guesses[rest[0]].text
    work.back()
    assert (tmp_path / "labels.txt").read_bytes() == before and work.acceptable(0.8) == rest


def test_checking_five_first(images, tmp_path):
    work = labelling(images, tmp_path / "labels.txt", wrong=range(40, 60))
    current = work.queue.current()
    work.check(0.8)
    assert work.queue.current() == current and work.num_waiting_checks == 5
    label_correctly(work, 1)
    checked = [image.index for image in label_correctly(work, 5)]
    assert min(checked) >= 40 and checked != sorted(checked) and work.num_waiting_checks == 0
    assert (work.estimate(0.8).sample, work.estimate(0.8).wrong) == (5, 5)
    assert work.estimate(0.9).sample == sum(index >= 50 for index in checked)
    assert work.estimate(0.7).sample == 0, "they were not chosen from the images that are less sure"
    assert set(read_back(tmp_path / "labels.txt")) == {images[i] for i in (0, *checked)}, "not for validation"
    work.back()
    assert work.estimate(0.8).sample == 4
    work.mark_unreadable(checked[-1])
    assert (work.estimate(0.8).sample, work.estimate(0.8).wrong) == (5, 5)


def test_checks_that_are_accepted_unseen_do_not_count(images, tmp_path):
    work = labelling(images, tmp_path / "labels.txt")
    work.queue.current()
    work.check(0.8)
    work.accept_all(0.9, work.digest(0.9))
    assert work.estimate(0.8).sample == 0


def test_training_images_are_not_in_the_sample(images, tmp_path):
    work = labelling(images, tmp_path / "labels.txt")
    at_random = [image.index for image in label_correctly(work, 40) if image.at_random]
    sample = [index for index in at_random if index >= min(work.acceptable(0.0))]
    assert work.estimate(0.0).sample == len(sample) > 1
    trained_on = {images[index] for index in sample[1:]}
    work = labelling(images, tmp_path / "labels.txt", was_trained_on=trained_on.__contains__)
    assert work.estimate(0.0).sample == 1


def test_skipped_and_unreadable_random_images_count_as_wrong(images, tmp_path):
    work = labelling(images, tmp_path / "labels.txt")
    label_correctly(work, 9)
    assert work.queue.current().at_random and not work.estimate(0.0).sample
    work.skip(work.queue.current().index)
    assert (work.estimate(0.0).sample, work.estimate(0.0).wrong) == (1, 1)
    work.back()
    work.mark_unreadable(work.queue.current().index)
    assert (work.estimate(0.0).sample, work.estimate(0.0).wrong) == (1, 1)


def test_full_disk_leaves_the_file_unchanged(images, tmp_path, monkeypatch):
    work = labelling(images, tmp_path / "labels.txt")
    work.accept(0, "0")

    def fail(handle):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        with pytest.raises(AocrError, match="cannot be written"):
            work.accept(1, "1")
    assert (tmp_path / "labels.txt").read_text("utf-8") == "images/00.png 0\n"
    assert work.queue.current().index == 1 and work.progress()["decided"] == 1
    work.accept(1, "1")
    assert read_back(tmp_path / "labels.txt") == {images[0]: "0", images[1]: "1"}


def test_label_files_that_cannot_be_used(tmp_path):
    files = LabelFiles(str(tmp_path / "labels.txt"))
    with files.locked(), pytest.raises(AocrError, match="another aocr label"), files.locked():
        pass
    assert not (tmp_path / "labels.txt").exists(), "nothing was decided"
    (tmp_path / "labels.txt").write_text("lonely\n", encoding="utf-8")
    with pytest.raises(AnnotationError) as caught:
        files.labels(Kind.TRAINING)
    assert caught.value.lineno == 1
    with pytest.raises(ConfigError, match="--output"):
        LabelFiles(str(tmp_path))


def test_audit_ranks_by_disagreement():
    samples = [
        Sample("n", label, Prediction(text, confidence, uncalibrated=confidence), log_likelihood=likelihood)
        for label, text, likelihood, confidence in (
            ("abcd", "wxyz", -20.0, 0.951),  # another word
            ("abcd", "abcx", -9.0, 0.95),  # one letter differs
            ("abc\u00e9", "abce", math.nan, 0.8),  # a letter unknown to the model
            ("abcd", "abcx", math.log(0.45), 0.5),  # in doubt between the two
            ("abcd", "abcd", math.log(0.3), 0.3),  # uncertain but equal
            ("abcd", "abcd", math.log(0.99), 0.99),
        )
    ]
    assert sorted(samples, key=lambda sample: guess_label(sample).rank) == samples
    assert guess_label(samples[-1]).score == pytest.approx(0.99)
    assert guess_label(samples[1]).text == "abcd"
