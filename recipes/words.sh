#!/usr/bin/env bash
# Train the model that comes with aocr, from the start or further, on synthetic words only.
#
#   recipes/words.sh WORK LEG [MINUTES [IMAGES]]
#
# A leg draws IMAGES words (default 400,000) with its own seed and trains on them for MINUTES (default 120): at a
# constant learning rate, which falls to zero over the last 25 % of the time. It leaves two model folders: WORK/legN,
# the weights before the rate falls, where the next leg starts (recipes/words holds those of the last published leg);
# and WORK/legN-ship, the weights after it, which are packed for aocr/folder/box. To resume a stopped leg, repeat the
# command. Needs aocr in PATH, npm, and Debian's apt-get for the fonts (336 MB).
set -euo pipefail
recipes=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1" && cd "$1"
leg=$2 minutes=${3:-120} images=${4:-400000}

if [ ! -e fonts/done ]; then
  mkdir -p fonts/deb
  (cd fonts && sed 's#[^ ]*#@fontsource/&#g' "$recipes/fonts-npm.txt" | xargs npm install --ignore-scripts --silent)
  (cd fonts/deb && xargs apt-get download -qq <"$recipes/fonts-debian.txt" && for f in *.deb; do dpkg -x "$f" . && rm "$f"; done)
  touch fonts/done
fi

for part in scene:660 captcha:140 print:80 plate:60 display:60; do # images of each style per thousand
  style=${part%:*} share=${part#*:}
  draw=(--style "$style" --fonts fonts/node_modules/@fontsource fonts/deb)
  [ "$style" != scene ] || draw+=(--max-length 32)
  [ -e "validation-$style.tfrecords" ] ||
    aocr synth "validation-$style.tfrecords" "${draw[@]}" --count $((2 * share)) --seed 1000000
  [ -e "leg$leg-$style.done" ] ||
    aocr synth "leg$leg-$style.tfrecords" "${draw[@]}" --shards 4 --count $((images / 1000 * share)) --seed "$leg"
  touch "leg$leg-$style.done"
done

if [ -e "leg$((leg - 1))/weights.npz" ]; then
  start=(--init-from "leg$((leg - 1))")
elif [ -e "$recipes/words/weights.npz" ]; then
  start=(--init-from "$recipes/words")
else
  start=(--init-from none --height 32 --color --charset full-ascii)
fi
train=(train "leg$leg"-*.tfrecords* --validation validation-*.tfrecords --batch-size 128 --augment-strength 0.7
  --max-prediction 32 --max-width 640 --max-height 32 --initial-learning-rate 1e-3 --steps-per-checkpoint 250
  --patience 100000 "${start[@]}" --seed "$leg")

if [ ! -e "leg$leg-ship" ]; then
  # stop with a signal instead of --max-time, so that the rate does not fall; 124: timeout sent it, and aocr saved
  timeout --signal=TERM "$((minutes * 75 / 100))m" aocr "${train[@]}" --model-dir "leg$leg" || [ $? = 124 ]
  cp -r "leg$leg" "leg$leg-ship"
fi
# by default the rate falls for a tenth of the steps before; 25 % of all steps are 25 / 75 of those before
python -c 'import sys; from aocr.training import schedule; from aocr.cli.main import main
schedule.DECAY_SHARE = 25 / 75; sys.exit(main(sys.argv[1:]))' "${train[@]}" --model-dir "leg$leg-ship" --max-time "${minutes}m"

python "$recipes/pack.py" "leg$leg-ship" "packed-leg$leg"
python "$recipes/pack.py" "leg$leg" "packed-leg$leg-undecayed"
echo "If they read better than the previous ones, copy packed-leg$leg to aocr/folder/box, packed-leg$leg-undecayed to recipes/words."
