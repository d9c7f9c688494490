"""Imports run downward only, and the command line starts without heavy packages."""

import ast
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import aocr
from aocr.cli.main import COMMANDS

PACKAGE = Path(aocr.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

_GROUND = ("config", "errors", "files", "interrupts", "machine", "protobuf", "results", "tf_config", "tfrecord")
GROUND = {f"aocr.{name}" for name in _GROUND}
BELOW = {"ground", "text", "report"}
NEEDED = {"numpy", "PIL", "tensorflow", "keras"}
EXPORTED = {"onnx", "onnxruntime", "openvino", "ai_edge_litert"}  # other programs' formats

# room -> (rooms it may import from, packages it may import); the standard library is allowed everywhere
RULES = {
    "ground": ({"ground", "text"}, set()),
    "ground, inside a function": ({"ground", "text"}, {"tensorflow", "keras", "numpy", "onnxruntime", "tqdm"}),
    "text": ({"ground", "text"}, {"distance", "numpy"}),
    "report": (BELOW, {"numpy", "PIL"}),
    "data": (BELOW | {"data"}, {"numpy", "PIL", "tensorflow", "lmdb"}),
    "model": ({"ground", "text", "model"}, {"keras"}),
    "synth": ({"ground", "text", "synth"}, {"numpy", "PIL"}),
    "onnx": ({"ground", "text", "onnx"}, {"numpy"}),
    "folder": ({"ground", "text", "folder"}, {"numpy", "tensorflow", "keras"}),
    "reading": (BELOW | {"data", "model", "onnx", "folder", "synth", "reading"}, NEEDED | {"onnxruntime"}),
    "training": (BELOW | {"data", "model", "folder", "synth", "reading", "training"}, NEEDED | {"tqdm"}),
    "exchange": (BELOW | {"data", "model", "folder", "reading", "onnx", "exchange"}, NEEDED | EXPORTED),
    "serving": (BELOW | {"data", "folder", "reading", "serving"}, {"numpy", "PIL", "aiohttp"}),
    "cli": ({"ground", "text", "cli"}, set()),
    "cli, inside a function": (
        BELOW | {"data", "synth", "folder", "reading", "training", "exchange", "serving", "cli"},
        {"tqdm"},
    ),
    "top": ({"cli"}, set()),  # aocr/__init__.py and aocr/__main__.py
}
TENSORFLOW_IN_MODEL = ("aocr.model.layers", "aocr.model.ctc")

BLOCKED = ("tensorflow", "keras", "numpy", "PIL", "tqdm", "aiohttp")
BLOCKER = f"""
import sys


class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED!r}:
            raise ImportError(name + " is blocked")


sys.meta_path.insert(0, Blocker())
"""


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def floor_of(module: str) -> str:
    if module in GROUND:
        return "ground"
    room = module.split(".")[1] if "." in module else ""
    return room if room in RULES else "top"


def is_module(name: str) -> bool:
    path = PACKAGE.parent.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").exists()


def imports(path: Path) -> Iterator[tuple[str, bool, int]]:
    """(module imported, whether at module level, line) of a file."""
    tree = ast.parse(path.read_text("utf-8"))
    nested = {
        node
        for function in ast.walk(tree)
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        top = node not in nested
        if isinstance(node, ast.Import):
            yield from ((alias.name, top, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: write the whole name of the module"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                inside = whole.startswith("aocr.") and is_module(whole)
                yield whole if inside else node.module, top, node.lineno


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_imports_run_downward(path):
    module = module_name(path)
    floor = floor_of(module)
    wrong = []
    for name, top, line in imports(path):
        nested = f"{floor}, inside a function"
        floors, packages = RULES[nested if not top and nested in RULES else floor]
        package = name.partition(".")[0]
        if package == "aocr":
            # `import aocr` gives the version
            allowed = name == "aocr" or floor_of(name) in floors
        else:
            allowed = package in sys.stdlib_module_names or package in packages
            allowed |= module in TENSORFLOW_IN_MODEL and package == "tensorflow"
        if not allowed:
            wrong.append(f"{path.name}:{line}: {floor} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_every_module_has_a_floor():
    top = {module_name(path) for path in MODULES if floor_of(module_name(path)) == "top"}
    assert top <= {"aocr", "aocr.__main__"}, "give new modules a floor in this test and in the design"


def test_nested_imports_are_found(tmp_path):
    path = tmp_path / "sample.py"
    path.write_text(
        "import os\nfrom aocr.text import charset\n"
        "from aocr import __version__\ndef f():\n    from aocr import machine\n"
    )
    assert list(imports(path)) == [
        ("os", True, 1),
        ("aocr.text.charset", True, 2),
        ("aocr", True, 3),
        ("aocr.machine", False, 5),
    ]


def run_blocked(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", BLOCKER + code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_needs_no_heavy_package(command):
    argv = [*([command] if command else []), "--help"]
    done = run_blocked(f"import runpy\nsys.argv = ['aocr'] + {argv!r}\nrunpy.run_module('aocr', run_name='__main__')")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: aocr")
    assert not done.stderr


def test_importing_aocr_is_light():
    code = f"import aocr, sys\nassert aocr.AocrError and aocr.Charset\nassert not {set(BLOCKED)!r} & set(sys.modules)"
    done = run_blocked(code)
    assert done.returncode == 0, done.stderr


def test_blocker():
    assert run_blocked("import numpy").returncode != 0


def test_help_is_fast():
    def seconds() -> float:
        """CPU time, which does not depend on other processes."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "aocr", "--help"], capture_output=True, check=True, env=dict(os.environ))
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(5)) < 0.2


@pytest.mark.parametrize("name", aocr.__all__)
def test_public_names_resolve(name):
    assert getattr(aocr, name) is not None
    assert name in dir(aocr)


def test_unknown_public_name():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        aocr.nonsense  # noqa: B018
