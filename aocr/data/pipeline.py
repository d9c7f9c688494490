"""Padded batches of records, for training, validation and testing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from aocr.config import ModelConfig
from aocr.data.augment import augment
from aocr.data.automatic import network_widths, split_key
from aocr.data.batching import WHOLE, BatchPlan, Share, share_of
from aocr.data.datasets import FEATURES, Summary
from aocr.data.preprocess import preprocess
from aocr.data.records import without_autograph, without_autotune
from aocr.text.charset import EOS, GO, NUM_SPECIALS, PAD

CACHE_BYTES = 768 * 2**20
"""Upper limit of decoded images kept in memory; larger sets are decoded again each epoch."""
SHUFFLE_BYTES = 256 * 2**20
"""Size of the shuffle buffer of records if the decoded set is larger than the cache."""
FILES_AT_ONCE = 8
"""Files that are read in parallel if the decoded set is larger than the cache."""
WARM_UP_STEPS = 1000
"""Steps over which augmentation grows from zero: a network finds the text sooner in plain images."""


class Batch(NamedTuple):
    """B images padded to one width, with their labels."""

    images: tf.Tensor
    """(B, H, W, C) float32, padded on the right."""
    widths: tf.Tensor
    """(B,) int32 valid pixels."""
    scales: tf.Tensor
    """(B,) float32 original pixels per pixel."""
    tokens: tf.Tensor
    """(B, T) int32 decoder inputs, GO first."""
    targets: tf.Tensor
    """(B, T) int32 symbols, EOS, then PAD."""
    weights: tf.Tensor
    """(B, T) float32, 1 up to EOS, then 0."""
    index: tf.Tensor
    """(B,) int64 index of the record in its dataset."""
    label: tf.Tensor
    """(B,) strings."""
    comment: tf.Tensor
    """(B,) strings; empty without `keep_source`."""
    record: tf.Tensor
    """(B,) encoded images; empty without `keep_source`."""


def _label_encoder(config: ModelConfig) -> Callable:
    """Return a function: label -> (max_prediction + 1 ids: symbols, EOS, PAD; number of symbols; is encodable)."""
    symbols = [ord(char) for char in config.charset.symbols]
    ids = tf.range(NUM_SPECIALS, NUM_SPECIALS + len(symbols))
    initializer = tf.lookup.KeyValueTensorInitializer(tf.constant(symbols, tf.int32), ids)
    table = tf.lookup.StaticHashTable(initializer, default_value=-1)
    size = config.max_prediction + 1

    def encode(label):
        ids = table.lookup(tf.strings.unicode_decode(label, "UTF-8"))
        length = tf.size(ids)
        is_encodable = tf.reduce_all(ids >= 0) & (length < size)
        ids = tf.concat([ids[: size - 1], [EOS]], 0)
        ids = tf.where(ids < 0, PAD, ids)
        ids = tf.ensure_shape(tf.pad(ids, [[0, size - tf.size(ids)]]), (size,))  # otherwise padded like images
        return ids, tf.minimum(length, size - 1), is_encodable

    return encode


def _membership(numbers: np.ndarray) -> Callable:
    """Return a function: scalar int64 -> whether `numbers` contains it."""
    if not len(numbers):  # a table cannot be empty
        return lambda number: tf.constant(False)
    initializer = tf.lookup.KeyValueTensorInitializer(tf.constant(numbers, tf.int64), tf.ones(len(numbers), tf.int64))
    table = tf.lookup.StaticHashTable(initializer, default_value=0)
    return lambda number: table.lookup(number) > 0


class Batches:
    """The batches of one dataset, epoch by epoch, in an order fixed by the seed.

    Args:
      paths: TFRecord files written by aocr; `summary` describes them.
      part: `all`, `validation` (the records that `summary` holds out) or `training` (the others).
      keep_source: whether batches contain comments and encoded images.
      drop_unknown: whether to leave out records whose label is outside the charset or too long.
      share: the part that `training_batches` returns; `paths` and `summary` are those of the whole dataset.
      warm_up_augmentation: whether augmentation grows from zero; a pretrained network needs no warm-up.
    """

    @without_autograph
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
        warm_up_augmentation: bool = True,
    ):
        self.config, self.plan, self._share = config, plan, share
        self._part, self._keep_source, self._drop_unknown = part, keep_source, drop_unknown
        self._warm_up_steps = WARM_UP_STEPS if warm_up_augmentation else 1
        self._encode_label = _label_encoder(config)
        if part != "all":  # otherwise no record is filtered
            self._is_held_out = _membership(np.unique(summary.split_keys[summary.held_out]))
        self.num_records = len(summary.labels)
        if share.by_file:
            paths = paths[share.worker :: share.num_workers]
            self.num_records = int((summary.files % share.num_workers == share.worker).sum())
        self._paths = list(paths)
        records = tf.data.TFRecordDataset(self._paths).enumerate()
        pixels = int(network_widths(summary.sizes, config).sum()) * config.height * config.channels
        self._is_cached = pixels * 4 <= CACHE_BYTES and not keep_source
        if self._is_cached:
            self._examples = self._load(records).cache()
            self._buffer = self.num_records
        else:
            self._examples = records
            mean_bytes = max(1, summary.num_bytes // max(1, len(summary.labels)))
            self._buffer = min(self.num_records, max(plan.batch_size * 4, SHUFFLE_BYTES // mean_bytes))

    def _load(self, records: tf.data.Dataset) -> tf.data.Dataset:
        """Decode numbered records of `part` to examples: images with encoded labels."""

        def parse(index, serialized):
            return {"index": index, **tf.io.parse_single_example(serialized, FEATURES)}

        def decode(record):
            image, width, scale = preprocess(record["image"], self.config)
            ids, length, is_encodable = self._encode_label(record["label"])
            source = (record["comment"], record["image"]) if self._keep_source else ("", "")
            return is_encodable, (image, width, scale, ids, length, record["index"], record["label"], *source)

        def is_in_part(record):
            return self._is_held_out(split_key(record["image"])) == (self._part == "validation")

        parsed = records.map(parse, num_parallel_calls=tf.data.AUTOTUNE)
        if self._part != "all":
            parsed = parsed.filter(is_in_part)
        decoded = parsed.map(decode, num_parallel_calls=tf.data.AUTOTUNE)
        if self._drop_unknown:
            decoded = decoded.filter(lambda is_encodable, _: is_encodable)
        return decoded.map(lambda _, example: example)

    def _loaded(self) -> tf.data.Dataset:
        """Return all examples in the order of the records."""
        return self._examples if self._is_cached else self._load(self._examples)

    def _group(self, examples: tf.data.Dataset) -> tf.data.Dataset:
        """Group examples into batches of similar width."""
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
        return grouped.map(self._to_batch)

    @staticmethod
    def _to_batch(images, widths, scales, ids, lengths, index, label, comment, record) -> Batch:
        ids = ids[:, : tf.reduce_max(lengths) + 1]
        weights = tf.cast(tf.range(tf.shape(ids)[1])[None] <= lengths[:, None], tf.float32)
        tokens = tf.concat([tf.fill((tf.shape(ids)[0], 1), GO), ids[:, :-1]], 1)
        return Batch(images, widths, scales, tokens, ids, weights, index, label, comment, record)

    @without_autograph
    def sorted_batches(self, worker: int = 0, num_workers: int = 1) -> tf.data.Dataset:
        """Return every record once, in batches of similar width and fixed order; workers divide the batches."""
        return without_autotune(self._group(self._loaded()).shard(num_workers, worker).prefetch(2))

    def window(self, start: tf.Tensor, count: int) -> tf.data.Dataset:
        """Return `count` examples from record `start` on; the last record is followed by the first."""
        records = tf.data.TFRecordDataset(self._paths).repeat().skip(start).take(count)
        return self._load(records.enumerate())

    @without_autograph
    def window_batches(self, start: int, count: int) -> tf.data.Dataset:
        """Return the examples of `window` in batches of similar width."""
        return without_autotune(self._group(self.window(tf.constant(start, tf.int64), count)).prefetch(2))

    def _with_extra(self, examples: tf.data.Dataset, extra: Batches | None, number: tf.Tensor) -> tf.data.Dataset:
        """Interleave the examples of epoch `number` with up to as many from `extra`."""
        if extra is None:
            return examples
        count = min(self.num_records, extra.num_records)
        total = self.num_records + count
        turns = tf.data.Dataset.range(total).map(lambda i: (i + 1) * count // total - i * count // total)
        others = extra.window(number * count % extra.num_records, count)
        return tf.data.Dataset.choose_from_datasets([examples, others], turns, stop_on_empty_dataset=True)

    def _rows_of_worker(self, batch: Batch) -> Batch:
        """Return this worker's rows of a batch of all workers."""
        if self._share.num_workers == 1 or self._share.by_file:
            return batch
        *rows, weight = share_of(batch, self._share.worker, self._share.num_workers)
        batch = Batch(*rows)
        return batch._replace(weights=batch.weights * weight)

    def _fill_up(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        """Append batches of weight 0 to an epoch, so that all workers have the same number."""
        if not self._share.by_file:
            return batches

        def without_weight(batch):
            return batch._replace(weights=tf.zeros_like(batch.weights))

        filler = self._group(self._loaded().take(1)).map(without_weight).repeat()
        return batches.concatenate(filler).take(self._share.num_batches)

    def _shuffled_files(self, seed: tf.Tensor) -> tf.data.Dataset:
        """Read the files in random order, several in parallel; the buffer shuffles their records further."""
        files = tf.data.Dataset.from_tensor_slices(self._paths)
        files = files.shuffle(len(self._paths), seed=seed, reshuffle_each_iteration=False)
        return files.interleave(tf.data.TFRecordDataset, cycle_length=FILES_AT_ONCE, block_length=16).enumerate()

    @without_autograph
    def training_batches(
        self, epoch: int, skip: int, seed: int, strength: float, extra: Batches | None = None
    ) -> tf.data.Dataset:
        """Return the batches of endless epochs, each in its own random order.

        Args:
          epoch: index of the first epoch; an epoch's index and `seed` fix its order and augmentation.
          skip: batches of the first epoch to leave out, which were trained on before a restart.
          seed: seed of the training.
          strength: strength of augmentation, reached after `WARM_UP_STEPS` steps with `warm_up_augmentation`; 0: none.
          extra: other records, whose examples are interleaved one to one with those of each epoch; fewer of them are
            all used.

        Returns:
          Elements (epoch, index of the batch in the epoch, Batch).
        """
        steps_per_epoch = self._share.num_batches or -(-self.num_records // self.plan.batch_size)

        def one_epoch(number):
            epoch_seed = (number * 1_000_003 + seed * 7_919) % (2**31 - 1)
            examples = self._examples if self._is_cached else self._shuffled_files(epoch_seed)
            examples = examples.shuffle(self._buffer, seed=epoch_seed, reshuffle_each_iteration=False)
            if not self._is_cached:
                examples = self._load(examples)
            examples = self._with_extra(examples, extra, number)
            batches = self._fill_up(self._group(examples))
            batches = batches.enumerate().skip(tf.where(number == epoch, tf.cast(skip, tf.int64), 0))
            return batches.map(lambda i, batch: (number, i, epoch_seed, batch))

        def finish(number, i, epoch_seed, batch):
            batch = self._rows_of_worker(batch)
            if strength:
                seeds = tf.cast(tf.stack([epoch_seed + self._share.worker, i]), tf.int32)
                step = tf.cast(number * steps_per_epoch + i, tf.float32)
                warm_up = tf.minimum(1.0, step / self._warm_up_steps)
                augmented = augment(batch.images, batch.widths, seeds, strength * warm_up)
                batch = batch._replace(images=augmented)
            return number, i, batch

        epochs = tf.data.Dataset.range(epoch, 2**31).flat_map(one_epoch)
        return without_autotune(epochs.map(finish, num_parallel_calls=2).prefetch(2))
