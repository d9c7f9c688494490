"""Records -> padded batches: one path for training, validation and testing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from aocr.config import HEIGHTS, IMAGE_HEIGHT, ModelConfig
from aocr.data.augment import augment
from aocr.data.preprocess import preprocess
from aocr.data.records import check_end
from aocr.text.charset import EOS, GO, NUM_SPECIALS, PAD

CACHE_BYTES = 768 * 2**20
"""Decoded images are kept in memory up to this size; larger sets are decoded again each epoch."""
SHUFFLE_BYTES = 256 * 2**20
"""Records waiting in the shuffle buffer where the decoded set does not fit in memory."""
FILES_AT_ONCE = 8
"""Files that are read side by side in such a set."""
FINE_PIXELS = 16_000
"""Pixels of an image, such as 48 x 333, up to which it is read at more than the least height."""
EDGE_STEP = 8
"""Pixels between the widths that a bucket may have."""
BUCKET_COST = 0.3
"""What another bucket costs in batches of its width: its last batch is part-filled."""
EASE_STEPS = 1000
"""Steps in which the variation of images grows from nothing: a network finds where the text stands sooner on plain
images."""
VALIDATION_SHARE = 20
"""One record in this many goes to the hash split for validation."""


class Batch(NamedTuple):
    """B images padded to one width, with their labels.

    Attributes:
      images: (B, H, W, C) float32, right of an image padding.
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
      edges: widest image of each bucket in pixels as the network sees it, ascending; batches are padded to it.
      batch_size: images a batch.
    """

    edges: tuple[int, ...]
    batch_size: int

    def num_batches(self, widths: np.ndarray) -> int:
        """Batches that images of these widths make in one epoch."""
        bucket = np.searchsorted(self.edges, widths, side="left")
        return int(sum(-(-count // self.batch_size) for count in np.bincount(bucket)))


def plan_batches(widths: np.ndarray, batch_size: int, config: ModelConfig) -> BatchPlan:
    """Choose the bucket edges that cost least: the pixels of all images padded, and `BUCKET_COST` a bucket.

    Args:
      widths: (N,) widths in pixels as the network sees them.
      batch_size: images a batch.
      config: of the network.
    """
    if config.traits.fixed_width:
        return BatchPlan((config.network_width,), batch_size)
    steps = -(-widths // EDGE_STEP)
    below = np.concatenate([[0], np.bincount(steps)[1:].cumsum()])  # images of at most so many steps
    least, start = np.zeros(len(below)), np.zeros(len(below), int)
    for edge in range(1, len(below)):
        images = below[edge] - below[:edge]
        costs = least[:edge] + edge * (images + BUCKET_COST * batch_size * (images > 0))
        start[edge] = np.argmin(costs)
        least[edge] = costs[start[edge]]
    edges, edge = [], len(below) - 1
    while below[edge]:
        edges.append(edge * EDGE_STEP)
        edge = int(start[edge])
    return BatchPlan(tuple(reversed(edges)), batch_size)


def widths_at(height: int, sizes: np.ndarray) -> np.ndarray:
    """Images brought to a height, their aspect kept: (N, 2) original (width, height) -> (N,) widths in pixels."""
    return np.ceil(sizes[:, 0] / np.maximum(sizes[:, 1], 1) * height).astype(np.int64)


def height_for(sizes: np.ndarray) -> int:
    """Height the default network reads a set at: small letters keep their strokes, where that does not cost too much.

    Args:
      sizes: (N, 2) original (width, height).

    Returns:
      The largest of `HEIGHTS` that half the images have, and at which half of them have `FINE_PIXELS` at the most; at
      least 32.
    """
    for height in reversed(HEIGHTS):
        if np.median(sizes[:, 1]) >= height and np.median(widths_at(height, sizes)) * height <= FINE_PIXELS:
            return height
    return IMAGE_HEIGHT


def network_widths(sizes: np.ndarray, config: ModelConfig) -> np.ndarray:
    """Widths the network sees: (N, 2) original (width, height) -> (N,) pixels."""
    return np.minimum(widths_at(config.height, sizes), config.network_width)


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
        ids = tf.ensure_shape(tf.pad(ids, [[0, size - tf.size(ids)]]), (size,))  # else they are padded as images are
        return ids, tf.minimum(length, size - 1), known

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


class Share(NamedTuple):
    """Which part of the training data a worker takes.

    Attributes:
      worker: its number, from 0.
      num_workers: that share the data.
      by_file: whether each takes whole files; else all read every file and each takes its rows of every batch.
    """

    worker: int = 0
    num_workers: int = 1
    by_file: bool = False


WHOLE = Share()


def share_of(tensors: Sequence[tf.Tensor], number, count: int) -> list[tf.Tensor]:
    """The rows of a batch that taker `number` of `count` gets, one at the least.

    Returns:
      The sliced tensors, and a scalar float32: 1, or 0 where there are more takers than rows and these rows are
      another's too, to be counted nothing.
    """
    size = tf.shape(tensors[0])[0]
    start, stop = size * number // count, size * (number + 1) // count
    counted = tf.cast(stop > start, tf.float32)
    start = tf.minimum(start, size - 1)
    return [tensor[start : tf.maximum(stop, start + 1)] for tensor in tensors] + [counted]


class Summary(NamedTuple):
    """What one look at every record tells. N records.

    Attributes:
      labels: N texts.
      sizes: (N, 2) int width and height in pixels.
      held_out: (N,) bool, in the hash split for validation.
      num_bytes: bytes of all encoded images.
      files: (N,) int, number of the file each is in.
    """

    labels: list[str]
    sizes: np.ndarray
    held_out: np.ndarray
    num_bytes: int
    files: np.ndarray


def summarise(paths: Sequence[str]) -> Summary:
    """Read labels and sizes of all records without decoding an image.

    Raises:
      DatasetError: a file is cut off within the head of a record.
      tf.errors.OpError: it is cut off or damaged elsewhere, or another program's.
    """

    def look(serialized):
        parsed = tf.io.parse_example(serialized, _FEATURES)
        size = tf.stack([parsed["width"], parsed["height"]], 1)
        num_bytes = tf.reduce_sum(tf.strings.length(parsed["image"])), tf.reduce_sum(tf.strings.length(serialized))
        return parsed["label"], size, in_validation(parsed["image"]), *num_bytes

    labels, sizes, held_out, files, num_bytes = [], [], [], [], 0
    for number, path in enumerate(paths):
        num_before, file_bytes = len(labels), 0
        for label, size, held, image_bytes, record_bytes in tf.data.TFRecordDataset(path).batch(1024).map(look):
            labels += [value.decode("utf-8") for value in label.numpy()]
            sizes.append(size.numpy())
            held_out.append(held.numpy())
            files.append(np.full(len(label), number))
            num_bytes += int(image_bytes)
            file_bytes += int(record_bytes)
        check_end(path, len(labels) - num_before, file_bytes)
    return Summary(labels, *map(np.concatenate, (sizes, held_out)), num_bytes, np.concatenate(files))


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
      share: which part `endless` gives; `paths`, `plan` and `summary` are those of the whole dataset.
      num_batches: batches of `endless` an epoch where `share.by_file`; a worker with fewer of its own fills up
        with batches that count nothing.
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
        share: Share = WHOLE,
        num_batches: int = 0,
    ):
        self.config, self.plan, self._share, self._num_batches = config, plan, share, num_batches
        self.num_records = len(summary.labels)
        if share.by_file:
            paths = paths[share.worker :: share.num_workers]
            self.num_records = int((summary.files % share.num_workers == share.worker).sum())
        self._paths = list(paths)
        records = tf.data.TFRecordDataset(self._paths).enumerate()
        self._load = self._loader(part, keep_source, drop_unknown)
        pixels = int(network_widths(summary.sizes, config).sum()) * config.height * config.channels
        self._cached = pixels * 4 <= CACHE_BYTES and not keep_source
        if self._cached:
            self._examples = self._load(records).cache()
            self._buffer = self.num_records
        else:
            self._examples = records
            mean_bytes = max(1, summary.num_bytes // max(1, len(summary.labels)))
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
        """Examples -> batches of similar width."""
        pad_value = self.config.traits.pad_value
        specs = examples.element_spec
        grouped = examples.bucket_by_sequence_length(
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
        return grouped.map(self._finish)

    @staticmethod
    def _finish(images, widths, scales, ids, lengths, index, label, comment, record) -> Batch:
        ids = ids[:, : tf.reduce_max(lengths) + 1]
        weights = tf.cast(tf.range(tf.shape(ids)[1])[None] <= lengths[:, None], tf.float32)
        tokens = tf.concat([tf.fill((tf.shape(ids)[0], 1), GO), ids[:, :-1]], 1)
        return Batch(images, widths, scales, tokens, ids, weights, lengths, index, label, comment, record)

    def in_order(self, worker: int = 0, num_workers: int = 1) -> tf.data.Dataset:
        """Every record once, grouped by width, nothing random; of several workers each takes some of the batches."""
        examples = self._examples if self._cached else self._load(self._examples)
        return self._group(examples).shard(num_workers, worker).prefetch(2)

    def _of_worker(self, batch: Batch) -> Batch:
        """This worker's rows of a batch of all."""
        if self._share.num_workers == 1 or self._share.by_file:
            return batch
        *rows, counted = share_of(batch, self._share.worker, self._share.num_workers)
        batch = Batch(*rows)
        return batch._replace(weights=batch.weights * counted)

    def _fill_up(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        """Exactly the epoch's number of batches, where each worker has its own."""
        if not self._share.by_file:
            return batches
        first = self._examples if self._cached else self._load(self._examples)

        def uncounted(batch):
            return batch._replace(weights=tf.zeros_like(batch.weights))

        return batches.concatenate(self._group(first.take(1)).map(uncounted).repeat()).take(self._num_batches)

    def _files_mixed(self, seed: tf.Tensor) -> tf.data.Dataset:
        """The records with the files in random order and read side by side, for the buffer to mix further."""
        files = tf.data.Dataset.from_tensor_slices(self._paths)
        files = files.shuffle(len(self._paths), seed=seed, reshuffle_each_iteration=False)
        return files.interleave(tf.data.TFRecordDataset, cycle_length=FILES_AT_ONCE, block_length=16).enumerate()

    def endless(self, epoch: int, skip: int, seed: int, strength: float) -> tf.data.Dataset:
        """Epoch after epoch, each in its own random order, without end and without a pause between them.

        Args:
          epoch: number of the first epoch, from 0; with `seed` it fixes order and augmentation.
          skip: batches of the first epoch to leave out (they were trained on before a restart).
          seed: of the training.
          strength: of the variation of images, reached after `EASE_STEPS` steps; 0: none.

        Returns:
          Elements (epoch, number of the batch in it, Batch).
        """

        steps_per_epoch = self._num_batches or -(-self.num_records // self.plan.batch_size)

        def one_epoch(number):
            mixed = (number * 1_000_003 + seed * 7_919) % (2**31 - 1)
            examples = self._examples if self._cached else self._files_mixed(mixed)
            examples = examples.shuffle(self._buffer, seed=mixed, reshuffle_each_iteration=False)
            if not self._cached:
                examples = self._load(examples)
            batches = self._fill_up(self._group(examples))
            batches = batches.enumerate().skip(tf.where(number == epoch, tf.cast(skip, tf.int64), 0))
            return batches.map(lambda i, batch: (number, i, mixed, batch))

        def finish(number, i, mixed, batch):
            batch = self._of_worker(batch)
            if strength:
                seeds = tf.cast(tf.stack([mixed + self._share.worker, i]), tf.int32)
                eased = tf.minimum(1.0, tf.cast(number * steps_per_epoch + i, tf.float32) / EASE_STEPS)
                varied = augment(batch.images, batch.widths, seeds, strength * eased)
                batch = batch._replace(images=varied)
            return number, i, batch

        epochs = tf.data.Dataset.range(epoch, 2**31).flat_map(one_epoch)
        return epochs.map(finish, num_parallel_calls=2).prefetch(2)
