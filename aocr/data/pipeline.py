"""Records -> padded batches: one path for training, validation and testing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from aocr.config import ModelConfig
from aocr.data.augment import augment
from aocr.data.automatic import network_widths, split_key
from aocr.data.batching import WHOLE, BatchPlan, Share, share_of
from aocr.data.datasets import FEATURES, Summary
from aocr.data.preprocess import preprocess
from aocr.data.records import without_autotune
from aocr.text.charset import EOS, GO, NUM_SPECIALS, PAD

CACHE_BYTES = 768 * 2**20
"""Decoded images are kept in memory up to this size; larger sets are decoded again each epoch."""
SHUFFLE_BYTES = 256 * 2**20
"""Records waiting in the shuffle buffer where the decoded set does not fit in memory."""
FILES_AT_ONCE = 8
"""Files that are read side by side in such a set."""
EASE_STEPS = 1000
"""Steps in which the variation of images grows from nothing: a network finds where the text stands sooner on plain
images."""


class Batch(NamedTuple):
    """B images padded to one width, with their labels.

    Attributes:
      images: (B, H, W, C) float32, right of an image padding.
      widths: (B,) int32 valid pixels.
      scales: (B,) float32 original pixels a pixel spans.
      tokens: (B, T) int32 decoder inputs, GO first.
      targets: (B, T) int32 symbols, EOS, then PAD.
      weights: (B, T) float32, 1 up to EOS, then 0.
      index: (B,) int64 number of the record in its dataset, from 0.
      label, comment, record: (B,) strings, `record` the encoded image; comment and record only where asked.
    """

    images: tf.Tensor
    widths: tf.Tensor
    scales: tf.Tensor
    tokens: tf.Tensor
    targets: tf.Tensor
    weights: tf.Tensor
    index: tf.Tensor
    label: tf.Tensor
    comment: tf.Tensor
    record: tf.Tensor


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


def _contains(numbers: np.ndarray):
    """A function: scalar int64 -> whether it is one of these."""
    table = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(tf.constant(numbers, tf.int64), tf.ones(len(numbers), tf.int64)),
        default_value=0,
    )
    return lambda number: table.lookup(number) > 0


class Batches:
    """The batches of one dataset, epoch by epoch, in an order fixed by the seed.

    Args:
      paths: TFRecord files written by aocr.
      config: of the network.
      plan: how to group.
      summary: of the same paths.
      part: `all`, `validation`, those that `summary` holds out, or `training`, the others.
      keep_source: whether batches carry comment and encoded image.
      drop_unknown: whether records whose label is outside the charset or too long are left out.
      share: which part `training_batches` gives; `paths` and `summary` are those of the whole dataset.
      warm_up_augmentation: whether augmentation grows from nothing at the start; a pretrained network needs no warm-up.
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
        warm_up_augmentation: bool = True,
    ):
        self.config, self.plan, self._share = config, plan, share
        self._ease_steps = EASE_STEPS if warm_up_augmentation else 1
        self.num_records = len(summary.labels)
        if share.by_file:
            paths = paths[share.worker :: share.num_workers]
            self.num_records = int((summary.files % share.num_workers == share.worker).sum())
        self._paths = list(paths)
        records = tf.data.TFRecordDataset(self._paths).enumerate()
        held_out = np.unique(summary.split_keys[summary.held_out])
        self._load = self._loader(part, held_out, keep_source, drop_unknown)
        pixels = int(network_widths(summary.sizes, config).sum()) * config.height * config.channels
        self._cached = pixels * 4 <= CACHE_BYTES and not keep_source
        if self._cached:
            self._examples = self._load(records).cache()
            self._buffer = self.num_records
        else:
            self._examples = records
            mean_bytes = max(1, summary.num_bytes // max(1, len(summary.labels)))
            self._buffer = min(self.num_records, max(plan.batch_size * 4, SHUFFLE_BYTES // mean_bytes))

    def _loader(self, part: str, held_out: np.ndarray, keep_source: bool, drop_unknown: bool):
        encode = _encode_labels(self.config)

        def parse(index, serialized):
            return {"index": index, **tf.io.parse_single_example(serialized, FEATURES)}

        def load(record):
            image, width, scale = preprocess(record["image"], self.config)
            ids, length, known = encode(record["label"])
            source = (record["comment"], record["image"]) if keep_source else ("", "")
            return known, (image, width, scale, ids, length, record["index"], record["label"], *source)

        def chain(records):
            parsed = records.map(parse, num_parallel_calls=tf.data.AUTOTUNE)
            if part != "all":
                is_held_out = _contains(held_out)
                parsed = parsed.filter(lambda r: is_held_out(split_key(r["image"])) == (part == "validation"))
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
        return Batch(images, widths, scales, tokens, ids, weights, index, label, comment, record)

    def sorted_batches(self, worker: int = 0, num_workers: int = 1) -> tf.data.Dataset:
        """Every record once, grouped by width, nothing random; of several workers each takes some of the batches."""
        examples = self._examples if self._cached else self._load(self._examples)
        return without_autotune(self._group(examples).shard(num_workers, worker).prefetch(2))

    def window(self, start: tf.Tensor, count: int) -> tf.data.Dataset:
        """`count` loaded examples from number `start` on; after the last comes the first."""
        records = tf.data.TFRecordDataset(self._paths).repeat().skip(start).take(count)
        return self._load(records.enumerate())

    def window_batches(self, start: int, count: int) -> tf.data.Dataset:
        """As `window`, in batches of similar width."""
        return without_autotune(self._group(self.window(tf.constant(start, tf.int64), count)).prefetch(2))

    def _mixed(self, examples: tf.data.Dataset, extra: Batches | None, number: tf.Tensor) -> tf.data.Dataset:
        """The examples of an epoch, as many of `extra` among them where there are so many, else all of these."""
        if extra is None:
            return examples
        count = min(self.num_records, extra.num_records)
        total = self.num_records + count
        turns = tf.data.Dataset.range(total).map(lambda i: (i + 1) * count // total - i * count // total)
        others = extra.window(number * count % extra.num_records, count)
        return tf.data.Dataset.choose_from_datasets([examples, others], turns, stop_on_empty_dataset=True)

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

        return batches.concatenate(self._group(first.take(1)).map(uncounted).repeat()).take(self._share.num_batches)

    def _files_mixed(self, seed: tf.Tensor) -> tf.data.Dataset:
        """The records with the files in random order and read side by side, for the buffer to mix further."""
        files = tf.data.Dataset.from_tensor_slices(self._paths)
        files = files.shuffle(len(self._paths), seed=seed, reshuffle_each_iteration=False)
        return files.interleave(tf.data.TFRecordDataset, cycle_length=FILES_AT_ONCE, block_length=16).enumerate()

    def training_batches(
        self, epoch: int, skip: int, seed: int, strength: float, extra: Batches | None = None
    ) -> tf.data.Dataset:
        """Epoch after epoch, each in its own random order, without end and without a pause between them.

        Args:
          epoch: number of the first epoch, from 0; with `seed` it fixes order and augmentation.
          skip: batches of the first epoch to leave out (they were trained on before a restart).
          seed: of the training.
          strength: of the augmentation, reached after `EASE_STEPS` steps with `warm_up_augmentation`; 0: none.
          extra: batches of other records, whose examples are mixed in among those of each epoch; of each as many as
            there are here, or all where they are fewer.

        Returns:
          Elements (epoch, number of the batch in it, Batch).
        """

        steps_per_epoch = self._share.num_batches or -(-self.num_records // self.plan.batch_size)

        def one_epoch(number):
            mixed = (number * 1_000_003 + seed * 7_919) % (2**31 - 1)
            examples = self._examples if self._cached else self._files_mixed(mixed)
            examples = examples.shuffle(self._buffer, seed=mixed, reshuffle_each_iteration=False)
            if not self._cached:
                examples = self._load(examples)
            examples = self._mixed(examples, extra, number)
            batches = self._fill_up(self._group(examples))
            batches = batches.enumerate().skip(tf.where(number == epoch, tf.cast(skip, tf.int64), 0))
            return batches.map(lambda i, batch: (number, i, mixed, batch))

        def finish(number, i, mixed, batch):
            batch = self._of_worker(batch)
            if strength:
                seeds = tf.cast(tf.stack([mixed + self._share.worker, i]), tf.int32)
                warm_up_augmentation = tf.minimum(
                    1.0, tf.cast(number * steps_per_epoch + i, tf.float32) / self._ease_steps
                )
                varied = augment(batch.images, batch.widths, seeds, strength * warm_up_augmentation)
                batch = batch._replace(images=varied)
            return number, i, batch

        epochs = tf.data.Dataset.range(epoch, 2**31).flat_map(one_epoch)
        return without_autotune(epochs.map(finish, num_parallel_calls=2).prefetch(2))
