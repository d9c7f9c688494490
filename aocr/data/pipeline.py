"""Records -> padded batches: one path for training, validation and testing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from aocr.charset import EOS, GO, NUM_SPECIALS, PAD
from aocr.config import IMAGE_HEIGHT, ModelConfig
from aocr.data.augment import augment
from aocr.data.preprocess import preprocess

CACHE_BYTES = 768 * 2**20
"""Decoded images are kept in memory up to this size; larger sets are decoded again each epoch."""
SHUFFLE_BYTES = 256 * 2**20
"""Records waiting in the shuffle buffer where the decoded set does not fit in memory."""
VALIDATION_SHARE = 20
"""One record in this many goes to the hash split for validation."""


class Batch(NamedTuple):
    """B images padded to one width, with their labels.

    Attributes:
      images: (B, 32, W, C) float32, right of an image padding.
      widths: (B,) int32 valid pixels.
      scales: (B,) float32 original pixels a pixel spans.
      tokens: (B, T) int32 decoder inputs, GO first.
      targets: (B, T) int32 symbols, EOS, then PAD.
      weights: (B, T) float32, 1 up to EOS, then 0.
      lengths: (B,) int32 number of symbols.
      index: (B,) int64 number of the record in its dataset, from 0.
      label, comment, record: (B,) strings, `record` the encoded image; comment and record only where asked.
    """

    images: tf.Tensor
    widths: tf.Tensor
    scales: tf.Tensor
    tokens: tf.Tensor
    targets: tf.Tensor
    weights: tf.Tensor
    lengths: tf.Tensor
    index: tf.Tensor
    label: tf.Tensor
    comment: tf.Tensor
    record: tf.Tensor


@dataclass(frozen=True)
class BatchPlan:
    """How records are grouped: by width, so that narrow words do not pay for wide ones.

    Attributes:
      edges: widest image of each bucket in pixels at height 32, ascending; batches are padded to it.
      batch_size: images a batch.
    """

    edges: tuple[int, ...]
    batch_size: int

    def num_batches(self, widths: np.ndarray) -> int:
        """Batches that images of these widths make in one epoch."""
        bucket = np.searchsorted(self.edges, widths, side="left")
        return int(sum(-(-count // self.batch_size) for count in np.bincount(bucket)))


def plan_batches(widths: np.ndarray, batch_size: int, config: ModelConfig, per_bucket: int = 4) -> BatchPlan:
    """Choose bucket edges so that each bucket fills `per_bucket` batches.

    Args:
      widths: (N,) widths in pixels at height 32 as the network sees them.
      batch_size: images a batch.
      config: of the network.
      per_bucket: batches a bucket should have at least, so that few batches are part-filled.
    """
    if config.arch == "classic":
        return BatchPlan((config.network_width,), batch_size)
    edges, taken, edge = [], 0, 16
    ordered = np.sort(widths)
    while taken < len(ordered):
        below = int(np.searchsorted(ordered, edge, side="right"))
        if below - taken >= per_bucket * batch_size or below == len(ordered):
            edges.append(edge)
            taken = below
        edge += max(16, edge // 8 // 16 * 16)
    edges[-1] = max(int(ordered[-1] + 3) // 4 * 4, 8)  # the last need not reach its step
    return BatchPlan(tuple(dict.fromkeys(sorted(edges))), batch_size)


def network_widths(sizes: np.ndarray, config: ModelConfig) -> np.ndarray:
    """Widths the network sees: (N, 2) original (width, height) -> (N,) pixels at height 32."""
    aspect = np.ceil(sizes[:, 0] / np.maximum(sizes[:, 1], 1) * IMAGE_HEIGHT).astype(np.int64)
    return np.minimum(aspect, config.network_width)


def _encode_labels(config: ModelConfig):
    """A function: scalar label -> (max_prediction + 1 ids: symbols, EOS, PAD; number of symbols; known)."""
    symbols = [ord(char) for char in config.charset.symbols]
    table = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(
            tf.constant(symbols, tf.int32), tf.range(NUM_SPECIALS, NUM_SPECIALS + len(symbols))
        ),
        default_value=-1,
    )
    size = config.max_prediction + 1

    def encode(label):
        ids = table.lookup(tf.strings.unicode_decode(label, "UTF-8"))
        length = tf.size(ids)
        known = tf.reduce_all(ids >= 0) & (length < size)
        ids = tf.concat([ids[: size - 1], [EOS]], 0)
        ids = tf.where(ids < 0, PAD, ids)
        return tf.pad(ids, [[0, size - tf.size(ids)]]), tf.minimum(length, size - 1), known

    return encode


_FEATURES = {
    "image": tf.io.FixedLenFeature((), tf.string),
    "label": tf.io.FixedLenFeature((), tf.string),
    "comment": tf.io.FixedLenFeature((), tf.string, default_value=""),
    "width": tf.io.FixedLenFeature((), tf.int64, default_value=0),
    "height": tf.io.FixedLenFeature((), tf.int64, default_value=0),
}


def in_validation(image: tf.Tensor) -> tf.Tensor:
    """Whether records with these encoded images belong to the hash split: equal images fall together."""
    return tf.strings.to_hash_bucket_fast(image, VALIDATION_SHARE) == 0


class Summary(NamedTuple):
    """What one look at every record tells. N records.

    Attributes:
      labels: N texts.
      sizes: (N, 2) int width and height in pixels.
      held_out: (N,) bool, in the hash split for validation.
      num_bytes: bytes of all encoded images.
    """

    labels: list[str]
    sizes: np.ndarray
    held_out: np.ndarray
    num_bytes: int


def summarise(paths: Sequence[str]) -> Summary:
    """Read labels and sizes of all records without decoding an image."""

    def look(serialized):
        parsed = tf.io.parse_example(serialized, _FEATURES)
        size = tf.stack([parsed["width"], parsed["height"]], 1)
        num_bytes = tf.reduce_sum(tf.strings.length(parsed["image"]))
        return parsed["label"], size, in_validation(parsed["image"]), num_bytes

    labels, sizes, held_out, num_bytes = [], [], [], 0
    for label, size, held, count in tf.data.TFRecordDataset(list(paths)).batch(1024).map(look):
        labels += [value.decode("utf-8") for value in label.numpy()]
        sizes.append(size.numpy())
        held_out.append(held.numpy())
        num_bytes += int(count)
    return Summary(labels, np.concatenate(sizes), np.concatenate(held_out), num_bytes)


class Batches:
    """The batches of one dataset, epoch by epoch, in an order fixed by the seed.

    Args:
      paths: TFRecord files written by aocr.
      config: of the network.
      plan: how to group.
      summary: of the same paths.
      part: `all`, `training` or `validation` of the hash split.
      keep_source: whether batches carry comment and encoded image.
      drop_unknown: whether records whose label is outside the charset or too long are left out.
    """

    def __init__(
        self,
        paths: Sequence[str],
        config: ModelConfig,
        plan: BatchPlan,
        summary: Summary,
        part: str = "all",
        keep_source: bool = False,
        drop_unknown: bool = False,
    ):
        self.config, self.plan = config, plan
        self.num_records = len(summary.labels)
        records = tf.data.TFRecordDataset(list(paths)).enumerate()
        self._load = self._loader(part, keep_source, drop_unknown)
        pixels = int(network_widths(summary.sizes, config).sum()) * IMAGE_HEIGHT * config.channels
        self._cached = pixels * 4 <= CACHE_BYTES and not keep_source
        if self._cached:
            self._examples = self._load(records).cache()
            self._buffer = self.num_records
        else:
            self._examples = records
            mean_bytes = max(1, summary.num_bytes // max(1, self.num_records))
            self._buffer = min(self.num_records, max(plan.batch_size * 4, SHUFFLE_BYTES // mean_bytes))

    def _loader(self, part: str, keep_source: bool, drop_unknown: bool):
        encode = _encode_labels(self.config)

        def parse(index, serialized):
            return {"index": index, **tf.io.parse_single_example(serialized, _FEATURES)}

        def in_part(record):
            return in_validation(record["image"]) == (part == "validation")

        def load(record):
            image, width, scale = preprocess(record["image"], self.config)
            ids, length, known = encode(record["label"])
            source = (record["comment"], record["image"]) if keep_source else ("", "")
            return known, (image, width, scale, ids, length, record["index"], record["label"], *source)

        def chain(records):
            parsed = records.map(parse, num_parallel_calls=tf.data.AUTOTUNE)
            if part != "all":
                parsed = parsed.filter(in_part)
            loaded = parsed.map(load, num_parallel_calls=tf.data.AUTOTUNE)
            if drop_unknown:
                loaded = loaded.filter(lambda known, _: known)
            return loaded.map(lambda _, element: element)

        return chain

    def _group(self, examples: tf.data.Dataset) -> tf.data.Dataset:
        pad_value = -1.0 if self.config.arch == "classic" else 0.0
        specs = examples.element_spec
        return examples.bucket_by_sequence_length(
            lambda image, width, *_: tf.shape(image)[1],
            [edge + 1 for edge in self.plan.edges],
            [self.plan.batch_size] * (len(self.plan.edges) + 1),
            pad_to_bucket_boundary=True,
            padded_shapes=tuple(spec.shape for spec in specs),
            padding_values=tuple(
                tf.constant(pad_value if i == 0 else "" if spec.dtype == tf.string else 0, spec.dtype)
                for i, spec in enumerate(specs)
            ),
        )

    @staticmethod
    def _finish(images, widths, scales, ids, lengths, index, label, comment, record) -> Batch:
        ids = ids[:, : tf.reduce_max(lengths) + 1]
        weights = tf.cast(tf.range(tf.shape(ids)[1])[None] <= lengths[:, None], tf.float32)
        tokens = tf.concat([tf.fill((tf.shape(ids)[0], 1), GO), ids[:, :-1]], 1)
        return Batch(images, widths, scales, tokens, ids, weights, lengths, index, label, comment, record)

    def in_order(self) -> tf.data.Dataset:
        """Every record once, grouped by width, nothing random."""
        examples = self._examples if self._cached else self._load(self._examples)
        return self._group(examples).map(self._finish).prefetch(2)

    def endless(self, epoch: int, skip: int, seed: int, strength: float) -> tf.data.Dataset:
        """Epoch after epoch, each in its own random order, without end and without a pause between them.

        Args:
          epoch: number of the first epoch, from 0; with `seed` it fixes order and augmentation.
          skip: batches of the first epoch to leave out (they were trained on before a restart).
          seed: of the training.
          strength: of the variation of images; 0: none.

        Returns:
          Elements (epoch, number of the batch in it, Batch).
        """

        def one_epoch(number):
            mixed = (number * 1_000_003 + seed * 7_919) % (2**31 - 1)
            examples = self._examples.shuffle(self._buffer, seed=mixed, reshuffle_each_iteration=False)
            if not self._cached:
                examples = self._load(examples)
            batches = self._group(examples).enumerate().skip(tf.where(number == epoch, tf.cast(skip, tf.int64), 0))
            return batches.map(lambda i, parts: (number, i, mixed, parts))

        def finish(number, i, mixed, parts):
            batch = self._finish(*parts)
            if strength:
                images = augment(batch.images, batch.widths, tf.cast(tf.stack([mixed, i]), tf.int32), strength)
                batch = batch._replace(images=images)
            return number, i, batch

        epochs = tf.data.Dataset.range(epoch, 2**31).flat_map(one_epoch)
        return epochs.map(finish, num_parallel_calls=2).prefetch(2)
