"""Ctrl-C, SIGTERM and kill at random moments of the commands.

    python benchmarks/signals.py WORK [dataset synth train test predict export] [--count 8] [--seed 0] [--kill]

WORK is a new folder. Each run is a fork of this process, which has imported TensorFlow, so a moment is one of the
command's own work. Asked of an interrupted command: exit code 130 (0 where it ended before), no traceback, nothing left
under a temporary name, and that the same command, given again, leaves what an uninterrupted one does, weights to the
bit. With --kill the signal is SIGKILL, and only the last is asked. Linux.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

LIMIT = 600.0
"""Seconds after which a run counts as a hang."""
TRAIN = ("--num-epoch", "4", "--attn-num-hidden", "16", "--precision", "float32", "--steps-per-checkpoint", "4")
TRAIN += ("--init-from", "none")
COMMANDS = ("dataset", "synth", "train", "test", "predict", "export")
WAITS_TO_GO_ON = ("synth", "train")
"""Commands that keep unfinished work on purpose."""


def arguments(command: str, work: Path, out: Path) -> list[str]:
    """The command line of a command that writes to `out`."""
    data, model = str(work / "data" / "numbers.txt"), ("--model-dir", str(work / "model"))
    return {
        "dataset": ["dataset", data, f"{out}/d.tfrecords", "--shards", "3"],
        "synth": ["synth", f"{out}/s", "--count", "450", "--workers", "1", "--style", "print"],
        "train": ["train", data, "--model-dir", f"{out}/m", *TRAIN],
        "test": ["test", data, *model, "--report", f"{out}/r.html"],
        "predict": ["predict", f"{work}/data", *model],
        "export": ["export", f"{out}/e", *model, "--format", "onnx"],
    }[command]


def begin(words: list[str], err) -> int:
    """Start `aocr WORDS` in a fork with a session of its own; its process id."""
    from aocr.cli.main import main

    ready, told = os.pipe()
    pid = os.fork()
    if pid:
        os.close(told)
        os.read(ready, 1)
        os.close(ready)
        return pid
    code = 99
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
        os.dup2(os.open(os.devnull, os.O_RDWR), 1)
        os.dup2(err.fileno(), 2)
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
        os.write(told, b".")
        code = main(words)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def wait(pid: int, seconds: float) -> int | None:
    """The exit code of a child (negative: the signal that ended it), or None where it runs on after so long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    return None


def run(words: list[str], number: int | None = None, after: float = 0.0) -> tuple[int | str, str, float]:
    """Run a command, with signal `number` after so many seconds: (exit code or HANG, standard error, seconds)."""
    with tempfile.TemporaryFile("w+") as err:
        start = time.monotonic()
        pid = begin(words, err)
        code: int | str | None = wait(pid, after) if number else None
        if code is None and number:
            if number == signal.SIGTERM:
                os.kill(pid, number)
            else:
                os.killpg(pid, number)  # as a terminal does
        code = wait(pid, LIMIT) if code is None else code
        seconds = time.monotonic() - start
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        if code is None:
            os.waitpid(pid, 0)
        err.seek(0)
        return "HANG" if code is None else code, err.read(), seconds


def result(command: str, out: Path) -> str:
    """A digest of what a command has made: of a training the weights to read with, else all files."""
    digest = hashlib.sha256()
    if command == "train":
        from aocr.folder.model_folder import ModelFolder
        from aocr.folder.weights import read_weights

        for name, value in sorted(read_weights(ModelFolder(out / "m").choose().prefix).items()):
            digest.update(name.encode() + value.tobytes())
    elif command in ("dataset", "synth", "export"):
        for path in sorted(path for path in out.rglob("*") if path.is_file() and ".aocr-" not in str(path)):
            digest.update(str(path.relative_to(out)).encode() + path.read_bytes())
    return digest.hexdigest()


def leftovers(out: Path) -> list[str]:
    """What lies under temporary names."""
    return [str(path.relative_to(out)) for path in out.rglob("*") if ".tmp" in path.name or ".aocr-" in path.name]


def faults(command: str, killed: bool, code: int | str, err: str, out: Path) -> list[str]:
    """What is wrong with how a command ended."""
    found = []
    if code not in ((0, -signal.SIGKILL) if killed else (0, 130)):
        found.append(f"exit code {code}")
    if "Traceback" in err or "unexpected" in err:
        found.append("said " + err.strip()[-300:])
    if not killed and command not in WAITS_TO_GO_ON and leftovers(out):
        found.append(f"left {leftovers(out)}")
    return found


def series(command: str, work: Path, count: int, rng: random.Random, kill: bool) -> Counter:
    """Interrupt a command at `count` random moments, and give it again each time."""
    out = work / "out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    code, err, seconds = run(arguments(command, work, out))
    if code:
        raise SystemExit(f"{command} fails undisturbed: {err[-500:]}")
    expected, counts = result(command, out), Counter()
    for turn in range(count):
        shutil.rmtree(out)
        out.mkdir()
        number = signal.SIGKILL if kill else rng.choice((signal.SIGINT, signal.SIGTERM))
        after = rng.uniform(0, seconds)
        code, err, took = run(arguments(command, work, out), number, after)
        bad = faults(command, kill, code, err, out)
        if command not in ("test", "predict"):
            code_again, err, _ = run(arguments(command, work, out))
            if code_again or result(command, out) != expected:
                bad.append(f"again: exit code {code_again}, other result or error: {err.strip()[-300:]}")
        else:
            seconds = 0.5 * (seconds + max(took, 0.5 * seconds))
        counts["in time" if code else "ended before"] += 1
        counts["FAULT"] += bool(bad)
        print(
            f"  {command} {turn}: {signal.Signals(number).name} after {after:.2f} s, exit code {code}", *bad, flush=True
        )
    return counts


def main() -> int:
    """Run the series asked for; 1 where something was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("commands", nargs="*", choices=[*COMMANDS, []], default=[])
    parser.add_argument("--count", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kill", action="store_true")
    args = parser.parse_args()
    os.environ["XDG_CACHE_HOME"] = str(args.work / "cache")
    from conftest import draw_numbers  # starts TensorFlow

    draw_numbers(args.work / "data", 24)
    if run(arguments("train", args.work, args.work))[0]:
        raise SystemExit("the model could not be trained")
    os.replace(args.work / "m", args.work / "model")
    bad = 0
    for command in args.commands or COMMANDS:
        rng = random.Random(f"{command} {args.seed} {args.kill}")
        counts = series(command, args.work, args.count, rng, args.kill)
        print(f"{command}: {args.count} times, seed {args.seed}: {dict(counts)}", flush=True)
        bad += counts["FAULT"]
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
