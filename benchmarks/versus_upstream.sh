#!/usr/bin/env bash
# The released aocr 0.7.6 on TensorFlow 1.15 and ours in turn, on the same records: training and testing speed.
#
#   PYTHON=python PYTHON37=python3.7 benchmarks/versus_upstream.sh WORK [ROUNDS]
#
# PYTHON has ours installed, PYTHON37 makes the environment of the released program in WORK/released. The records are
# the toy words of datasets/, no wider than 160 px, which both networks bring to 32 x 86. Batches of 65. Each round
# trains with the released program, then with ours: classic in float32, classic and default in the machine's best
# arithmetic; then each tests the same words. What a program's own log says a step or an image takes is taken, the
# first 10 steps and images left out; the median of each round, and of the rounds.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
exec "${PYTHON:-python3}" "$here/upstream/speed.py" --work "${1:?WORK is missing}" --rounds "${2:-3}" \
  --python37 "${PYTHON37:-python3.7}"
