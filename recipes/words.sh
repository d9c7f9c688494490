#!/usr/bin/env bash
# Make the model in the package, or train it further: drawn words only, with the project's own commands.
#
#   recipes/words.sh WORK LEG [MINUTES [IMAGES]]
#
# A leg draws IMAGES words (default 400,000; half of them street scenes, the rest the other styles) with its own seed,
# trains on them for MINUTES (default 120) from the end of the previous leg, and lowers the learning rate to zero in a
# fifth of that time more. It leaves two model folders: WORK/legN-ship (to be packed into aocr/folder/box) and WORK/legN
# (the weights before the learning rate fell, where the next leg starts; recipes/words has those of the last leg that
# was committed). To resume a stopped leg, give the same command again. Needs aocr in PATH, npm, and Debian's apt-get for
# the fonts (336 MB).
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
fonts=(--fonts fonts/node_modules/@fontsource fonts/deb)

# of every thousand images
declare -A share=([scene]=500 [captcha]=150 [print]=150 [plate]=100 [display]=100)
for style in "${!share[@]}"; do
  drawn=leg$leg-$style.drawn
  [ -e "validation-$style.tfrecords" ] ||
    aocr synth "validation-$style.tfrecords" --style "$style" --count $((2 * share[$style])) --seed 1000000 "${fonts[@]}"
  [ -e "$drawn" ] || aocr synth "leg$leg-$style.tfrecords" --shards 4 --style "$style" \
    --count $((images / 1000 * share[$style])) --seed "$leg" "${fonts[@]}"
  touch "$drawn"
done

before=$recipes/words
[ ! -e "leg$((leg - 1))/weights.npz" ] || before=leg$((leg - 1))
start=() && [ ! -e "$before/model.json" ] || start=(--init-from "$before")
[ ${#start[@]} -gt 0 ] || start=(--height 32 --color --charset full-ascii)

train=(aocr train "leg$leg"-*.tfrecords* --validation validation-*.tfrecords --batch-size 64 --augment-strength 0.7
  --max-prediction 32 --max-width 640 --max-height 32 --steps-per-checkpoint 500 --patience 100000 "${start[@]}" --seed "$leg")
if [ ! -e "leg$leg-ship" ]; then
  # no limit of time here, so that the learning rate does not begin to fall; 130: stopped by the signal, all saved
  timeout --signal=TERM "${minutes}m" "${train[@]}" --model-dir "leg$leg" || [ $? = 124 ]
  cp -r "leg$leg" "leg$leg-ship"
fi
# a third of the learning rate for a tenth of the time, then down to zero in the same time
lower=(--initial-learning-rate 7e-4 --model-dir "leg$leg-ship")
timeout --signal=TERM "$((minutes / 10 + 1))m" "${train[@]}" "${lower[@]}" || [ $? = 124 ]
"${train[@]}" "${lower[@]}" --max-time $((minutes + minutes / 5))m
python "$recipes/pack.py" "leg$leg-ship" "packed-leg$leg"
echo "Copy packed-leg$leg/* to aocr/folder/box, and pack leg$leg to recipes/words, where they read better than before."
