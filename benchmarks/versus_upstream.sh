#!/usr/bin/env bash
# Compare the training and testing speed of the released aocr 0.7.6 (TensorFlow 1.15) and ours on the same records.
#
#   PYTHON=python PYTHON37=python3.7 benchmarks/versus_upstream.sh WORK [ROUNDS]
#
# PYTHON has ours installed, PYTHON37 makes the environment of the released program in WORK/released. The records are
# the toy words of datasets/ up to 160 px wide, which both networks scale to 32 x 86. Batches of 65. Each round trains
# with the released program, then with ours: classic and default, in float32 and in the machine's fastest precision; then
# each tests the same words. Times come from each program's own log, without the first 10 steps and images; medians of
# each round, and of the rounds.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
exec "${PYTHON:-python3}" "$here/upstream/speed.py" --work "${1:?WORK is missing}" --rounds "${2:-3}" \
  --python37 "${PYTHON37:-python3.7}"
