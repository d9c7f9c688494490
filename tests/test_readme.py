"""The commands in README.md and docs/ run as written, and their flags, links and file names exist.

Trainings get a short `--max-time`. They and other long commands are marked slow; the rest runs with `words` in place of
the trained model. A block after `<!-- not run: reason -->` is only parsed.
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

import foreign
import pytest
from conftest import ROOT, run_aocr

import aocr
from aocr.cli.main import make_parser

INDEX = (ROOT / "docs/README.md").read_text("utf-8")
PAGES = [ROOT / "README.md", *(ROOT / "docs" / name for name in re.findall(r"\]\((\w[\w-]*\.md)\)", INDEX))]
"""All pages, in the order of the index, in which their commands run."""
ALL = "\n".join(page.read_text("utf-8") for page in PAGES)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NOT_RUN = re.compile(r"<!-- not run: .+ -->\s*$")
INSTALL = "pip install . && "
TRAINING_TIME = "3s"
TOOLS = {"sed", "docker", "curl", "ssh", "tensorboard", "pip", "pytest", "gcloud", "kubectl"}
"""First words of lines that are not run, besides `aocr`."""
MISSING = (
    "onnx",
    "openvino",
    "litert",
    "aocr serve",
    "my-labels.txt",
    "my-images",
    "german.txt",
    "words/",
    "old-checkpoints",
    "--devices",
    "TF_CONFIG=",
    "gs://",
)
"""What an `aocr` line that is not run needs."""
OTHER_FLAGS = {
    "--no-deps",
    "--data-binary",
    "--preload",
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
        """Lines; those that end in a backslash are joined with the next."""
        return [line for line in self.text.replace("\\\n", " ").splitlines() if line.strip()]


def blocks() -> list[Block]:
    return [Block(m[1], m[2], not NOT_RUN.search(ALL[: m.start()])) for m in FENCE.finditer(ALL)]


def bash_blocks(run: bool) -> list[Block]:
    return [block for block in blocks() if block.language == "bash" and block.run is run]


def commands_to_run() -> list[tuple[str, str]]:
    """(language, command) of every block that is run; Python blocks as a whole."""
    commands = []
    for block in blocks():
        if block.run and block.language == "bash":
            commands += [("bash", command.removeprefix(INSTALL)) for command in block.commands]
        elif block.run and block.language == "python":
            commands.append(("python", block.text))
    return commands


def is_training(command: str) -> bool:
    return command.startswith(("aocr train", "python -m aocr --phase=train"))


def is_slow(command: str) -> bool:
    """Whether the command trains, exports, or takes over five seconds for another reason."""
    if "--like" in command or "--visualize" in command:
        return True
    return command.startswith(("aocr train", "aocr export", "python -m aocr"))


def makes_records_for(command: str, others: list[str]) -> bool:
    """Whether the command writes records that one of the others names."""
    if not command.startswith(("aocr dataset", "aocr synth")):
        return False
    outputs = {word for word in shlex.split(command, comments=True) if word.endswith(".tfrecords")}
    return any(outputs & set(shlex.split(other)) for other in others)


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A copy of what the commands need."""
    folder = tmp_path / "aocr"
    folder.mkdir()
    ignored = shutil.ignore_patterns("__pycache__", "*.tfrecords")
    for name in ("aocr", "datasets"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    foreign.write_all(folder)
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
    """Run a command; one of `aocr` alone runs in this process, where TensorFlow has started already."""
    aocr = re.match(r"(python -m )?aocr ", command)
    if language == "bash" and aocr and not set(command) & set("|&;<>$"):
        return run_aocr(*shlex.split(command[aocr.end() :], comments=True), cwd=checkout)
    argv = ["bash", "-euo", "pipefail", "-c", command] if language == "bash" else [sys.executable, "-c", command]
    return subprocess.run(
        argv, cwd=checkout, env=environment(checkout), stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip


def assert_runs(command: str, language: str, checkout: Path) -> None:
    done = run(command, language, checkout)
    report = f"{command}\nexit code {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    assert done.returncode == 0, report
    assert "Traceback" not in done.stderr, report


def assert_exist(checkout: Path, *names: str) -> None:
    assert [name for name in names if not (checkout / name).exists()] == []


def test_quick_commands(checkout):
    for name in ("checkpoints", "two-lines-model"):
        shutil.copytree(ROOT / "aocr/folder/box", checkout / name)
    for language, command in commands_to_run():
        if not is_slow(command):
            assert_runs(command, language, checkout)
    assert_exist(checkout, "training.tfrecords", "report.html")


@pytest.mark.slow
def test_slow_commands(checkout):
    commands = [command for language, command in commands_to_run() if language == "bash"]
    slow = [command for command in commands if is_slow(command)]
    for command in [command for command in commands if makes_records_for(command, slow)] + slow:
        limit = f" --max-time {TRAINING_TIME}" if is_training(command) else ""
        assert_runs(command + limit, "bash", checkout)
    assert_exist(
        checkout, "checkpoints/model.json", "checkpoints/weights.npz", "checkpoints/train.json",
        "checkpoints/aocr.log", "classic-model/model.json", "tuned-model/weights.npz", "log.txt", "log-test.txt",
        "from-lmdb/weights.npz", "from-doctr/weights.npz",
        "exported/1/saved_model.pb", "exported-graph/frozen_graph.pb",
    )  # fmt: skip
    assert list(checkout.glob("checkpoints/logs/events.*"))
    assert list(checkout.glob("results/*correct/*/attention.png"))


def test_commands_that_are_not_run_are_valid_and_need_something_else():
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


def test_readme_has_its_two_commands():
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
    flags = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", text))
    return flags - OTHER_FLAGS - {"--phase", "--no-load-model", "--old-model-version"}


def test_flags_exist():
    assert mentioned_flags() - known_flags() == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pictures_and_links_exist(page):
    for target in re.findall(r"\]\((?!https?://|#)([^)]+)\)", page.read_text("utf-8")):
        assert (page.parent / target.partition("#")[0]).exists(), target


def test_index_names_every_page():
    assert {page.name for page in PAGES} >= {path.name for path in (ROOT / "docs").glob("*.md")}


def test_annotation_lines_are_those_of_the_toy_set():
    lines = (ROOT / "datasets/annotations-training.txt").read_text("utf-8").splitlines()
    example = next(block for block in blocks() if not block.language).commands
    assert example == lines[: len(example)]


def test_architecture_names_files_that_exist():
    paths = [path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py") if "build" not in path.parts]
    names = re.findall(r"`([\w/]+\.py)`", (ROOT / "docs/ARCHITECTURE.md").read_text("utf-8"))
    assert [name for name in names if not any(f"/{path}".endswith(f"/{name}") for path in paths)] == []


def test_citation_has_the_version_and_the_workflow_runs_the_checks():
    assert f"\nversion: {aocr.__version__}\n" in (ROOT / "CITATION.cff").read_text("utf-8")
    assert "run: bash .ci/run" in (ROOT / ".github/workflows/ci.yml").read_text("utf-8")
