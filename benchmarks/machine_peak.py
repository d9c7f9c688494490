"""Measure the peak rate of this machine: matrix products and 3x3 convolutions, forward and backward.

    python benchmarks/machine_peak.py [--seconds 3]

Prints TFLOP/s, the best of many runs, for float32 and bfloat16. No network trains faster than the convolution rate.
"""

from __future__ import annotations

import argparse
import time

from machine import describe

CONVOLUTIONS = ((65, 16, 43, 64), (65, 8, 22, 128), (65, 8, 22, 256), (65, 4, 22, 512))
"""Batch, rows, columns and channels, as in the classic network."""


def best_rate(run, operations: float, seconds: float) -> float:
    """Return the TFLOP/s of the fastest call of `run` within `seconds`."""
    run()
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        before = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - before)
    return operations / best / 1e12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3)
    options = parser.parse_args()
    import tensorflow as tf

    print(describe())
    print("| operation | float32, TFLOP/s | bfloat16, TFLOP/s |\n|---|---|---|")
    for size in (1024, 4096):
        rates = []
        for dtype in (tf.float32, tf.bfloat16):
            a, b = (tf.cast(tf.random.normal((size, size)), dtype) for _ in range(2))
            product = tf.function(lambda a=a, b=b: tf.reduce_sum(tf.matmul(a, b)))
            rates.append(best_rate(lambda product=product: product().numpy(), 2 * size**3, options.seconds))
        print(f"| matrix product {size} x {size} | {rates[0]:.2f} | {rates[1]:.2f} |", flush=True)
    for batch, rows, columns, channels in CONVOLUTIONS:
        for backward in (False, True):
            rates = []
            for dtype in (tf.float32, tf.bfloat16):
                x = tf.cast(tf.random.normal((batch, rows, columns, channels)), dtype)
                kernel = tf.cast(tf.random.normal((3, 3, channels, channels)), dtype)

                def convolve(x=x, kernel=kernel, backward=backward):
                    if not backward:
                        return [tf.nn.conv2d(x, kernel, 1, "SAME")[0, 0, 0, 0]]
                    with tf.GradientTape() as tape:
                        tape.watch([x, kernel])
                        y = tf.nn.conv2d(x, kernel, 1, "SAME")
                    return [g[0, 0, 0, 0] for g in tape.gradient(y, [x, kernel], output_gradients=y)]

                graph = tf.function(convolve)
                work = 2 * 9 * batch * rows * columns * channels**2 * (3 if backward else 1)
                rates.append(best_rate(lambda graph=graph: [v.numpy() for v in graph()], work, options.seconds))
            name = f"3x3 convolution {rows} x {columns} x {channels}" + (", with gradients" if backward else "")
            print(f"| {name} | {rates[0]:.2f} | {rates[1]:.2f} |", flush=True)


if __name__ == "__main__":
    main()
