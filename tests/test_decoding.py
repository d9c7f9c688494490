"""Decoding against brute force: teacher forcing scores every text of a tiny vocabulary."""

import itertools
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from aocr.config import ModelConfig, ReadConfig
from aocr.errors import ConfigError
from aocr.model.recognizer import build_recognizer
from aocr.reading.constraints import make_constraints
from aocr.results import NEVER
from aocr.text.charset import EOS, GO, NUM_SPECIALS, Charset
from aocr.text.lexicon import FREQUENCY_POWER
from aocr.text.search import LENGTH_POWER, MAX_OVERRUN

LIMIT = 3
SYMBOLS = "ab1"
TEXTS = ["".join(t) for n in range(LIMIT + 1) for t in itertools.product(SYMBOLS, repeat=n)]
FULL_BEAM = 200  # more than there are prefixes of texts


@pytest.fixture(scope="module")
def tiny():
    """A network with large random weights, so that texts differ, and three images."""
    keras.utils.set_random_seed(3)
    config = ModelConfig(Charset(SYMBOLS), attn_num_hidden=8, target_embedding_size=5, max_prediction=LIMIT)
    model = build_recognizer(config)
    rng = np.random.default_rng(5)
    model.decoder.output_projection.kernel.assign(rng.normal(0, 1.5, model.decoder.output_projection.kernel.shape))
    model.decoder.embedding.embeddings.assign(rng.normal(0, 2, model.decoder.embedding.embeddings.shape))
    images = rng.normal(0, 0.7, (3, 32, 48, 1)).astype(np.float32)
    return model, images, np.array([48, 48, 20], np.int32)


@pytest.fixture(scope="module")
def exhaustive(tiny):
    """Log-probability of each text, (3, number of texts)."""
    model, images, widths = tiny
    charset = model.config.charset
    table = np.zeros((len(images), len(TEXTS)))
    for j, text in enumerate(TEXTS):
        ids = charset.encode(text)
        logits, *_ = model(images, widths, np.repeat([[GO, *ids]], len(images), 0).astype(np.int32))
        steps = tf.nn.log_softmax(logits).numpy()
        table[:, j] = sum(steps[:, t, symbol] for t, symbol in enumerate([*ids, EOS]))
    return table


def ranks(table, texts=TEXTS):
    lengths = np.array([len(text) + 1 for text in texts])
    return table / ((5 + lengths) / 6) ** LENGTH_POWER


def read(tiny, beam=1, temperatures=(1.0,), stop_early=True, **settings):
    model, images, widths = tiny
    constraints, _ = make_constraints(ReadConfig(**settings), model.config.charset, model.config.max_steps)
    return model.read(
        *(images, widths), beam=beam, temperatures=temperatures, constraints=constraints, stop_early=stop_early
    )


def texts_of(tiny, reading):
    return [tiny[0].config.charset.decode(ids) for ids in reading.ids.numpy()]


def test_full_beam_finds_every_text_in_order(tiny, exhaustive):
    reading = read(tiny, beam=FULL_BEAM)
    log_probs = reading.log_probs[:, :, 0].numpy()
    for b, table in enumerate(exhaustive):
        order = np.argsort(-ranks(table), kind="stable")
        texts = [tiny[0].config.charset.decode(ids) for ids in reading.beam_ids[b].numpy()[: len(TEXTS)]]
        assert texts == [TEXTS[j] for j in order]
        np.testing.assert_allclose(log_probs[b, : len(TEXTS)], table[order], atol=1e-4)
        assert np.all(log_probs[b, len(TEXTS) :] <= NEVER)
        np.testing.assert_allclose(reading.confidence[b], np.exp(table[order[0]]), rtol=1e-4)


@pytest.mark.parametrize("beam", [1, 2, 3, 7])
def test_beams_are_distinct_and_sorted_with_true_probabilities(tiny, exhaustive, beam):
    reading = read(tiny, beam=beam)
    for b in range(3):
        texts = [tiny[0].config.charset.decode(ids) for ids in reading.beam_ids[b].numpy()]
        assert len(set(texts)) == beam == len(texts)
        indices = [TEXTS.index(text) for text in texts]
        np.testing.assert_allclose(reading.log_probs[b, :, 0], exhaustive[b][indices], atol=1e-4)
        assert list(ranks(exhaustive[b])[indices]) == sorted(ranks(exhaustive[b])[indices], reverse=True)


def test_greedy_takes_the_most_likely_symbols(tiny):
    model, images, widths = tiny
    reading = read(tiny)
    for b in range(3):
        tokens = [GO]
        while tokens[-1] != EOS:
            logits, *_ = model(images[b : b + 1], widths[b : b + 1], np.array([tokens], np.int32))
            last = logits[0, -1].numpy()
            tokens.append(EOS if len(tokens) == LIMIT + 1 else EOS + int(last[EOS:].argmax()))
        assert reading.ids[b].numpy()[: len(tokens) - 1].tolist() == tokens[1:]


def test_attention_and_probabilities_of_a_beam(tiny):
    model, images, widths = tiny
    reading = read(tiny, beam=5)
    for b in range(3):
        ids = reading.ids[b].numpy().tolist()
        ids = ids[: ids.index(EOS) + 1]
        tokens = np.array([[GO, *ids[:-1]]], np.int32)
        logits, attention, _ = model(images[b : b + 1], widths[b : b + 1], tokens)
        np.testing.assert_allclose(reading.attention[b, : len(ids)], attention[0], atol=1e-5)
        expected = tf.nn.softmax(logits[0]).numpy()[np.arange(len(ids)), ids]
        np.testing.assert_allclose(reading.probabilities[b, : len(ids)], expected, rtol=1e-4)


def test_temperature_changes_only_the_confidence(tiny):
    model, images, widths = tiny
    cold, both = read(tiny), read(tiny, temperatures=(1.0, 2.5))
    np.testing.assert_array_equal(cold.ids, both.ids)
    np.testing.assert_allclose(both.log_probs[:, 0, 0], cold.log_probs[:, 0, 0], atol=1e-6)
    ids = both.ids[0].numpy().tolist()
    ids = ids[: ids.index(EOS) + 1]
    logits, *_ = model(images[:1], widths[:1], np.array([[GO, *ids[:-1]]], np.int32))
    scaled = tf.nn.log_softmax(logits[0] / 2.5).numpy()[np.arange(len(ids)), ids].sum()
    np.testing.assert_allclose(both.log_probs[0, 0, 1], scaled, atol=1e-4)
    np.testing.assert_allclose(both.confidence[0], np.exp(scaled), rtol=1e-4)


PATTERNS = ["[ab]{2}1?", "a*", "1(a|b)+", "(ab|ba)1|", "[^a]{1,2}", "b|bb|bbb", "a.1", "a{0}"]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_pattern_against_re_on_every_text(tiny, exhaustive, pattern):
    matches = np.array([re.fullmatch(pattern, text) is not None for text in TEXTS])
    reading = read(tiny, beam=FULL_BEAM, pattern=pattern)
    best = np.where(matches, ranks(exhaustive), -np.inf).argmax(1)
    assert texts_of(tiny, reading) == [TEXTS[j] for j in best]
    np.testing.assert_allclose(
        reading.log_probs[:, 0, 0], exhaustive[np.arange(3), best], atol=1e-4
    )  # the model's own probability, not renormalised over the texts that match
    assert ((reading.log_probs[:, :, 0].numpy() > NEVER).sum(1) == matches.sum()).all()
    for beam in (1, 2):
        assert all(re.fullmatch(pattern, text) for text in texts_of(tiny, read(tiny, beam=beam, pattern=pattern)))


def test_greedy_reading_avoids_patterns_that_cannot_end(tiny):
    """After `a`, only texts longer than the limit would match."""
    assert set(texts_of(tiny, read(tiny, pattern="a[ab1]{9}|1"))) == {"1"}


def test_pattern_longer_than_the_models_limit(tiny):
    with pytest.raises(ConfigError, match="shortest text has 4 characters, the model writes up to 3"):
        read(tiny, pattern="a{4}")


WORDS = ["ab1", "ba", "b", "11", "aab"]


@pytest.fixture
def lexicon(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("\n".join(WORDS), encoding="utf-8")
    return str(path)


def test_lexicon(tiny, exhaustive, lexicon):
    matches = np.array([text in WORDS for text in TEXTS])
    best = np.where(matches, ranks(exhaustive), -np.inf).argmax(1)
    reading = read(tiny, beam=FULL_BEAM, lexicon=lexicon)
    assert texts_of(tiny, reading) == [TEXTS[j] for j in best]
    assert set(texts_of(tiny, read(tiny, lexicon=lexicon))) <= set(WORDS)


@pytest.mark.parametrize("weight", [0.3, 1.0, 4.0])
def test_soft_lexicon(tiny, exhaustive, lexicon, weight):
    cost = np.array([0.0 if text in WORDS else weight for text in TEXTS])
    best = ranks(exhaustive - cost).argmax(1)
    reading = read(tiny, beam=FULL_BEAM, lexicon=lexicon, lexicon_weight=weight)
    assert texts_of(tiny, reading) == [TEXTS[j] for j in best]
    np.testing.assert_allclose(reading.log_probs[:, 0, 0], exhaustive[np.arange(3), best], atol=1e-4)


@pytest.mark.parametrize("beam", [FULL_BEAM, 6])
def test_lexicon_with_frequencies(tiny, exhaustive, tmp_path, beam):
    frequencies = {"ab1": 8.0, "ba": 1.0, "b": 0.5, "11": 2.0, "aab": 1e-9}
    path = tmp_path / "words.txt"
    path.write_text("".join(f"{text}\t{number}\n" for text, number in frequencies.items()), encoding="utf-8")
    cost = np.full(len(TEXTS), 4.0)
    for text, number in frequencies.items():
        cost[TEXTS.index(text)] = min(FREQUENCY_POWER * np.log(8.0 / number), 4.0)
    scores = exhaustive - cost
    reading = read(tiny, beam=beam, lexicon=str(path), lexicon_weight=4.0)
    if beam == FULL_BEAM:
        assert texts_of(tiny, reading) == [TEXTS[j] for j in ranks(scores).argmax(1)]
    # the confidence is the text's share of all texts, weighted by their costs
    chosen = [TEXTS.index(text) for text in texts_of(tiny, reading)]
    rest = (1 - np.exp(exhaustive).sum(1)) * np.exp(-4.0)  # PAD, GO and longer texts
    expected = np.exp(scores[np.arange(3), chosen]) / (np.exp(scores).sum(1) + rest)
    np.testing.assert_allclose(reading.confidence, expected, rtol=1e-3 if beam == FULL_BEAM else 0.3)


def test_pattern_and_lexicon(tiny, lexicon):
    assert set(texts_of(tiny, read(tiny, lexicon=lexicon, pattern=".*1"))) <= {"ab1", "11"}
    with pytest.raises(ConfigError):
        make_constraints(ReadConfig(pattern="[x-z]+"), Charset(SYMBOLS), LIMIT + 1)


@pytest.fixture(scope="module")
def endless():
    """A network with uniform attention that never ends a text by itself."""
    keras.utils.set_random_seed(3)
    config = ModelConfig(Charset(SYMBOLS), attn_num_hidden=8, target_embedding_size=5, max_prediction=40)
    model = build_recognizer(config)
    for weight in (model.decoder.attention.v, model.decoder.attention.offset_bias):
        weight.assign(np.zeros(weight.shape))
    projection = model.decoder.output_projection
    projection.bias.assign(np.where(np.arange(projection.bias.shape[0]) == EOS, -50.0, 0.0))
    images = np.random.default_rng(5).normal(0, 0.7, (2, 32, 48, 1)).astype(np.float32)
    return model, images, np.array([48, 24], np.int32)


@pytest.mark.parametrize("beam", [1, 3])
def test_text_ends_soon_after_the_last_symbol_of_the_image(endless, beam):
    model, images, widths = endless
    reading = read(endless, beam=beam)
    for b, counts in enumerate(model.encode(images, widths)[0].counts.numpy()[:, :12]):
        counts = counts[: widths[b] // 4]
        position, steps = 0.0, 0
        while position <= counts[-1] + MAX_OVERRUN:
            ahead = counts - (position + 1)
            near = np.exp(-(ahead**2) / 2) / len(counts)
            position += 1 + (near @ ahead) / (near.sum() + 0.1)
            steps += 1
        ids = reading.ids[b].numpy().tolist()
        assert ids.index(EOS) + 1 == steps < model.config.max_steps
        assert reading.confidence[b] < 1e-15  # the forced end is as unlikely as the network says


def test_pattern_overrides_the_end_of_the_text(endless):
    for pattern in ("a{30}", "(ab){15}"):
        assert all(re.fullmatch(pattern, text) for text in texts_of(endless, read(endless, pattern=pattern)))


def test_specials_are_never_read(tiny):
    reading = read(tiny, beam=FULL_BEAM, stop_early=False)
    ids = reading.beam_ids.numpy()
    before_end = np.cumsum(ids == EOS, axis=2) == 0
    assert np.all(ids[before_end & (reading.log_probs[:, :, :1].numpy() > NEVER)] >= NUM_SPECIALS)
