"""README.md and docs/ are true: their commands run as written, and their flags are those of the program.

Only the cost is lowered: trainings get a short `--max-time` at their end, where it wins over an earlier one, and
what needs no shell runs in this process, where TensorFlow has started already.
A block after `<!-- not run: reason -->` is passed over, and of `pip install . && ...` the rest is run: the
package under test is installed already.
"""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import ROOT, run_aocr

from aocr.cli.main import make_parser

INDEX = (ROOT / "docs/README.md").read_text("utf-8")
PAGES = [ROOT / "README.md", *(ROOT / "docs" / name for name in re.findall(r"\]\((\w[\w-]*\.md)\)", INDEX))]
"""All pages, in the order of the index; their commands are run in that order."""
ALL = "\n".join(page.read_text("utf-8") for page in PAGES)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NOT_RUN = re.compile(r"<!-- not run: .+ -->\s*$")
INSTALL = "pip install . && "
TRAINING_TIME = "3s"
TOOLS = {"docker", "curl", "ssh", "tensorboard", "pip", "pytest", "gcloud", "kubectl"}  # a passed-over line starts with
MISSING = (
    "onnx",
    "openvino",
    "litert",
    "aocr serve",
    "my-labels.txt",
    "my-images",
    "words/",
    "old-checkpoints",
    "--devices",
    "TF_CONFIG=",
    "gs://",
)  # what an aocr line passed over lacks
OTHER_FLAGS = {
    "--no-deps",
    "--data-binary",
    "--check",
    "--rm",
    "--build-arg",
    "--logdir",
    "--region",
    "--display-name",
    "--worker-pool-spec",
    "--args",
}


class Block(NamedTuple):
    language: str
    text: str
    run: bool

    @property
    def commands(self) -> list[str]:
        """Lines, those continued with a backslash joined."""
        return [line for line in self.text.replace("\\\n", " ").splitlines() if line.strip()]


def blocks() -> list[Block]:
    return [Block(m[1], m[2], not NOT_RUN.search(ALL[: m.start()])) for m in FENCE.finditer(ALL)]


def bash_blocks(run: bool) -> list[Block]:
    return [block for block in blocks() if block.language == "bash" and block.run is run]


def as_run(command: str) -> str:
    """The command with the cost of a training lowered."""
    command = command.removeprefix(INSTALL)
    if re.match(r"(aocr train|python -m aocr --phase=train) ", command):
        command += f" --max-time {TRAINING_TIME}"
    return command


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A copy of what the README's commands need."""
    folder = tmp_path_factory.mktemp("readme") / "aocr"
    folder.mkdir()
    ignored = shutil.ignore_patterns("__pycache__", "*.tfrecords")
    for name in ("aocr", "datasets"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    programs = folder.parent / "bin"
    programs.mkdir()
    for name, module in (("aocr", "-m aocr "), ("python", "")):
        shim = programs / name
        shim.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {module}"$@"\n')
        shim.chmod(0o755)
    return folder


def environment(checkout: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PATH": os.pathsep.join((str(checkout.parent / "bin"), os.environ["PATH"])),
        "PYTHONPATH": str(checkout),
    }


def run(command: str, language: str, checkout: Path) -> subprocess.CompletedProcess:
    """The command of a block, in this process where it is one of aocr alone."""
    aocr = re.match(r"(python -m )?aocr ", command)
    if language == "bash" and aocr and not set(command) & set("|&;<>$"):
        return run_aocr(*shlex.split(command[aocr.end() :], comments=True), cwd=checkout)
    argv = ["bash", "-euo", "pipefail", "-c", command] if language == "bash" else [sys.executable, "-c", command]
    return subprocess.run(
        argv, cwd=checkout, env=environment(checkout), stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_the_commands_run_as_written(checkout):
    for block in blocks():
        if not block.run or block.language not in ("bash", "python"):
            continue
        for command in map(as_run, block.commands) if block.language == "bash" else [block.text]:
            done = run(command, block.language, checkout)
            told = f"{command}\nexit code {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
            assert done.returncode == 0, told
            assert "Traceback" not in done.stderr, told
    for name in (
        "checkpoints/model.json", "checkpoints/train.json", "checkpoints/best.json", "checkpoints/aocr.log",
        "training.tfrecords", "report.html", "exported/1/saved_model.pb", "exported-graph/frozen_graph.pb",
        "classic-model/model.json", "tuned-model/best.json", "log.txt", "log-test.txt",
    ):  # fmt: skip
        assert (checkout / name).exists(), name
    assert list(checkout.glob("results/*correct/*/attention.png"))
    assert list(checkout.glob("checkpoints/logs/events.*"))


def test_what_is_not_run_could_not_be():
    assert bash_blocks(run=True)
    for block in bash_blocks(run=False):
        for command in block.commands:
            words = shlex.split(command)
            if words[0].startswith("TF_CONFIG="):
                del words[0]
            if words[0] == "aocr":
                make_parser().parse_args(words[1:])
                assert any(missing in command for missing in MISSING), command
            else:
                assert words[0] in TOOLS, command


def test_the_two_commands_stand_there():
    commands = [command for block in blocks() for command in block.commands]
    assert commands.index("pip install . && aocr train datasets/annotations-training.txt") == 0
    assert "pip install '.[test]' && pytest" in commands


def parsers() -> list[argparse.ArgumentParser]:
    parser = make_parser()
    sub = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return [parser, *sub.choices.values()]


def known_flags() -> set[str]:
    return {f for p in parsers() for action in p._actions for f in action.option_strings if f.startswith("--")}


def mentioned_flags() -> set[str]:
    text = re.sub(r"^python -m aocr --phase.*$", "", ALL, flags=re.MULTILINE)  # the original's own flags
    found = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", text))
    return found - OTHER_FLAGS - {"--phase", "--no-load-model", "--old-model-version"}


def test_the_pages_name_no_flag_that_is_not_there():
    assert mentioned_flags() - known_flags() == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pictures_and_links_within_exist(page):
    for target in re.findall(r"\]\((?!https?://|#)([^)]+)\)", page.read_text("utf-8")):
        assert (page.parent / target.partition("#")[0]).exists(), target


def test_the_index_names_every_page():
    assert {page.name for page in PAGES} >= {path.name for path in (ROOT / "docs").glob("*.md")}


def test_the_annotation_lines_shown_are_those_of_the_toy_set():
    lines = (ROOT / "datasets/annotations-training.txt").read_text("utf-8").splitlines()
    shown = next(block for block in blocks() if not block.language).commands
    assert shown == lines[: len(shown)]
