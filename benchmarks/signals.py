"""Ctrl-C, SIGTERM and kill at random moments of the commands.

    python benchmarks/signals.py WORK [COMMAND ...] [--count 8] [--seed 0] [--kill]

WORK is a new folder, or that of an earlier call. Each run is a fork of this process, which has imported TensorFlow, so
a moment is one of the command's own work. Asked of an interrupted command: exit code 130 (0 where it ended before), no
traceback, nothing left under a temporary name, and that the same command, given again, leaves what an uninterrupted one
does, weights to the bit. With --kill the signal is SIGKILL, and only the last is asked. Of `serve` and `label`, which
end at a signal only, it is asked that every answer is whole, and that each decision that was answered stands in the
files, once. Linux.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import hashlib
import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
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
COMMANDS = ("dataset", "synth", "train", "test", "predict", "export", "import", "serve", "label")
SERVERS = ("serve", "label")
NUM_IMAGES, NUM_REQUESTS = 24, 40
WAITS_TO_GO_ON = ("synth", "train")
"""Commands that keep unfinished work on purpose."""


def arguments(command: str, work: Path, out: Path) -> list[str]:
    """The command line of a command that writes to `out`."""
    data, model = str(work / "data" / "numbers.txt"), ("--model-dir", str(work / "model"))
    port = str(free_port()) if command in SERVERS else ""
    return {
        "dataset": ["dataset", data, f"{out}/d.tfrecords", "--shards", "3"],
        "synth": ["synth", f"{out}/s", "--count", "450", "--workers", "1", "--style", "print"],
        "train": ["train", data, "--model-dir", f"{out}/m", *TRAIN],
        "test": ["test", data, *model, "--report", f"{out}/r.html"],
        "predict": ["predict", f"{work}/data", *model],
        "export": ["export", f"{out}/e", *model, "--format", "onnx"],
        "import": ["import", f"{work}/old", "--model-dir", f"{out}/m"],
        "serve": ["serve", *model, "--log-path", f"{out}/serve.log", "--port", port],
        "label": ["label", f"{work}/data", *model, "--output", f"{out}/l.txt", "--port", port],
    }[command]


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as any_port:
        any_port.bind(("127.0.0.1", 0))
        return any_port.getsockname()[1]


class Client:
    """Asks a server as long as there is one, in a thread.

    Attributes:
      decisions: image -> text, of those that `aocr label` answered.
      answers: how many there were.
      faults: what was wrong with them.
    """

    def __init__(self, words: list[str], work: Path):
        self.ask_all = self._read_all if words[0] == "serve" else self._label_all
        self.port, self.image = int(words[-1]), (work / "data" / "0.png").read_bytes()
        self.decisions: dict[str, str] = {}
        self.answers, self.faults, self.is_over = 0, [], threading.Event()

    def run(self) -> None:
        """Ask all, then be done; earlier where the server has gone."""
        try:
            self.ask_all()
        except (ConnectionError, http.client.RemoteDisconnected):
            pass
        except Exception as error:
            self.faults.append(f"answer {self.answers}: {type(error).__name__}: {error}")
        self.is_over.set()

    def _ask(self, method: str, path: str, values: dict | None = None) -> dict:
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT)
            body = None if values is None else json.dumps(values)
            try:
                connection.request(method, path, body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                told = json.loads(answer.read())
            except ConnectionRefusedError:
                if self.answers or self.is_over.wait(0.05):  # it has ended; before the first answer it has yet to start
                    raise
                continue
            finally:
                connection.close()
            if answer.status != 200:
                raise ValueError(f"{answer.status}, {told}")
            self.answers += 1
            return told

    def _read_all(self) -> None:
        body = {"instances": [{"b64": base64.b64encode(self.image).decode()}] * 8}
        for _ in range(NUM_REQUESTS):
            told = self._ask("POST", "/v1/models/model:predict", body)
            if len(told["predictions"]) != 8:
                raise ValueError(f"{len(told['predictions'])} predictions of 8")

    def _label_all(self) -> None:
        state = self._ask("GET", "/state")
        while image := state["image"]:
            text = f"label {image['name'].rpartition('/')[2]}"
            state = self._ask("POST", "/accept", {"index": image["index"], "text": text})
            self.decisions[image["name"].rpartition("/")[2]] = text


def labels_in(out: Path) -> list[tuple[str, str]]:
    """(image, text) of the lines that `aocr label` has written."""
    lines = [line for path in sorted(out.glob("l*.txt")) for line in path.read_text("utf-8").splitlines(keepends=True)]
    if any(not line.endswith("\n") or " label " not in line.replace("\t", " ") for line in lines):
        raise ValueError(f"half a line: {lines}")
    parts = (line.rstrip("\n").replace("\t", " ").split(" ", 1) for line in lines)
    return [(path.rpartition("/")[2], text) for path, text in parts]


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


def run(
    words: list[str], number: int | None = None, after: float = 0.0, client: Client | None = None
) -> tuple[int | str, str, float]:
    """Run a command, with signal `number` after so many seconds: (exit code or HANG, standard error, seconds).

    A server with a client and without a number is ended by SIGINT once the client has asked all.
    """
    with tempfile.TemporaryFile("w+") as err:
        start = time.monotonic()
        pid = begin(words, err)
        thread = threading.Thread(target=client.run if client else lambda: None)
        thread.start()
        if client and not number:
            client.is_over.wait(LIMIT)
            number = signal.SIGINT
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
        if client:
            client.is_over.set()
        thread.join()
        err.seek(0)
        return "HANG" if code is None else code, err.read(), seconds


def result(command: str, out: Path) -> str:
    """A digest of what a command has made: of a training the weights to read with, else all files."""
    digest = hashlib.sha256()
    if command in ("train", "import"):
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


def lost(client: Client, out: Path) -> list[str]:
    """What is wrong with the labels in the files: of the decisions that were answered each must be there, once."""
    try:
        found = labels_in(out)
    except ValueError as error:
        return [str(error)]
    missing = client.decisions.items() - set(found)
    doubled = len(found) - len(dict(found))
    more = len(found) - len(client.decisions)
    return [f"lost {missing}, {doubled} doubled, {more} more"] if missing or doubled or more > 1 else []


def faults(command: str, killed: bool, code: int | str, err: str, out: Path) -> list[str]:
    """What is wrong with how a command ended."""
    found = []
    early = code == -signal.SIGTERM and not err  # before the command has taken over the signals
    if code not in ((0, -signal.SIGKILL) if killed else (0, 130)) and not early:
        found.append(f"exit code {code}, said {err.strip()[-300:]}")
    if "Traceback" in err or "unexpected" in err:
        found.append("said " + err.strip()[-300:])
    if not killed and command not in WAITS_TO_GO_ON and leftovers(out):
        found.append(f"left {leftovers(out)}")
    return found


def ask(
    command: str, work: Path, number: int | None = None, after: float = 0.0
) -> tuple[Client, int | str, str, float]:
    """Run a server with a client; the client, and as of `run`."""
    words = arguments(command, work, work / "out")
    client = Client(words, work)
    return client, *run(words, number, after, client)


def label_the_rest(work: Path, before: Client) -> list[str]:
    """What is wrong where `aocr label` is given again: with the decisions of before, every image has one label then."""
    client, code, err, _ = ask("label", work)
    found = labels_in(work / "out")
    expected = {**dict(found), **before.decisions, **client.decisions}
    if code or client.faults or sorted(found) != sorted(expected.items()) or len(found) != NUM_IMAGES:
        return [f"again: exit code {code}, {client.faults}, {len(found)} labels, {err.strip()[-300:]}"]
    return []


def series_of_server(command: str, work: Path, count: int, rng: random.Random, kill: bool) -> Counter:
    """Interrupt `serve` or `label` at `count` random moments while a client asks."""
    out, counts, seconds = work / "out", Counter(), 0.0
    for turn in range(-1, count):
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        if turn < 0:
            client, code, err, seconds = ask(command, work)
            if code or client.faults:
                raise SystemExit(f"{command} fails undisturbed: {code}, {client.faults}, {err[-500:]}")
            continue
        number = signal.SIGKILL if kill else rng.choice((signal.SIGINT, signal.SIGTERM))
        after = rng.uniform(0, seconds)
        client, code, err, _ = ask(command, work, number, after)
        bad = [*faults(command, kill, code, err, out), *([] if kill else client.faults)]
        if command == "label":
            bad += lost(client, out) or label_the_rest(work, client)
        counts["while asked" if client.answers else "before the first answer"] += 1
        counts["FAULT"] += bool(bad)
        told = f"after {after:.2f} s, exit code {code}, {client.answers} answers"
        print(f"  {command} {turn}: {signal.Signals(number).name} {told}", *bad, flush=True)
    return counts


def series(command: str, work: Path, count: int, rng: random.Random, kill: bool) -> Counter:
    """Interrupt a command at `count` random moments, and give it again each time."""
    if command in SERVERS:
        return series_of_server(command, work, count, rng, kill)
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
        if command == "import" and code == 0:  # the same command would refuse the finished model
            bad += ["other result"] * (result(command, out) != expected)
        elif command not in ("test", "predict"):
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


def write_old_model(folder: Path) -> None:
    """A model of aocr 0.7.6, written by a process of its own: a fork of one in which TensorFlow worked may hang."""
    code = "import sys, pathlib; from test_import import old_variables, write_old; "
    code += "write_old(pathlib.Path(sys.argv[1]), old_variables(hidden=64), slots=False)"
    path = os.pathsep.join((str(ROOT), str(ROOT / "tests")))
    subprocess.run([sys.executable, "-c", code, folder], check=True, env={**os.environ, "PYTHONPATH": path})


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

    draw_numbers(args.work / "data", NUM_IMAGES)
    if not (args.work / "old").exists():
        write_old_model(args.work / "old")
    if not (args.work / "model").exists():
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
