"""`aocr label` without its page: the order, the estimate, the files, going back, a kill."""

import itertools
import math
import os
import random
import signal
import subprocess
import sys

import pytest

pytest.importorskip("aiohttp", reason="the extra serve is not installed")

from conftest import ROOT

from aocr.data.annotations import candidate_paths, parse_annotations, split_line
from aocr.errors import AnnotationError, AocrError, ConfigError
from aocr.results import Prediction, Sample
from aocr.serving.labelling.estimate import DOUBT, estimate_errors
from aocr.serving.labelling.guesses import guess_label, guess_reading
from aocr.serving.labelling.label_files import Kind, LabelFiles, annotation_line
from aocr.serving.labelling.labelling import Changed, Labelling
from aocr.serving.labelling.queue import RANDOM_EVERY, Queue


def shown_in_turn(queue, count):
    found = []
    for _ in range(count):
        found.append(queue.current())
        assert queue.current() == found[-1], "it stays until it is decided"
        queue.decide([found[-1].index])
    return found


def test_the_least_sure_come_first_and_each_tenth_is_drawn():
    ranks = [(rank,) for rank in random.Random(1).sample(range(1000), 100)]
    turns = shown_in_turn(Queue(ranks, range(100)), 100)
    assert sorted(shown.index for shown in turns) == list(range(100))
    assert [shown.at_random for shown in turns] == [number % RANDOM_EVERY == 0 for number in range(1, 101)]
    by_rank = [ranks[shown.index] for shown in turns if not shown.at_random]
    assert by_rank == sorted(by_rank)
    assert shown_in_turn(Queue(ranks, range(100)), 100) == turns
    assert shown_in_turn(Queue(ranks, range(100), seed=1), 100) != turns


def test_random_draws_are_spread_over_all_that_wait():
    counts = dict.fromkeys(range(9, 20), 0)
    for seed in range(1100):
        queue = Queue([(i,) for i in range(20)], range(20), seed, num_shown=0)
        counts[shown_in_turn(queue, RANDOM_EVERY)[-1].index] += 1
    assert all(60 < count < 145 for count in counts.values()), counts


def test_skipped_images_come_again_after_all_others():
    queue = Queue([(i,) for i in range(4)], range(4))
    queue.skip(queue.current())
    queue.skip(queue.current())
    assert queue.skipped == {0, 1} and queue.unseen == {2, 3}
    assert [shown.index for shown in shown_in_turn(queue, 4)] == [2, 3, 0, 1]
    assert queue.current() is None


def test_a_new_order_leaves_what_is_shown():
    queue = Queue([(i,) for i in range(4)], range(4))
    assert queue.current().index == 0
    queue.reorder([(-i,) for i in range(4)])
    assert [shown.index for shown in shown_in_turn(queue, 4)] == [0, 3, 2, 1]


def chance_by_counting(wrong, sample, errors, total):
    ways = sum(math.comb(errors, k) * math.comb(total - errors, sample - k) for k in range(wrong + 1))
    return ways / math.comb(total, sample)


@pytest.mark.parametrize(("images", "sample", "wrong"), [(412, 40, 0), (412, 100, 1), (30, 5, 5), (7, 3, 1), (0, 4, 1)])
def test_the_bound_is_the_largest_number_that_could_hide(images, sample, wrong):
    estimate = estimate_errors(images, sample, wrong)
    hidden = [
        n for n in range(images + 1) if chance_by_counting(wrong, sample, n + wrong, images + sample) >= DOUBT - 1e-9
    ]
    assert estimate.at_most == max(hidden)
    assert estimate.errors == round(images * wrong / sample)


def test_without_a_sample_nothing_is_promised():
    estimate = estimate_errors(50, 0, 0)
    assert (estimate.errors, estimate.at_most) == (None, 50)


@pytest.mark.parametrize(("path", "label"), [("a.png", "x y"), ("a b.png", "x"), ("a.png", "x\ty"), ("a.png", ""),
                                             ("a\u00a0b.png", "x"), ("a.png", "\u3000x")])  # fmt: skip
def test_a_line_is_read_as_it_was_meant(path, label):
    assert split_line(annotation_line(path, label).rstrip("\n")) == (path, label)


@pytest.fixture
def images(tmp_path):
    """Sixty files that stand for images."""
    folder = tmp_path / "images"
    folder.mkdir()
    paths = [folder / f"{i:02}.png" for i in range(60)]
    for path in paths:
        path.touch()
    return [os.path.realpath(path) for path in paths]


def labelling(images, output, wrong=(), seed=0):
    """The model reads each image's number, surer with each; of `wrong` it reads something else."""
    guesses = [
        guess_reading(Prediction(f"{i:02}" if i not in wrong else "??", 0.4 + i / 100)) for i in range(len(images))
    ]
    return Labelling(images, guesses, LabelFiles(str(output)), seed)


def label_rightly(work, count):
    """Accept or correct what is shown, `count` times; the (index, at_random) shown."""
    turns = []
    for _ in range(count):
        turns.append(work.current())
        work.accept(turns[-1].index, f"{turns[-1].index:02}")
    return turns


def read_back(path):
    """{image: label} as `aocr dataset` would read it."""
    lines = parse_annotations(path.read_bytes(), str(path))
    return {
        os.path.realpath(next(filter(os.path.exists, candidate_paths(line.path, str(path), None)))): line.label
        for line in lines
    }


def test_decisions_are_lines_at_once(images, tmp_path):
    output, validation = tmp_path / "labels.txt", tmp_path / "labels.validation.txt"
    output.write_text("images/00.png mine", encoding="utf-8")  # no line end
    work = labelling(images, output)
    turns = label_rightly(work, 24)
    assert output.read_text("utf-8").startswith("images/00.png mine\nimages/01.png 01\nimages/02.png 02\n")
    expected = {images[shown.index]: f"{shown.index:02}" for shown in turns if not shown.at_random}
    assert read_back(output) == {images[0]: "mine", **expected}
    drawn = {images[shown.index]: f"{shown.index:02}" for shown in turns if shown.at_random}
    assert len(drawn) == 2 and read_back(validation) == drawn
    again = labelling(images, output)
    assert again.texts == work.texts and again.current().index not in again.texts


@pytest.mark.parametrize("name", ["labels.validation.txt", "labels.unreadable.txt"])
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_a_file_beside_that_was_not_named_is_no_link_or_pipe(tmp_path, name, kind):
    (tmp_path / "rc").write_text("fi\n")
    (tmp_path / name).symlink_to(tmp_path / "rc") if kind == "link" else os.mkfifo(tmp_path / name)
    with pytest.raises(ConfigError, match=f"{name}.*a link, a pipe"):
        LabelFiles(str(tmp_path / "labels.txt"))


def test_an_image_elsewhere_is_named_from_the_root(images, tmp_path, monkeypatch):
    output = tmp_path / "out" / "labels.txt"
    output.parent.mkdir()
    label_rightly(labelling(images, output), 1)
    assert output.read_text("utf-8") == f"{images[0]} 00\n"
    # of two images of the same relative path the one in the working directory would be found first
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub" / "images").mkdir(parents=True)
    other = tmp_path / "sub" / "images" / "00.png"
    other.touch()
    files = LabelFiles(str(tmp_path / "sub" / "labels.txt"))
    files.append(Kind.TRAINING, [(os.path.realpath(other), "x")])
    assert read_back(tmp_path / "sub" / "labels.txt") == {os.path.realpath(other): "x"}


@pytest.mark.parametrize("name", [" 0.png", "\u30000.png", "\ufeff0.png", "\x0b0.png", "\u2028 0.png"])
def test_a_name_that_begins_with_white_space_is_read_back(name, tmp_path):
    """Its line named the image that is called the same but for it."""
    for other in (name, name.strip("\ufeff").strip()):
        (tmp_path / other).touch()
    files = LabelFiles(str(tmp_path / "labels.txt"))
    files.append(Kind.TRAINING, [(os.path.realpath(tmp_path / name), "x")])
    assert files.labels(Kind.TRAINING) == {os.path.realpath(tmp_path / name): "x"}
    assert read_back(tmp_path / "labels.txt") == {os.path.realpath(tmp_path / name): "x"}


def test_back_takes_the_last_line_out_and_nothing_else(images, tmp_path):
    output = tmp_path / "labels.txt"
    output.write_text("images/00.png mine\n", encoding="utf-8")
    work = labelling(images, output)
    with pytest.raises(AocrError, match="Nothing was decided yet"):
        work.back()
    work.accept(1, "typed")
    work.mark_unreadable(2)
    work.skip(3)
    assert work.progress().skipped == 1 and work.unreadable == {2}
    assert read_back(tmp_path / "labels.unreadable.txt") == {images[2]: ""}
    for index in (3, 2, 1):
        work.back()
        assert work.current().index == index
    assert work.filled_in(1) == "typed"
    assert output.read_text("utf-8") == "images/00.png mine\n"
    assert (tmp_path / "labels.unreadable.txt").read_text("utf-8") == ""
    work.accept(1, "corrected")
    assert work.current().index == 2, "images that were taken back come first"
    assert output.read_text("utf-8") == "images/00.png mine\nimages/01.png corrected\n"


def test_back_keeps_off_a_file_that_another_program_changed(images, tmp_path):
    output = tmp_path / "labels.txt"
    work = labelling(images, output)
    work.accept(0, "0")
    output.write_text("images/00.png other\n", encoding="utf-8")
    with pytest.raises(AocrError, match="another program has changed it"):
        work.back()
    assert output.read_text("utf-8") == "images/00.png other\n" and 0 in work.texts


@pytest.mark.parametrize("text", ["", "  ", "a\nb", "a\u2028b", "\ud800"])
def test_what_is_no_label_is_refused(images, tmp_path, text):
    work = labelling(images, tmp_path / "labels.txt")
    with pytest.raises(AocrError):
        work.accept(0, text)
    assert work.current().index == 0 and not (tmp_path / "labels.txt").exists()


def test_another_window_cannot_label_the_wrong_image(images, tmp_path):
    work = labelling(images, tmp_path / "labels.txt")
    work.accept(0, "0")
    for late in (work.skip, work.mark_unreadable, lambda index: work.accept(index, "0")):
        with pytest.raises(Changed):
            late(0)


def test_the_rest_is_accepted_with_an_estimate_from_the_random_ones(images, tmp_path):
    work = labelling(images, tmp_path / "labels.txt", wrong=range(40, 60, 2))
    turns = label_rightly(work, 40)
    rest = work.acceptable(0.8)
    drawn = [shown.index for shown in turns if shown.at_random and shown.index >= min(rest)]
    estimate = work.estimate(0.8)
    assert (estimate.images, estimate.sample) == (len(rest), len(drawn))
    assert estimate.wrong == sum(index in range(40, 60, 2) for index in drawn)
    with pytest.raises(Changed, match=f"{len(rest)} images now"):
        work.accept_all(0.8, len(rest) + 1)
    before = (tmp_path / "labels.txt").read_bytes()
    work.accept_all(0.8, len(rest))
    assert work.current() is None or work.guesses[work.current().index].sureness < 0.8
    assert read_back(tmp_path / "labels.txt")[images[rest[0]]] == work.guesses[rest[0]].text
    work.back()
    assert (tmp_path / "labels.txt").read_bytes() == before and work.acceptable(0.8) == rest


def test_images_that_the_model_has_learnt_from_do_not_count(images, tmp_path):
    """Their guesses were all right: about 0 errors, at most 11, of 200 images of which 21 were misread."""
    work = labelling(images, tmp_path / "labels.txt")
    drawn = [turn.index for turn in label_rightly(work, 40) if turn.at_random]
    counting = [index for index in drawn if index >= min(work.acceptable(0.0))]
    assert work.estimate(0.0).sample == len(counting) > 1
    learnt = {images[index] for index in counting[1:]}
    work = Labelling(images, work.guesses, LabelFiles(str(tmp_path / "labels.txt")), is_learnt=learnt.__contains__)
    assert work.estimate(0.0).sample == 1


def test_texts_of_several_lines_are_not_accepted_unseen(tmp_path):
    texts = ["one", "", "two\nlines", "\n", "end\r", "tab\t"]  # a model may have such symbols
    guesses = [guess_reading(Prediction(text, 0.9)) for text in texts]
    work = Labelling([f"/{i}.png" for i in range(len(texts))], guesses, LabelFiles(str(tmp_path / "labels.txt")))
    assert [texts[i] for i in work.acceptable(0.5)] == ["one", "tab\t"]


def test_the_estimate_covers_the_truth(images, tmp_path):
    """Over many orders the bound holds in 95 of 100, and the likeliest number is right on average."""
    held, told, true = [], [], []
    for seed in range(120):
        wrong = random.Random(seed).sample(range(60), 12)
        folder = tmp_path / str(seed)
        folder.mkdir()
        work = labelling(images, folder / "labels.txt", wrong, seed)
        work.files.append = lambda kind, decisions: None  # the files are tested elsewhere
        label_rightly(work, 40)
        estimate = work.estimate(0.0)
        errors = sum(index in wrong for index in work.acceptable(0.0))
        held.append(errors <= estimate.at_most)
        if estimate.sample:
            told.append(estimate.errors)
            true.append(errors)
    assert sum(held) >= 0.9 * len(held)
    assert abs(sum(told) - sum(true)) < 0.35 * sum(true)


def test_skipped_and_unreadable_random_images_count_as_wrong(images, tmp_path):
    work = labelling(images, tmp_path / "labels.txt")
    label_rightly(work, 9)
    assert work.current().at_random and not work.estimate(0.0).sample
    work.skip(work.current().index)
    assert (work.estimate(0.0).sample, work.estimate(0.0).wrong) == (1, 1)
    work.back()
    work.mark_unreadable(work.current().index)
    assert (work.estimate(0.0).sample, work.estimate(0.0).wrong) == (1, 1)


def test_a_full_disk_leaves_the_file_as_it_was(images, tmp_path, monkeypatch):
    work = labelling(images, tmp_path / "labels.txt")
    work.accept(0, "0")

    def fail(handle):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        with pytest.raises(AocrError, match="cannot be written"):
            work.accept(1, "1")
        with pytest.raises(AocrError, match="cannot be written"):
            work.mark_unreadable(1)
    assert (tmp_path / "labels.txt").read_text("utf-8") == "images/00.png 0\n"
    assert {path.name for path in tmp_path.iterdir()} == {"images", "labels.txt"}
    assert work.current().index == 1 and work.progress().decided == 1
    work.accept(1, "1")
    assert read_back(tmp_path / "labels.txt") == {images[0]: "0", images[1]: "1"}


def test_two_runs_cannot_share_a_file(images, tmp_path):
    files = LabelFiles(str(tmp_path / "labels.txt"))
    with files.held(), pytest.raises(AocrError, match="another aocr label"), files.held():
        pass
    assert not (tmp_path / "labels.txt").exists(), "nothing was decided"


def test_a_file_that_is_no_annotation_file_is_named(tmp_path):
    (tmp_path / "labels.txt").write_text("lonely\n", encoding="utf-8")
    with pytest.raises(AnnotationError, match=r"labels\.txt:1: has no label"):
        LabelFiles(str(tmp_path / "labels.txt")).labels(Kind.TRAINING)
    with pytest.raises(ConfigError, match="--output"):
        LabelFiles(str(tmp_path))


KILLED = """
import sys
from aocr.results import Prediction
from aocr.serving.labelling.guesses import guess_reading
from aocr.serving.labelling.label_files import LabelFiles
from aocr.serving.labelling.labelling import Labelling
images = sys.argv[2:]
work = Labelling(images, [guess_reading(Prediction("x", i / 100)) for i in range(len(images))], LabelFiles(sys.argv[1]))
while shown := work.current():
    work.accept(shown.index, f"label {shown.index}")
    print(shown.index, flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_kill_loses_no_decision(images, tmp_path):
    argv = [sys.executable, "-c", KILLED, tmp_path / "labels.txt", *images]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        told = [int(line) for line in itertools.islice(process.stdout, 25)]
        process.send_signal(signal.SIGKILL)
        told += [int(line) for line in process.stdout.read().splitlines()]
    found = {**read_back(tmp_path / "labels.txt"), **read_back(tmp_path / "labels.validation.txt")}
    assert {images[index]: f"label {index}" for index in told}.items() <= found.items()


def sample(label, text, likelihood, confidence):
    return Sample("n", label, Prediction(text, confidence, uncalibrated=confidence), log_likelihood=likelihood)


def test_an_audit_shows_first_where_model_and_label_disagree_most():
    samples = {
        "another word": sample("abcd", "wxyz", -20.0, 0.951),
        "one letter": sample("abcd", "abcx", -9.0, 0.95),
        "a letter the model lacks": sample("abc\u00e9", "abce", float("nan"), 0.8),
        "in doubt between two": sample("abcd", "abcx", math.log(0.45), 0.5),
        "unsure, yet the same": sample("abcd", "abcd", math.log(0.3), 0.3),
        "sure": sample("abcd", "abcd", math.log(0.99), 0.99),
    }
    ranked = sorted(samples, key=lambda name: guess_label(samples[name]).rank)
    assert ranked == list(samples)
    assert guess_label(samples["sure"]).sureness == pytest.approx(0.99)
    assert guess_label(samples["one letter"]).text == "abcd"
