"""The temperature of the confidence, and the scores that show what it is worth."""

import math

import numpy as np
import pytest

from aocr.text.metrics import CALIBRATION_BINS, expected_calibration_error, rejection_table
from aocr.training.calibration import TEMPERATURES, fit_temperature


def readings(num, true_temperature, seed=0):
    """Texts of four symbols out of six, right as often as softmax(logits / true_temperature) says.

    Returns ln of each text's probability at every temperature tried, and whether it is right.
    """
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 4, (num, 4, 6))
    scaled = logits[:, :, None, :] / TEMPERATURES[:, None]
    steps = scaled.max(-1) - np.log(np.exp(scaled).sum(-1))  # the likeliest symbol of each step
    true = np.exp(logits / true_temperature)
    right = rng.random((num, 4)) < true.max(-1) / true.sum(-1)
    return steps.sum(1), right.all(1)


@pytest.mark.parametrize("truth", [0.5, 1.0, 2.0, 4.0])
def test_the_temperature_that_made_the_data_is_found(truth):
    log_probs, correct = readings(8000, truth)
    found = fit_temperature(log_probs, correct)
    assert abs(math.log(found / truth)) < 0.2


@pytest.mark.parametrize("truth", [0.4, 3.0])
def test_the_fitted_temperature_lowers_the_calibration_error_on_other_data(truth):
    found = fit_temperature(*readings(2000, truth, seed=1))
    log_probs, correct = readings(4000, truth, seed=2)
    before, after = (
        expected_calibration_error(np.exp(log_probs[:, np.argmin(abs(TEMPERATURES - t))]).tolist(), correct.tolist())
        for t in (1.0, found)
    )
    assert after < 0.05 < before


def test_a_small_set_without_a_mistake_does_not_ask_for_certainty():
    log_probs, _ = readings(10, 1.0)
    found = fit_temperature(log_probs, np.ones(10, bool))
    assert found > TEMPERATURES[0]  # the one at which they are likeliest
    assert 0.5 < np.exp(log_probs[:, np.argmin(abs(TEMPERATURES - found))]).mean() < 0.8


def test_few_texts_move_the_temperature_less_than_many():
    found = [math.log(fit_temperature(*readings(num, 3.0, seed=3))) for num in (3, 30, 3000)]
    assert 0 < found[0] < 0.2 < found[1] < 1.0 < found[2]


@pytest.mark.parametrize("truth", [0.7, 1.0, 1.4])
def test_of_ten_texts_the_temperature_is_near_the_truth(truth):
    """Without an expectation of it the error is 0.52 to 0.73."""
    off = [math.log(fit_temperature(*readings(10, truth, seed)) / truth) for seed in range(40)]
    assert np.sqrt(np.mean(np.square(off))) < 0.4


def test_one_image_and_certain_texts_are_no_fault():
    certain = np.zeros((1, len(TEMPERATURES)))
    assert fit_temperature(certain, np.array([True])) in TEMPERATURES
    assert fit_temperature(certain, np.array([False])) in TEMPERATURES


def test_calibration_error_by_hand():
    assert expected_calibration_error([0.9, 0.9, 0.9, 0.9], [True, True, True, False]) == pytest.approx(0.15)
    low, high = 0.5 / CALIBRATION_BINS, 1.0
    assert expected_calibration_error([low, high], [True, True]) == pytest.approx((1 - low) / 2)
    assert expected_calibration_error([1.0, 0.0], [True, False]) == 0
    assert math.isnan(expected_calibration_error([], []))


def test_rejection_table_by_hand():
    confidences = [i / 100 for i in range(100)]
    correct = [i >= 10 for i in range(100)]  # the ten least sure are wrong
    table = dict(rejection_table(confidences, correct))
    assert table[0.05] == pytest.approx(90 / 95)
    assert table[0.1] == table[0.3] == 1.0
    assert list(table) == sorted(table)
    assert rejection_table([], []) == ()


def test_a_share_that_sets_no_image_aside_is_not_told():
    assert rejection_table([0.5], [False]) == ()
    shares = [share for share, _ in rejection_table([0.5] * 30, [True] * 30)]
    assert shares == [0.02, 0.05, 0.1, 0.2, 0.3]  # 0.3 of an image at 1 %
