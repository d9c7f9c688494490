"""What each part of the default recipe is worth: the same training with one part changed, within the same minutes.

    python benchmarks/recipe.py --data DATA --work WORK [--set captcha] [--minutes 3] [--seeds 0] [--only NAMES]

DATA holds a folder a set with `train.txt` and `test.txt`. WORK keeps results: what is there is not measured again.
Each line of the table is one training from scratch in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from machine import describe


def _no_ctc() -> None:
    from aocr.model import recognizer
    from aocr.training import step as train_step

    train_step.CTC_WEIGHT = 0.0
    recognizer.symbol_counts = lambda *args: None


def _no_lead() -> None:
    from aocr.model import recognizer

    recognizer.symbol_counts = lambda *args: None


def _ctc_after_lstm() -> None:
    from keras import ops

    from aocr.model import recognizer
    from aocr.model.decoder import Memory

    def encode(self, images, widths, training=False):
        features = self.cnn(images, widths, training=training)
        mask = recognizer.column_mask(widths, ops.shape(features)[1], recognizer.COLUMN_PIXELS)
        values, states = self.encoder(features, mask=mask, training=training)
        ctc_logits = self.ctc(values)
        counts = recognizer.symbol_counts(ctc_logits, mask, self.config.charset.right_to_left)
        return Memory(values, self.key(values), mask, states, counts), ctc_logits

    recognizer.Recognizer._encode = encode


def _blocks_from_zero() -> None:
    """He et al., 2019, "Bag of tricks": residual blocks that begin as their shortcut."""
    from aocr.model import cnn

    class Silent(cnn.ResidualBlock):
        def __init__(self, *args, cnn_dtype="float32", **kwargs):
            super().__init__(*args, cnn_dtype=cnn_dtype, **kwargs)
            self.norm2 = cnn.BatchNorm(momentum=0.9, name="norm2", dtype=cnn_dtype, gamma_initializer="zeros")

    cnn.ResidualBlock = Silent


def _no_maximum_over_rows() -> None:
    from keras import layers, ops

    from aocr.model import recognizer

    class Fixed(recognizer.ResidualCNN):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.anywhere = layers.Lambda(lambda x: ops.zeros_like(x[..., :1]), name="nowhere")

    recognizer.ResidualCNN = Fixed


def _variation(name: str, value: float) -> None:
    from aocr.data import augment

    setattr(augment, name, value)


def _same_colours() -> None:
    from aocr.data import augment

    augment._recoloured = lambda images, draw, strength: images


def _augmentation_grows(steps: int) -> None:
    from aocr.data import pipeline

    pipeline.WARM_UP_STEPS = steps


def _location_convolution() -> None:
    """Chorowski et al., 2015, in place of guidance by CTC: a convolution over the last weights and over their sum."""
    from keras import layers, ops

    from aocr.model import attention, decoder, recognizer

    class Located(attention.AdditiveAttention):
        def build(self, memory_shape, keys_shape, query_shape):
            self.ctc_guided = False
            super().build(memory_shape, keys_shape, query_shape)
            self.location = layers.Conv1D(self.units, 31, padding="same", use_bias=False, name="location")
            self.location.build((None, None, 2))

        def call(self, memory, keys, query, mask=None, ahead=None):
            return super().call(memory, keys + self.location(ahead), query, mask)

    recognizer.symbol_counts = lambda logits, mask, from_right: ops.zeros((*ops.shape(mask), 2))
    decoder.AdditiveAttention = Located

    def advance(self, embedded, state, memory, training=False):
        flat, context, history = state
        x = self.input_projection(ops.concatenate([embedded, context], axis=1))
        output, flat = self._run_cells(x, flat, training)
        context, weights = self.attention(memory.values, memory.keys, flat, mask=memory.mask, ahead=history)
        history = ops.stack([weights, history[..., 1] + weights], axis=-1)
        return ops.concatenate([output, context], axis=1), weights, (flat, context, history)

    def initial_state(self, memory):
        context = ops.zeros_like(memory.values[:, 0, :])
        flat = ops.zeros((ops.shape(context)[0], self.state_size))
        return flat, context, ops.zeros_like(memory.values[:, :, :2])

    decoder.Decoder.advance, decoder.Decoder.initial_state = advance, initial_state
    decoder.Decoder.overrun = lambda self, state, memory: ops.zeros_like(state[0][:, 0])


def _no_average() -> None:
    from aocr.training import averaging

    averaging.MAX_DECAY = 0.0


def _slow_batch_norm() -> None:
    from aocr.model import cnn

    before = cnn.BatchNorm
    cnn.BatchNorm = lambda momentum, **settings: before(momentum=0.99, **settings)


def _no_contrast_stretch() -> None:
    from aocr.data import preprocess

    preprocess._stretched = lambda image: image


def _label_smoothing() -> None:
    from keras import ops

    from aocr.model.losses import sequence_loss
    from aocr.training import step as train_step

    def smoothed(logits, targets, weights):
        loss = sequence_loss(logits, targets, weights)
        spread = -ops.sum(ops.mean(ops.log_softmax(logits), axis=-1) * weights)
        return 0.9 * loss + 0.1 * spread

    train_step.sequence_loss = smoothed


def _dropout() -> None:
    """A fifth of the memory dropped in training."""
    from keras import layers

    from aocr.model import recognizer

    class Dropped(recognizer.Encoder):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.dropout = layers.Dropout(0.2, seed=1)

        def call(self, features, mask=None, training=False):
            memory, states = super().call(features, mask=mask, training=training)
            return self.dropout(memory, training=training), states

    recognizer.Encoder = Dropped


def _scheduled_sampling() -> None:
    """Bengio et al., 2015: a quarter of the symbols that the decoder is told in training are those it read itself."""
    import tensorflow as tf
    from keras import ops

    from aocr.model.decoder import Decoder
    from aocr.model.layers import collect_steps

    forced = Decoder.call

    def call(self, memory, tokens, training=False):
        if not training:
            return forced(self, memory, tokens)
        by_step = ops.transpose(tokens)
        own = tf.random.uniform(tf.shape(by_step)) < 0.25

        def step(i, state):
            inner, read = state
            logits, weights, inner = self.step(ops.where(own[i], read, by_step[i]), inner, memory, training=True)
            return (logits, weights), (inner, ops.cast(ops.argmax(logits, axis=-1), by_step.dtype))

        found, _ = collect_steps(step, (self.initial_state(memory), by_step[0]), ops.shape(by_step)[0])
        return tuple(ops.transpose(one, (1, 0, 2)) for one in found)

    Decoder.call = call


def _decay(share: float) -> None:
    """The learning rate decays for this share of the steps before."""
    from aocr.training import schedule

    schedule.DECAY_SHARE = share


def _nothing() -> None:
    pass


VARIANTS: dict[str, tuple[Callable[[], None], tuple[str, ...]]] = {
    "default": (_nothing, ()),
    "without CTC loss and lead": (_no_ctc, ()),
    "without the lead": (_no_lead, ()),
    "location convolution for the lead": (_location_convolution, ()),
    "CTC after the LSTM": (_ctc_after_lstm, ()),
    "residual blocks that begin at zero": (_blocks_from_zero, ()),
    "without the maximum over rows": (_no_maximum_over_rows, ()),
    "without weight averaging": (_no_average, ()),
    "without augmentation": (_nothing, ("--no-augment",)),
    "without negatives": (partial(_variation, "NEGATIVES", 0.0), ()),
    "without waves": (partial(_variation, "WAVE", 0.0), ()),
    "without poor jpegs": (partial(_variation, "JPEGS", 0.0), ()),
    "without change of colours": (_same_colours, ()),
    "full augmentation at once": (partial(_augmentation_grows, 1), ()),
    "augmentation grows for 3000 steps": (partial(_augmentation_grows, 3000), ()),
    "augmentation twice as strong": (_nothing, ("--augment-strength", "2")),
    "without contrast stretch": (_no_contrast_stretch, ()),
    "grey": (_nothing, ("--no-color",)),
    "batch norm momentum 0.99": (_slow_batch_norm, ()),
    "without gradient clipping": (_nothing, ("--no-gradient-clipping",)),
    "label smoothing 0.1": (_label_smoothing, ()),
    "dropout 0.2": (_dropout, ()),
    "Adam": (_nothing, ("--optimizer", "adam")),
    "Adadelta 1.0": (_nothing, ("--optimizer", "adadelta")),
    "learning rate halved": (_nothing, ("--initial-learning-rate", "0.001")),
    "learning rate doubled": (_nothing, ("--initial-learning-rate", "0.004")),
    "scheduled sampling": (_scheduled_sampling, ()),
    "learning rate drops at once": (partial(_decay, 0.0), ()),
    "learning rate decays for half the steps": (partial(_decay, 1.0), ()),
    "patience doubled": (_nothing, ("--patience", "20")),
    "batches of up to 65": (_nothing, ("--batch-size", "65")),
    "classic network": (_nothing, ("--arch", "classic")),
}


def _child(name: str, argv: list[str]) -> int:
    """One command of aocr with a variant in force."""
    from aocr import machine  # noqa: F401  (first: it keeps TensorFlow's start quiet)

    VARIANTS[name][0]()
    from aocr.cli.main import main as run

    return run(argv)


def measure(name: str, seed: int, args: argparse.Namespace) -> dict:
    """Train and score one variant, or read what was found before."""
    folder = args.work / args.set / f"{args.minutes}m" / name.replace(" ", "_") / str(seed)
    path = folder / "result.json"
    if path.exists():
        return json.loads(path.read_text("utf-8"))
    folder.mkdir(parents=True, exist_ok=True)
    print(f"{args.set} {name} seed {seed} ...", file=sys.stderr, flush=True)
    source = args.data / args.set
    common = ["--data-base-dir", str(source), "--model-dir", str(folder / "model")]
    settings = [*VARIANTS[name][1], "--seed", str(seed), "--max-time", f"{args.minutes}m", "--no-resume"]
    child = [sys.executable, __file__, "--child", name]
    with open(folder / "train.log", "w", encoding="utf-8") as log:
        subprocess.run([*child, "train", str(source / "train.txt"), *common, *settings], stderr=log, check=True)
    words = [*child, "test", str(source / "test.txt"), *common, "--json"]
    scores = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    points = json.loads((folder / "model" / "history.json").read_text("utf-8"))["points"]
    result = {"word_accuracy": scores["word_accuracy"], "cer": scores["cer"], "steps": points[-1]["step"]}
    path.write_text(json.dumps(result), encoding="utf-8")
    return result


def main() -> int:
    if sys.argv[1:2] == ["--child"]:
        return _child(sys.argv[2], sys.argv[3:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--set", default="captcha")
    parser.add_argument("--minutes", type=int, default=3)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--only", default=",".join(VARIANTS))
    args = parser.parse_args()
    print(describe())
    print(f"{args.set}, {args.minutes} minutes, seeds {args.seeds}\n")
    print("| variant | word accuracy | CER | steps |\n|---|---|---|---|")
    for name in args.only.split(","):
        try:
            found = [measure(name, int(seed), args) for seed in args.seeds.split(",")]
        except subprocess.CalledProcessError:
            print(f"| {name} | failed, see its train.log | | |", flush=True)
            continue
        accuracy, cer = (statistics.median(r[k] for r in found) for k in ("word_accuracy", "cer"))
        steps = statistics.median(r["steps"] for r in found)
        print(f"| {name} | {accuracy:.2%} | {cer:.2%} | {steps:.0f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
