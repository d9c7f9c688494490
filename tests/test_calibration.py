"""The temperature of the confidence, and the scores that say how good it is."""

import math

import numpy as np
import pytest

from aocr.text.metrics import CALIBRATION_BINS, expected_calibration_error, rejection_table
from aocr.training.calibration import TEMPERATURES, confidences_at, fit_temperature


def readings(num, true_temperature, seed=0):
    """Texts of four symbols out of six, correct as often as softmax(logits / true_temperature) says.

    Returns ln of each text's probability at each of `TEMPERATURES`, and whether it is correct.
    """
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 4, (num, 4, 6))
    scaled = logits[:, :, None, :] / TEMPERATURES[:, None]
    steps = scaled.max(-1) - np.log(np.exp(scaled).sum(-1))  # the likeliest symbol of each step
    true = np.exp(logits / true_temperature)
    correct = rng.random((num, 4)) < true.max(-1) / true.sum(-1)
    return steps.sum(1), correct.all(1)


@pytest.mark.parametrize("truth", [0.5, 1.0, 4.0])
def test_the_true_temperature_is_found(truth):
    assert abs(math.log(fit_temperature(*readings(8000, truth)) / truth)) < 0.2


@pytest.mark.parametrize("truth", [0.4, 3.0])
def test_the_fitted_temperature_lowers_the_calibration_error_on_other_data(truth):
    fitted = fit_temperature(*readings(2000, truth, seed=1))
    log_probs, correct = readings(4000, truth, seed=2)
    uncalibrated, calibrated = (
        expected_calibration_error(confidences_at(temperature, log_probs), correct.tolist())
        for temperature in (1.0, fitted)
    )
    assert calibrated < 0.05 < uncalibrated


def test_ten_correct_texts_are_not_enough_for_certainty():
    log_probs, _ = readings(10, 1.0)
    temperature = fit_temperature(log_probs, np.ones(10, bool))
    assert temperature > TEMPERATURES[0]  # at which they are the most likely
    assert 0.5 < np.mean(confidences_at(temperature, log_probs)) < 0.8
    certain = np.zeros((1, len(TEMPERATURES)))
    assert fit_temperature(certain, np.array([True])) in TEMPERATURES
    assert fit_temperature(certain, np.array([False])) in TEMPERATURES


@pytest.mark.parametrize("truth", [0.7, 1.4])
def test_ten_texts_give_a_temperature_near_the_truth(truth):
    """Without a prior the error is 0.52 to 0.73."""
    errors = [math.log(fit_temperature(*readings(10, truth, seed)) / truth) for seed in range(40)]
    assert np.sqrt(np.mean(np.square(errors))) < 0.4


def test_calibration_error_by_hand():
    assert expected_calibration_error([0.9, 0.9, 0.9, 0.9], [True, True, True, False]) == pytest.approx(0.15)
    low, high = 0.5 / CALIBRATION_BINS, 1.0
    assert expected_calibration_error([low, high], [True, True]) == pytest.approx((1 - low) / 2)
    assert expected_calibration_error([1.0, 0.0], [True, False]) == 0
    assert math.isnan(expected_calibration_error([], []))


def test_rejection_table_by_hand():
    confidences = [i / 100 for i in range(100)]
    correct = [i >= 10 for i in range(100)]  # the ten least confident are wrong
    table = dict(rejection_table(confidences, correct))
    assert table[0.05] == pytest.approx(90 / 95)
    assert table[0.1] == table[0.3] == 1.0
    assert list(table) == sorted(table)


def test_rejection_table_of_few_images():
    assert rejection_table([], []) == rejection_table([0.5], [False]) == ()
    shares = [share for share, _ in rejection_table([0.5] * 30, [True] * 30)]
    assert shares == [0.02, 0.05, 0.1, 0.2, 0.3]  # 1 % would be 0.3 of an image
