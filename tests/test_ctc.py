"""The CTC head's text and scores against brute force, and reading with both heads."""

import itertools
import math
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from aocr.config import ModelConfig, ReadConfig
from aocr.errors import ConfigError
from aocr.model.layers import collect_steps
from aocr.model.recognizer import build_recognizer
from aocr.reading import arrays
from aocr.reading.constraints import make_constraints
from aocr.text.charset import EOS, GO, NUM_SPECIALS, Charset
from aocr.text.ctc import best_path, column_log_probs, text_log_probs

BACKENDS = {"numpy": (arrays, arrays.collect_steps), "keras": (keras.ops, collect_steps)}
COLUMNS, SYMBOLS, STEPS = 5, NUM_SPECIALS + 2, 4


def collapse(path) -> tuple:
    """Merge repeats and drop blanks."""
    return tuple(symbol for symbol, _ in itertools.groupby(path) if symbol)


def brute_force(log_probs: np.ndarray) -> dict[tuple, float]:
    """Return the probability of each text, summed over all paths through (S, V)."""
    found: dict[tuple, float] = {}
    for path in itertools.product(range(log_probs.shape[1]), repeat=len(log_probs)):
        probability = math.exp(sum(log_probs[s, symbol] for s, symbol in enumerate(path)))
        found[collapse(path)] = found.get(collapse(path), 0.0) + probability
    return found


def padded(texts, steps: int = STEPS) -> np.ndarray:
    return np.array([[*text, EOS, *[4] * steps][:steps] for text in texts], np.int32)  # what follows EOS is ignored


@pytest.fixture(scope="module")
def output():
    """Log-probabilities of three images; the second has three columns, the third begins with padding."""
    logits = np.random.default_rng(2).normal(0, 2, (3, COLUMNS, SYMBOLS)).astype(np.float32)
    logits[:, :, [GO, EOS]] = -30  # no probability is lost by their never being read
    mask = np.array([[True] * 5, [True] * 3 + [False] * 2, [False] + [True] * 4])
    return column_log_probs(arrays, logits, mask, from_right=False)


@pytest.mark.parametrize("backend", BACKENDS)
def test_score_is_the_sum_over_all_paths(output, backend):
    texts = [t for n in range(STEPS) for t in itertools.product((3, 4), repeat=n)]
    ids = np.stack([padded(texts)] * 3)
    scores = np.asarray(text_log_probs(*BACKENDS[backend], output, ids))
    for image, log_probs in enumerate(output):
        expected = brute_force(log_probs[log_probs[:, 0] < 0])  # 0: padding
        for text, score in zip(texts, scores[image], strict=True):
            if text in expected:
                assert score == pytest.approx(math.log(expected[text]), abs=1e-4)
            else:  # it does not fit into the columns, for example three equal symbols into three
                assert score < -1e8


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("steps", [2, 3, 4, 12])
def test_best_path(output, backend, steps):
    ids = np.asarray(best_path(BACKENDS[backend][0], output, steps))
    assert ids.shape == (3, steps)
    for row, log_probs in zip(ids, output, strict=True):
        text = collapse(log_probs.argmax(axis=1))[: steps - 1]
        assert row.tolist() == [*text, EOS, *[0] * (steps - 1 - len(text))]


def test_from_right():
    logits, mask = np.random.default_rng(4).normal(size=(2, 5, 4)), np.arange(5) < np.array([[5], [2]])
    forward = column_log_probs(arrays, logits, mask, from_right=False)
    assert np.array_equal(column_log_probs(arrays, logits, mask, from_right=True), forward[:, ::-1])


@pytest.fixture(scope="module", params=["ab", "אב"])
def tiny(request):
    """A network whose two heads disagree, and images."""
    keras.utils.set_random_seed(2)
    charset = Charset(request.param)
    config = ModelConfig(charset, attn_num_hidden=8, target_embedding_size=5, max_prediction=4, ctc_weight=0.5)
    model, rng = build_recognizer(config), np.random.default_rng(2)
    for kernel in (model.decoder.output_projection.kernel, model.decoder.embedding.embeddings, model.ctc.kernel):
        kernel.assign(rng.normal(0, 1.5, kernel.shape))
    images = (rng.normal(0, 0.7, (24, 32, 48, 1)) * rng.uniform(0, 3, (24, 1, 1, 1))).astype(np.float32)
    widths = rng.integers(8, 49, 24).astype(np.int32)
    *_, logits = model(images, widths, np.full((24, 1), GO, np.int32))
    kernel = model.ctc.kernel / np.std(logits)
    model.ctc.kernel.assign(3 * (kernel - np.mean(kernel, axis=0)))  # logits of a usual size, no symbol always wins
    model.ctc.bias.assign([0, 50, 50, 0, 0])  # GO and EOS, which are never read
    return model, images, widths


def scored(tiny, ids: np.ndarray) -> np.ndarray:
    """Return both heads' score of a text for each image, from teacher forcing and from all paths."""
    model, images, widths = tiny
    tokens = np.pad(ids, ((0, 0), (1, 0)), constant_values=GO)
    logits, _, ctc_logits = model(images, widths, tokens)
    log_probs, ctc = tf.nn.log_softmax(logits).numpy(), tf.nn.log_softmax(ctc_logits).numpy()
    scores = []
    for row, steps, columns, width in zip(ids, log_probs, ctc, widths, strict=True):
        text = [*itertools.takewhile(lambda symbol: symbol != EOS, row.tolist())]
        columns = columns[: -(-width // 4)]
        mask, from_right = np.ones((1, len(columns)), bool), model.config.charset.right_to_left
        in_order = column_log_probs(arrays, columns[None], mask, from_right)
        aligned = text_log_probs(*BACKENDS["numpy"], in_order, padded([text], 5)[None])
        decoder = sum(steps[t, symbol] for t, symbol in enumerate([*text, EOS]))
        scores.append(decoder + model.config.ctc_weight * float(aligned[0, 0]))
    return np.array(scores)


def test_reading_does_not_depend_on_the_batch(tiny):
    model, images, widths = tiny
    together = texts_of(model, model.read(images, widths).ids)
    for i, text in enumerate(together):
        assert texts_of(model, model.read(images[i : i + 1], widths[i : i + 1]).ids) == [text]


def texts_of(model, rows) -> list[str]:
    return [model.config.charset.decode(row) for row in np.asarray(rows)]


@pytest.mark.parametrize("beam", [1, 3])
def test_better_text_of_both_heads(tiny, monkeypatch, beam):
    model, images, widths = tiny
    reading = model.read(images, widths, beam=beam)
    _, _, logits = model(images, widths, np.full((len(images), 1), GO, np.int32))
    mask = np.arange(12) < -(-widths[:, None] // 4)
    ctc = column_log_probs(arrays, np.asarray(logits), mask, model.config.charset.right_to_left)
    rival = best_path(arrays, ctc, model.config.max_steps)
    monkeypatch.setattr(model, "config", replace(model.config, ctc_weight=0.0))
    alone = model.read(images, widths, beam=beam)
    monkeypatch.undo()
    texts = [texts_of(model, rows) for rows in (alone.ids, rival)]
    scores = [scored(tiny, padded(map(model.config.charset.encode, some), 5)) for some in texts]
    is_rival, differs = scores[1] > scores[0], np.array([a != b for a, b in zip(*texts, strict=True)])
    assert (is_rival & differs).any()
    assert (~is_rival & differs).any()
    expected = np.where(is_rival, texts[1], texts[0])
    assert texts_of(model, reading.ids) == expected.tolist()
    assert texts_of(model, reading.beam_ids[:, 0]) == expected.tolist()
    for row, confidence, steps in zip(reading.ids.numpy(), reading.confidence, reading.probabilities, strict=True):
        length = row.tolist().index(EOS) + 1
        assert float(confidence) == pytest.approx(float(np.prod(steps[:length])), abs=1e-6)


def test_pattern_forbids_the_ctc_heads_text(tiny):
    model, images, widths = tiny
    pattern = f"[{model.config.charset.symbols[0]}]*"
    constraints, _ = make_constraints(ReadConfig(pattern=pattern), model.config.charset, model.config.max_steps)
    reading = model.read(images, widths, constraints=constraints)
    assert all(set(text) <= {model.config.charset.symbols[0]} for text in texts_of(model, reading.ids))


@pytest.mark.parametrize(("arch", "weight"), [("default", -1), ("default", 11), ("default", "x"), ("classic", 0.5)])
def test_impossible_weight(arch, weight):
    with pytest.raises(ConfigError, match="ctc_weight"):
        ModelConfig(Charset("ab"), arch, attn_num_layers=2, ctc_weight=weight)
