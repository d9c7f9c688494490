"""What a model has learnt from is never held out later, however the set of images grows."""

import json
import os
import random
import re
import shutil
import signal
import subprocess

import numpy as np
import pytest
import tensorflow as tf
from conftest import SMALL, assert_clean_failure, draw_numbers, run_aocr, start_aocr

from aocr.checksum import masked_crc32c
from aocr.config import ModelConfig
from aocr.data.automatic import KEYS_PER_PART, NUM_PARTS, is_small, validation_mask
from aocr.data.batching import plan_batches
from aocr.data.datasets import Summary, summarise
from aocr.data.pipeline import Batches
from aocr.data.record_files import RecordWriter
from aocr.data.records import Example
from aocr.errors import CheckpointError
from aocr.folder.model_folder import SEEN, ModelFolder
from aocr.folder.weights import read_groups
from aocr.text.charset import Charset
from aocr.training.seen import NOTHING_SEEN, Role, own_split, read_seen, seen_by_reader, split_from, write_seen


def summary_of(places) -> Summary:
    places = np.asarray(places, np.int64)
    return Summary([""] * len(places), None, places, validation_mask(places), 0, None)


def some_places(count, seed=0):
    return np.random.default_rng(seed).choice(NUM_PARTS * KEYS_PER_PART, count, replace=False)


def test_roles_are_those_of_a_dictionary(tmp_path):
    rng, expected, seen = np.random.default_rng(1), {}, NOTHING_SEEN
    for _ in range(50):
        places = rng.integers(0, 60, rng.integers(0, 9))
        role = Role(int(rng.integers(0, max(Role) + 1)))
        seen = seen.but(places, role)
        expected |= dict.fromkeys(places.tolist(), role)
        write_seen(ModelFolder(tmp_path), seen)
        seen = read_seen(ModelFolder(tmp_path))
        assert seen.roles_of(np.arange(70)).tolist() == [expected.get(place, Role.NEW) for place in range(70)]
    assert set(seen.roles) == set(Role) - {Role.NEW}
    assert set(seen.closed().roles) == set(Role) - {Role.NEW, Role.CLOSING}
    mixed = seen.mixed_in(np.arange(70)).roles_of(np.arange(70)).tolist()
    assert mixed == [expected.get(place, Role.MIXED_IN) for place in range(70)]
    assert read_seen(ModelFolder(tmp_path / "none")) is None


def summed(data: bytes) -> bytes:
    return data + masked_crc32c(data).to_bytes(8, "little")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"1234567",
        bytes(16),
        summed(np.arange(0, 60, 6).tobytes())[8:],  # a part of it
        summed(np.array([6, 6]).tobytes()),
        summed(np.array([12, 6]).tobytes()),
        summed(np.array([6, 17]).tobytes()),  # a role that there is not
    ],
)
def test_a_damaged_file_is_told(data, tmp_path):
    (tmp_path / SEEN).write_bytes(data)
    with pytest.raises(CheckpointError, match=r"is damaged .*or remove it"):
        read_seen(ModelFolder(tmp_path))


def test_bytes_at_random_are_a_file_or_damaged(tmp_path):
    rng, read = random.Random(3), 0
    for _ in range(2000):
        data = rng.randbytes(8 * rng.choice((0, 0, 1, 1, 2, 3)) + rng.choice((0, 0, 3)))
        (tmp_path / SEEN).write_bytes(summed(data))
        try:
            seen = read_seen(ModelFolder(tmp_path))
        except CheckpointError:
            continue
        read += 1
        made = own_split(summary_of(some_places(30)), seen, bool(read % 2))
        write_seen(ModelFolder(tmp_path), made.seen)
        assert read_seen(ModelFolder(tmp_path)) is not None
    assert 500 < read < 2000


def test_nothing_that_was_learnt_from_is_ever_held_out():
    """Trainings at random that grow, shrink, go on, start from another and are killed before the end."""
    rng = random.Random(2)
    everything, fresh_sets, grown = some_places(900), 0, 0
    for _ in range(2000):
        learnt: set[int] = set()
        seen, before, closed = None, np.zeros(0, np.int64), False
        for _ in range(rng.randint(1, 6)):
            places = everything[: rng.choice((3, 24, 25, 30, 60, 150, 205, 260, 900))]
            if rng.random() < 0.3:
                places = np.array(rng.sample(places.tolist(), rng.randint(1, len(places))))
            if rng.random() < 0.1:
                places = np.repeat(places, 2)
            goes_on = seen is not None and rng.random() < 0.6
            if seen is not None and rng.random() < 0.2:
                places = before
            if goes_on and not closed:
                seen = seen.closed(Role.HELD_OUT)
            made = own_split(summary_of(places), seen, goes_on)
            held_out = set(places[made.held_out].tolist())
            closing = bool(held_out) and is_small(len(places))
            closed = closed and goes_on and not made.is_new and closing  # as `Trainer.restore` has it
            assert closed or not held_out & learnt  # one that was closed is not validated on
            fresh_sets += not learnt and bool(held_out)
            grown += bool(learnt) and bool(held_out)
            learnt |= set(places.tolist()) - held_out
            seen, before = made.seen, places
            if closing and rng.random() < 0.7:
                learnt |= held_out
                closed = True
    assert fresh_sets > 50 and grown > 50


def test_what_is_scored_is_known_as_far_as_the_weights_have_learnt_from_it(tmp_path):
    places, folder = some_places(100), ModelFolder(tmp_path)
    assert seen_by_reader(folder).is_known(places).sum() == 0
    made = own_split(summary_of(places[:60]), None, False)
    write_seen(folder, made.seen.mixed_in(places[60:70]))
    assert seen_by_reader(folder).is_known(places).sum() == 60 - made.held_out.sum() + 10
    folder.write_best(9, 0.5, 0.5, False, closed=True)
    assert seen_by_reader(folder).is_known(places).sum() == 70


def test_a_split_stays_while_the_images_do():
    places = some_places(100)
    first = own_split(summary_of(places), None, False)
    assert first.held_out.sum() == 20 and not first.is_new and not first.num_known
    for fewer in (100, 60):
        again = own_split(summary_of(places[:fewer]), first.seen, True)
        assert not again.is_new
        np.testing.assert_array_equal(again.held_out, first.held_out[:fewer])
    unknown = own_split(summary_of(places), None, True)  # a folder of before there was a file
    np.testing.assert_array_equal(unknown.held_out, first.held_out)
    assert not unknown.is_new


def test_of_a_set_that_has_grown_the_new_images_are_held_out():
    places = some_places(160)
    first = own_split(summary_of(places[:24]), None, False)
    assert not first.held_out.any() and not first.num_known
    few = own_split(summary_of(places[:30]), first.seen, True)
    assert not few.held_out.any() and few.is_new and few.num_known
    more = own_split(summary_of(places), first.seen, True)
    assert more.held_out[24:].sum() >= 20 and not more.held_out[:24].any()
    again = own_split(summary_of(places), more.seen, True)
    assert not again.is_new
    np.testing.assert_array_equal(again.held_out, more.held_out)
    from_it = own_split(summary_of(places), more.seen, False)
    assert not from_it.held_out.any() and from_it.num_known


def test_what_was_mixed_in_is_learnt_and_yet_new_once_it_is_labelled():
    places = some_places(160)
    seen = own_split(summary_of(places[:60]), None, False).seen.mixed_in(places[60:])
    made = own_split(summary_of(places), seen, True)
    assert made.is_new and not made.held_out[60:].any()
    assert not own_split(summary_of(places), made.seen, True).is_new


def test_images_of_another_validation_set_are_not_trained_on():
    places = some_places(60)
    training, validation = summary_of(places[:50]), summary_of(places[40:])
    made = split_from(training, validation, None, False)
    assert np.flatnonzero(made.held_out).tolist() == list(range(40, 50))
    assert not made.num_known and not split_from(training, validation, made.seen, True).is_new
    known = split_from(summary_of(places[:10]), training, made.seen, True)
    assert known.num_known == 40 and not known.is_new
    assert split_from(training, summary_of(some_places(9, 5)), made.seen, True).is_new
    assert split_from(summary_of(places[:55]), summary_of(places[55:]), made.seen, True).is_new  # five are moved
    assert not split_from(training, validation, None, True).is_new  # a folder of before there was a file
    assert not own_split(summary_of(places[:40]), made.seen, True).held_out.any()


def test_batches_leave_out_what_is_held_out(tmp_path):
    path, config = str(tmp_path / "r"), ModelConfig(Charset("a"), max_width=64, max_height=32, max_prediction=2)
    with RecordWriter(path) as writer:
        for number in range(40):
            image = tf.io.encode_png(np.full((32, 40, 1), number, np.uint8)).numpy()
            writer.write(Example(image, "a", "", 40, 32))
    chosen = np.arange(40) % 7 == 3
    summary = summarise([path])._replace(held_out=chosen)
    plan = plan_batches(np.full(40, 40), 8, config)
    for part, expected in (("training", ~chosen), ("validation", chosen), ("all", chosen | ~chosen)):
        found = Batches([path], config, plan, summary, part).sorted_batches()
        assert sorted(int(i) for batch in found for i in batch.index) == np.flatnonzero(expected).tolist()


@pytest.fixture
def lines(shared):
    folder = shared("seen", lambda folder: draw_numbers(folder, 90, seed=8))
    return folder, (folder / "numbers.txt").read_text("utf-8").splitlines(keepends=True)


@pytest.fixture
def train(lines, tmp_path):
    """Trains on so many images, in a model folder that goes on."""
    folder, all_lines = lines

    def run(part, *more, model="m", run=run_aocr, **options):
        (tmp_path / "some.txt").write_text("".join(all_lines[part]), "utf-8")
        argv = ("--data-base-dir", folder, "--model-dir", tmp_path / model, *SMALL, "--look-alikes", "0")
        return run("train", tmp_path / "some.txt", *argv, *more, **options)

    return run


def ok(done) -> str:
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_what_was_learnt_from_is_not_held_out_when_there_is_more(train, lines, tmp_path):
    """Images that it had learnt from were held out, and their score was told as that of unseen ones."""
    nothing = ("--init-from", "none")
    told = ok(train(slice(24), *nothing, "--num-epoch", "1"))
    assert "without validation (--validation DATASET)" in told
    told = ok(train(slice(30), *nothing, "--num-epoch", "2"))
    assert "without validation (what would be held out was learnt from before; " in told
    assert "95 % sure" not in told and not (tmp_path / "m" / "best.json").exists()
    told = ok(train(slice(90), *nothing, "--num-epoch", "3"))
    assert "that it has not learnt from, held out and learnt from at the end" in told
    best = json.loads((tmp_path / "m" / "best.json").read_text("utf-8"))
    assert best["closed"] and 0 <= best["word_accuracy"] <= 1
    told = ok(train(slice(90), *nothing, "--num-epoch", "3"))
    assert "95 % sure" not in told
    scored = run_aocr("test", tmp_path / "some.txt", "--data-base-dir", lines[0], "--model-dir", tmp_path / "m")
    assert "The model has learnt from 90 of these 90 images" in ok(scored)
    told = ok(train(slice(90), "--init-from", tmp_path / "m", "--num-epoch", "1", model="n"))
    assert "was learnt from before" in told and "95 % sure" not in told


def test_validation_images_are_not_trained_on(train, lines, tmp_path):
    folder, all_lines = lines
    other = folder / "other.txt"
    other.write_text("".join(all_lines[20:40]), "utf-8")
    told = ok(train(slice(30), "--validation", other, "--num-epoch", "1"))
    assert "10 images" in told and "of --validation too: not learnt from." in told and "Training on 20 images" in told
    other.write_text("".join(all_lines[:10]), "utf-8")
    told = ok(train(slice(10, 30), "--validation", other, "--num-epoch", "2"))
    assert "10 of the 10 validation images" in told and "learnt from before: the scores told are too good" in told
    refused = train(slice(10), "--validation", other, "--num-epoch", "1", model="n")
    assert_clean_failure(refused)
    assert "every image is among those of --validation too" in refused.stderr


def test_one_that_is_killed_before_it_saves_goes_on_with_the_new_images(train, tmp_path):
    """Else the second call would take them for known, and its ended training for that of all of them."""
    nothing = ("--init-from", "none")
    ok(train(slice(30), *nothing, "--num-epoch", "1"))
    killed = train(slice(90), *nothing, "--num-epoch", "500", run=start_aocr, stderr=subprocess.PIPE)
    assert any("Step 20:" in line for line in killed.stderr)
    killed.kill()
    killed.communicate()
    assert len((tmp_path / "m" / SEEN).read_bytes()) == 8 * 31
    told = ok(train(slice(90), *nothing, "--num-epoch", "2"))
    assert "that it has not learnt from, held out" in told and "95 % sure" in told
    assert len((tmp_path / "m" / SEEN).read_bytes()) == 8 * 91


@pytest.mark.slow
def test_a_kill_while_held_out_images_are_learnt_from_changes_nothing(lines, tmp_path):
    folder, _ = lines
    often = ("--steps-per-checkpoint", "10", "--batch-size", "8", "--num-epoch", "10", "--init-from", "none")
    argv = ("train", folder / "numbers.txt", *SMALL, "--look-alikes", "20", *often, "--model-dir")
    told = ok(run_aocr(*argv, tmp_path / "whole"))
    assert "From here on the held-out images are learnt from too." in told
    killed = start_aocr(*argv, tmp_path / "killed", stderr=subprocess.PIPE)
    after = iter(killed.stderr)
    assert any("learnt from too" in line for line in after)
    assert any("s, loss: " in line for line in after) and any("s, loss: " in line for line in after)
    killed.kill()
    killed.communicate()
    told = ok(run_aocr(*argv, tmp_path / "killed"))
    assert "Resuming from" in told and "validation word" not in told and "95 % sure" in told
    for name in ("best.json", SEEN, "calibration.json"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes(), name
    whole, found = (
        read_groups(ModelFolder(tmp_path / name).newest(), "model", "averaged") for name in ("whole", "killed")
    )
    for name, value in whole.items():
        np.testing.assert_array_equal(found[name], value, name)


@pytest.mark.slow
def test_one_that_is_stopped_after_it_learnt_from_all_does_not_validate_again(train, tmp_path):
    """A higher limit lets the decay begin anew, and only best.json told, once all was done, that it had been there."""
    often = ("--init-from", "none", "--steps-per-checkpoint", "10")
    assert "learnt from too" in ok(train(slice(60), *often, "--num-epoch", "3"))
    best = tmp_path / "m" / "best.json"
    best.write_text(best.read_text("utf-8").replace("true", "false"), "utf-8")  # as it was before the end
    again = tmp_path / "again"
    shutil.copytree(tmp_path / "m", again)
    (again / "best.json").unlink()
    assert "95 % sure" not in ok(train(slice(60), *often, "--num-epoch", "3", model="again"))
    stopped = train(slice(60), *often, "--num-epoch", "500", run=start_aocr, stderr=subprocess.PIPE)
    assert any("Resuming from" in line for line in stopped.stderr)
    assert any("s, loss: " in line for line in stopped.stderr)
    stopped.send_signal(signal.SIGINT)
    assert "Saved at step" in stopped.communicate()[1]
    told = ok(train(slice(60), *often, "--num-epoch", "6"))
    assert "Resuming from" in told and "validation word" not in told


def test_a_model_is_not_begun_anew_from_itself(train, tmp_path):
    """It was removed before the first checkpoint of the new training was there."""
    ok(train(slice(20), "--init-from", "none", "--num-epoch", "1"))
    before = sorted(os.listdir(tmp_path / "m"))
    refused = train(slice(20), "--init-from", tmp_path / "m", "--no-resume", "--num-epoch", "1")
    assert_clean_failure(refused, "--init-from", "is the --model-dir that is begun anew")
    assert sorted(os.listdir(tmp_path / "m")) == before
    (tmp_path / "empty").mkdir()
    refused = train(slice(20), "--init-from", tmp_path / "empty", "--no-resume", "--num-epoch", "1", model="empty")
    assert_clean_failure(refused, "--init-from", "is not a model folder of aocr")


def test_the_best_of_a_killed_training_of_more_images_is_not_that_of_fewer(train, tmp_path):
    """It was killed between the best weights and its first checkpoint, and then had the smaller set again."""
    flags, folder = ("--init-from", "none", "--num-epoch", "2"), ModelFolder(tmp_path / "m")
    assert "learnt from too" in ok(train(slice(60), *flags))
    last = folder.best()
    for ending in (".index", ".data-00000-of-00001"):
        shutil.copy(folder.best_path(last["step"]) + ending, folder.best_path(last["step"] + 9) + ending)
    folder.write_best(last["step"] + 9, 1.0, 0.0, False)
    assert "95 % sure" not in ok(train(slice(60), *flags))
    found = folder.best()
    assert found["step"] == last["step"] and found["closed"]
    del found["closed"]  # as versions before 1.0 wrote it
    folder.write_json("best.json", found)
    ok(train(slice(60), *flags))


@pytest.mark.slow
def test_a_set_that_has_grown_is_validated_after_a_stop_too(train, tmp_path):
    """Its second start took the ended decay of the smaller set for its own: it never validated, and closed at once."""
    often = ("--init-from", "none", "--steps-per-checkpoint", "1000", "--batch-size", "8")
    ok(train(slice(25), *often, "--num-epoch", "2"))
    stopped = train(slice(90), *often, "--num-epoch", "500", run=start_aocr, stderr=subprocess.PIPE)
    assert any("s, loss: " in line for line in stopped.stderr)
    stopped.send_signal(signal.SIGINT)
    assert "Saved at step" in stopped.communicate()[1]
    told = ok(train(slice(90), *often, "--num-epoch", "6"))
    assert told.index("validation word") < told.index("learnt from too") < told.index("95 % sure")


def test_validation_images_that_are_merged_into_the_set_are_learnt_from(train, lines, tmp_path):
    """All of them stayed held out."""
    folder, all_lines = lines
    (folder / "held.txt").write_text("".join(all_lines[30:60]), "utf-8")
    ok(train(slice(30), "--validation", folder / "held.txt", "--init-from", "none", "--num-epoch", "1"))
    told = ok(train(slice(60), "--init-from", "none", "--num-epoch", "3"))
    count = int(re.search(r"validating on (\d+) that it has not learnt from, held out", told)[1])
    assert 5 <= count <= 12


def test_a_start_that_does_not_tell_what_it_has_learnt_from_is_told(train, tmp_path):
    flags = ("--init-from", "none", "--num-epoch", "1")
    ok(train(slice(30), *flags))
    (tmp_path / "m" / SEEN).unlink()
    told = ok(train(slice(60), "--init-from", tmp_path / "m", "--num-epoch", "1", model="n"))
    assert f"{tmp_path}/m/{SEEN} does not tell which images its model has learnt from" in told
    told = ok(train(slice(60), "--num-epoch", "2"))
    assert "does not tell which images" in told and (tmp_path / "m" / SEEN).exists()
    assert "does not tell which images" not in ok(train(slice(60), "--num-epoch", "3"))


def test_one_that_learnt_from_all_knows_them_after_a_part_of_them(train, tmp_path):
    """Those outside the part were validated on when all came again."""
    flags = ("--init-from", "none", "--num-epoch")
    assert "learnt from too" in ok(train(slice(60), *flags, "2"))
    ok(train(slice(24), *flags, "8"))
    told = ok(train(slice(60), *flags, "8"))
    assert "validation word" not in told and "95 % sure" not in told


def test_one_that_was_stopped_before_it_learnt_from_all_still_holds_them_out(train, tmp_path):
    """They were said to have been learnt from."""
    flags = ("--init-from", "none", "--steps-per-checkpoint", "1000")
    stopped = train(slice(60), *flags, "--num-epoch", "500", run=start_aocr, stderr=subprocess.PIPE)
    assert any("s, loss: " in line for line in stopped.stderr)
    stopped.send_signal(signal.SIGINT)
    stopped.communicate()
    told = ok(train(slice(80), *flags, "--num-epoch", "4"))
    assert "held out and learnt from at the end" in told and "95 % sure" in told
