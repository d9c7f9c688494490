"""When a training stops, which weights it keeps, and when it resumes: no network is trained here."""

import pytest

from aocr.config import MAX_EPOCHS, TrainConfig
from aocr.results import EvalReport
from aocr.training import schedule
from aocr.training.schedule import Reason, Schedule, TrainState, Verdict, clock

CHARACTERS = 100


def scored(cer, perplexity=2.0, word_accuracy=0.5):
    known = {"cer": cer, "perplexity": perplexity, "word_accuracy": word_accuracy}
    return EvalReport(**{name: known.get(name, 0) for name in EvalReport.__dataclass_fields__})


def a_schedule(steps_per_epoch=10, validation=40, state=None, pretrained=False, closes=False, **config):
    state = TrainState(**(state or {}))
    return Schedule(TrainConfig(**config), state, steps_per_epoch, validation, pretrained, closes)


def checked(made, report):
    verdict, better = made.judge(report, CHARACTERS)
    made.check_done(better)
    return verdict


def train(made, reports=(), steps_per_check=10, seconds=1.0, check_seconds=0.0):
    """Run a schedule to its end, each step `seconds` long; the last of `reports` comes again and again."""
    state, reports = made.state, list(reports)
    while not made.ended:
        state.step += 1
        made.step_done(state.step * seconds, check_seconds)
        if (state.step % steps_per_check == 0 or made.ended) and reports:
            checked(made, reports.pop(0) if len(reports) > 1 else reports[0])
    return made


def reopened(made, images_changed=False, **config):
    """The schedule of the same command, or of one with other limits, after it ended."""
    state = TrainState.from_json(made.state.to_json())
    steps_per_epoch = made.max_steps // made.config.max_epochs
    again = Schedule(TrainConfig(**config), state, steps_per_epoch, made.num_validation)
    again.reopen(images_changed)
    return again


# The end


def test_epochs_end_a_training_with_the_decay():
    made = train(a_schedule(num_epoch=20))
    assert (made.state.finished, made.state.step) == (Reason.EPOCHS, 200)
    assert (made.state.decay_start, made.state.decay_end) == (182, 200)
    assert made.learning_rate == 0.0
    assert reopened(made, num_epoch=20).ended
    assert not reopened(made, num_epoch=21).ended


@pytest.mark.parametrize(("seconds", "check_seconds"), [(1.0, 0.0), (1.0, 30.0), (7.0, 0.0), (0.1, 3.0)])
def test_time_ends_a_training_and_the_same_limit_does_not_open_it_again(seconds, check_seconds):
    made = train(a_schedule(max_time=300.0), seconds=seconds, check_seconds=check_seconds)
    assert made.state.finished == Reason.TIME
    assert made.state.step * seconds + check_seconds <= 300 + seconds
    assert made.reason == f"{clock(made.state.elapsed)} of training are done (--max-time 5:00)"
    assert reopened(made, max_time=300.0).ended
    assert not reopened(made, max_time=400.0).ended
    assert not reopened(made).ended


def test_a_decay_that_took_less_time_than_planned_is_the_end_all_the_same():
    made = a_schedule(max_time=300.0, state={"step": 250})
    made.step_done(280.0, 0.0)
    for _ in range(made.state.decay_end - made.state.step):
        made.state.step += 1
        made.step_done(285.0, 0.0)
    assert made.state.finished == Reason.TIME
    assert made.reason == "4:45 of training are done (--max-time 5:00)"
    assert reopened(made, max_time=300.0).ended


def test_one_check_is_told_as_one():
    made = train(a_schedule(patience=1), [scored(0.1), scored(0.3)])
    assert made.reason == "no improvement at the last check (--patience)"


def test_patience_ends_a_training():
    made = train(a_schedule(patience=3), [scored(0.2), scored(0.1), scored(0.3)])
    assert (made.state.finished, made.state.decay_start, made.state.decay_end) == (Reason.PATIENCE, 50, 55)
    assert made.reason == "no improvement in 3 checks (--patience)"
    assert reopened(made, patience=3).ended
    again = reopened(made, patience=4)
    assert not again.ended
    assert (again.state.decay_start, again.state.waited) == (-1, 0)


def test_new_images_reopen_a_training():
    made = train(a_schedule(patience=3), [scored(0.2), scored(0.1), scored(0.3)])
    again = reopened(made, images_changed=True, patience=3)
    assert not again.ended and again.state.decay_start == -1 and again.state.step == made.state.step
    assert again.judge(scored(0.9), CHARACTERS) == (Verdict.BEST, True)  # the best was that on other images


@pytest.mark.parametrize(
    ("first", "raised"),
    [
        ({"max_time": 300.0}, {"max_time": 400.0}),
        ({"num_epoch": 20}, {"num_epoch": 21}),
        ({"patience": 3}, {"patience": 4}),
    ],
)
def test_a_raised_limit_leaves_the_decay_and_the_same_limit_does_not(first, raised):
    made = a_schedule(**first)
    while not made.decays:
        made.state.step += 1
        made.step_done(made.state.step * 1.0, 0.0)
        if "patience" in first and made.state.step % 10 == 0:
            checked(made, scored(0.1))
    assert not made.ended
    same = reopened(made, **first)
    assert (same.state.decay_start, same.state.decay_end) == (made.state.decay_start, made.state.decay_end)
    again = reopened(made, **raised)
    assert not again.decays and again.state.elapsed == made.state.elapsed


@pytest.mark.parametrize(("cer", "checks"), [(1e9, 20), (0.51, 20), (0.5, 10), (0.01, 10), (0.0, 5)])
def test_patience_goes_by_what_is_read(cer, checks):
    assert a_schedule(state={"best_cer": cer}).patience == checks
    assert a_schedule(validation=0, state={"best_cer": cer}).patience == 10


def test_a_training_that_read_all_is_not_opened_by_the_same_command():
    """The last weights, kept because they are as good, once raised the best CER, and so the patience."""
    made = train(a_schedule(), [scored(0.0), *[scored(0.5)] * 5, scored(0.01)])
    assert made.state.finished == Reason.PATIENCE
    assert (made.state.best_cer, made.state.decay_limit) == (0.0, 5)
    assert reopened(made).ended


def test_without_validation_the_training_loss_counts():
    made = a_schedule(validation=0, patience=2)
    losses = [1.0, 0.98, 0.96, 0.95, 0.94, 1e-3, 0.5]
    assert [made.loss_improved(loss) for loss in losses] == [True, False, True, False, False, False, True]
    for _ in range(2):
        made.check_done(False)
    assert made.state.decay_reason == Reason.PATIENCE


# What is kept


def test_characters_rank_before_words_and_words_before_the_perplexity():
    made = a_schedule()
    reports = [scored(0.3), scored(0.2, 2.0, 0.1), scored(0.2, 1.5, 0.05), scored(0.2, 9.0, 0.2), scored(0.3, 1.0, 0.9)]
    kept = [made.judge(report, CHARACTERS)[0] for report in reports]
    assert kept == [Verdict.BEST, Verdict.BEST, Verdict.WORSE, Verdict.BEST, Verdict.WORSE]


def test_of_equal_scores_the_later_is_kept_unless_it_is_less_sure_than_the_surest():
    """Compared with the one before it alone, each may be 2 % less sure, without bound."""
    made = a_schedule()
    perplexities = [2.0, 2.03, 2.06, 2.09, 1.9, 1.93, 1.96]
    kept = [made.judge(scored(0.1, perplexity), CHARACTERS)[0] for perplexity in perplexities]
    assert kept == [Verdict.BEST, Verdict.BEST, Verdict.WORSE, Verdict.WORSE, Verdict.BEST, Verdict.BEST, Verdict.WORSE]
    assert made.state.best_perplexity == 1.9
    assert made.judge(scored(0.05, 8.0), CHARACTERS)[0] is Verdict.BEST
    assert made.state.best_perplexity == 8.0


def test_last_weights_as_good_as_the_best_are_kept():
    state = {"finished": Reason.PATIENCE, "best_cer": 0.1, "best_word_accuracy": 0.6, "best_perplexity": 3.0}
    made = a_schedule(state=state)
    assert made.judge(scored(0.12, 3.0), CHARACTERS) == (Verdict.AS_GOOD, True)
    assert (made.state.best_cer, made.state.best_word_accuracy) == (0.1, 0.6)
    assert made.judge(scored(0.5, 2.0), CHARACTERS)[0] is Verdict.WORSE


def test_last_weights_with_a_lower_score_and_a_higher_perplexity_are_not_kept():
    """46 of 46 images with perplexity 1.002, and after the decay 44 of 46 with 1.019, as in one run of the README."""
    made = a_schedule(validation=46, patience=1)
    reports = [scored(0.0, 1.002, 1.0), scored(0.0, 1.002, 1.0), scored(0.008, 1.019, 44 / 46)]
    verdicts = []
    while not made.ended:
        made.state.step += 1
        made.step_done(made.state.step * 1.0, 0.0)
        if made.state.step % 100 == 0 or made.ended:
            verdicts.append(checked(made, reports[len(verdicts)]))
    assert verdicts == [Verdict.BEST, Verdict.BEST, Verdict.WORSE]


# The learning rate


def test_the_learning_rate_warms_up_stays_and_decays():
    before = [schedule.learning_rate_factor(step, -1, 0) for step in (0, 49, 99, 100, 10**6)]
    assert before == [0.01, 0.5, 1.0, 1.0, 1.0]
    after = [schedule.learning_rate_factor(step, 1000, 1100) for step in (1000, 1050, 1100, 1200)]
    assert after == [1.0, 0.5, 0.0, 0.0]
    assert (schedule.decay_length(0), schedule.decay_length(1000)) == (1, 100)


# What is left


def test_what_is_left_is_known_where_a_limit_was_typed():
    state = {"step": 100, "elapsed": 60.0}
    assert a_schedule(state=state).seconds_left(2.0) is None
    assert a_schedule(state=state).share_done is None
    typed = a_schedule(state=state, num_epoch=MAX_EPOCHS)
    assert typed.seconds_left(2.0) == 19800.0, "the default typed is a limit typed"
    assert typed.share_done == 0.01
    both = a_schedule(state=state, num_epoch=20, max_time=80.0)
    assert (both.seconds_left(2.0), both.share_done) == (20.0, 0.75)
    decays = a_schedule(state={**state, "decay_start": 95, "decay_end": 125})
    assert (decays.seconds_left(2.0), decays.share_done) == (50.0, 0.8)


def test_state_is_stored_without_loss():
    state = TrainState(step=48, elapsed=12.345678901234567, best_cer=0.1, closed=True, images="ab")
    assert TrainState.from_json(state.to_json()) == state


def test_a_network_that_could_read_before_is_given_less_patience():
    assert a_schedule(pretrained=True, state={"best_cer": 0.1}).patience == 4
    assert a_schedule(pretrained=True, state={"best_cer": 0.0}).patience == 1
    assert a_schedule(pretrained=True, state={"best_cer": 0.9}).patience == a_schedule(state={"best_cer": 0.9}).patience
    assert a_schedule(pretrained=True, validation=0).patience == a_schedule(validation=0).patience


def test_few_images_that_are_all_read_end_nothing_sooner():
    assert a_schedule(pretrained=True, validation=39, state={"best_cer": 0.0}).patience == 4
    assert a_schedule(validation=39, state={"best_cer": 0.0}).patience == 10


def test_the_decay_is_longer_where_held_out_images_are_learnt_from_in_it():
    made = train(a_schedule(closes=True, num_epoch=13))
    assert (made.state.decay_start, made.state.decay_end) == (100, 130)
