"""The `aocr` command: parser, dispatch, and errors turned into one line and an exit code.

Exit codes: 0 success; 1 an error, or some inputs failed; 2 wrong usage; 130 interrupted, after saving.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import re
import signal
import sys
import traceback
import warnings

from aocr import __version__
from aocr.cli import (
    check,
    dataset,
    export,
    import_model,
    info,
    label,
    legacy,
    options,
    predict,
    serve,
    synth,
    test,
    train,
)
from aocr.cli.completion import SHELLS, Completion
from aocr.cli.config_file import read_config
from aocr.errors import AocrError, ConfigError, escape_control
from aocr.interrupts import EXIT_CODE, Interrupts
from aocr.tf_config import current_task

COMMANDS = {
    "dataset": dataset,
    "check": check,
    "synth": synth,
    "train": train,
    "test": test,
    "predict": predict,
    "serve": serve,
    "label": label,
    "export": export,
    "import": import_model,
    "info": info,
}

EXAMPLES = {
    "dataset": "aocr dataset labels.txt dataset.tfrecords --preview preview.png",
    "check": "aocr check labels.txt --model-dir checkpoints",
    "synth": "aocr synth words --count 1000 --texts words.txt",
    "train": "aocr train labels.txt --model-dir checkpoints --max-time 30m",
    "test": "aocr test test.txt --model-dir checkpoints --report report.html",
    "predict": "aocr predict images/*.png --model-dir checkpoints --json",
    "serve": "aocr serve --model-dir checkpoints --port 8501",
    "label": "aocr label images/ --output labels.txt",
    "export": "aocr export exported --model-dir checkpoints --format onnx",
    "import": "aocr import old-checkpoints/ --model-dir imported",
    "info": "aocr info checkpoints",
}


def make_parser() -> argparse.ArgumentParser:
    """Build the parser of the whole command line."""
    parser = options.Parser(
        prog="aocr",
        description="Attention OCR: train a word reader on your own images, and run it.",
        epilog="Example: aocr train labels.txt, then aocr test test.txt, then aocr predict image.png. "
        "aocr COMMAND --help shows the flags of a command.",
    )
    parser.add_argument("--version", action="version", version=f"aocr {__version__}")
    help = "print a script that completes commands and flags: source <(aocr --completion bash)"
    parser.add_argument("--completion", action=Completion, choices=list(SHELLS), metavar="bash|zsh", help=help)
    sub = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, module in COMMANDS.items():
        example = f"Example: {EXAMPLES[name]}"
        command = sub.add_parser(name, help=module.HELP, description=module.ABOUT, epilog=example)
        command.set_defaults(run=module.run, parser=command)
        module.add_arguments(command)
        if name == "train":
            options.everyday_first(command, module.EVERYDAY)
    return parser


def command_first(argv: list[str]) -> list[str]:
    """Move flags that precede the command behind it: older scripts wrote `aocr --model-dir D train F`."""
    if not argv or not argv[0].startswith("-"):
        return argv
    for i, word in enumerate(argv):
        follows_flag = i > 0 and argv[i - 1].startswith("-") and "=" not in argv[i - 1]
        is_value = follows_flag and any(later in COMMANDS for later in argv[i + 1 :])
        if word in COMMANDS and not is_value:
            return [word, *argv[:i], *argv[i + 1 :]]
    return argv


class _TerminalHandler(logging.StreamHandler):
    """Writes log lines to stderr, above any progress bar. Omits results, and on a terminal also steps and details."""

    is_verbose = False
    """Whether a terminal shows these too."""

    def filter(self, record):
        is_detail = record.name in ("aocr.steps", "aocr.details") and not self.is_verbose
        return not (record.name == "aocr.results" or (is_detail and sys.stderr.isatty()))

    def emit(self, record):
        from tqdm import tqdm

        prefix = "warning: " if record.levelno >= logging.WARNING else ""
        tqdm.write(prefix + escape_control(record.getMessage()), file=sys.stderr)


class _FileHandler(logging.FileHandler):
    """Writes the log file. If that fails, warns once and stops."""

    def handleError(self, record):
        error = sys.exc_info()[1]
        log = logging.getLogger("aocr")
        log.removeHandler(self)
        with contextlib.suppress(OSError):
            self.close()
        log.warning("%s: the log file cannot be written (%s). Logging to it stops.", self.baseFilename, error)


class _FileFormatter(logging.Formatter):
    """Formats lines of the log file: escapes control characters and hides the token of `aocr serve`."""

    def formatMessage(self, record):
        return re.sub("#token=.*", "#token=...", escape_control(super().formatMessage(record)))


def set_up_log(path: str | None) -> None:
    """Send aocr's log to stderr, and to a file if one is named."""
    log = logging.getLogger("aocr")
    log.setLevel(logging.INFO)
    log.propagate = False
    close_log()
    log.addHandler(_TerminalHandler())
    if path:
        if "://" in path:
            raise ConfigError("--log-path", path, "the log must be a file on this machine. Give a local path.")
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        handler = _FileHandler(path, encoding="utf-8")
        handler.setFormatter(_FileFormatter("%(asctime)-15s %(name)-5s %(levelname)-8s %(message)s"))
        log.addHandler(handler)


def close_log() -> None:
    """Close what `set_up_log` opened."""
    log = logging.getLogger("aocr")
    for handler in list(log.handlers):
        handler.close()
        log.removeHandler(handler)


def _log_path(args: argparse.Namespace) -> str | None:
    """Return the log file: --log-path, or for the chief of a training aocr.log in the model folder."""
    path = getattr(args, "log_path", None)
    if path or args.command != "train" or "://" in args.model_dir or os.path.isfile(args.model_dir):
        return path
    task = current_task()
    return None if task and task.index != 0 else os.path.join(args.model_dir, "aocr.log")


def _fail(message: str, code: int = 1) -> int:
    print(f"aocr: {escape_control(message)}", file=sys.stderr)
    return code


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text[:400] or type(error).__name__


def _report(error: Exception | KeyboardInterrupt, interrupted: bool) -> int:
    """Print in one line the error that ended the program (AOCR_DEBUG: its traceback first); return the exit code."""
    if os.environ.get("AOCR_DEBUG"):
        traceback.print_exception(error)
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the program that read our output has exited
        return 1
    if interrupted or isinstance(error, KeyboardInterrupt):  # first: a library may turn it into another error
        return _fail("interrupted.", EXIT_CODE)
    if isinstance(error, AocrError):
        return _fail(_one_line(error))
    if isinstance(error, OSError):
        has_path = error.strerror and error.filename
        reason = f"{error.filename}: {error.strerror}" if has_path else _one_line(error)
        return _fail(f"{reason}. Check the path, its permissions and the free space.")
    kind = type(error).__name__
    if isinstance(error, MemoryError) or kind == "ResourceExhaustedError":
        return _fail("out of memory. Use a smaller --batch-size or --max-width.")
    if kind == "UnimplementedError" and "File system scheme" in str(error):
        return _fail(f"{_one_line(error)}. For gs://, install aocr[gcs]; for others, their TensorFlow plug-in.")
    reason = _one_line(error).rstrip(".")
    return _fail(f"internal error ({kind}): {reason}. This is a bug; set AOCR_DEBUG=1 for a traceback.")


def main(argv: list[str] | None = None) -> int:
    """Run the command line `argv` (default: the process's) and return the exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = make_parser()
    interrupts = Interrupts()
    try:
        if legacy.is_legacy(argv):
            argv = legacy.translate(argv)
        argv = command_first(argv)
        args = parser.parse_args(argv)
        if getattr(args, "config", None):
            datasets, flags = read_config(args.config, args.parser)
            args = parser.parse_args([argv[0], *flags, *argv[1:]])  # a typed flag wins
            args.datasets = args.datasets or datasets
        options.check_written(args)
        _TerminalHandler.is_verbose = getattr(args, "verbose", False)
        set_up_log(_log_path(args))
        code = args.run(args)
        sys.stdout.flush()
        return code
    except (Exception, KeyboardInterrupt) as error:
        interrupts.end()
        return _report(error, interrupts.raised)
    finally:
        close_log()
        interrupts.restore()


def entry_point() -> None:
    """Run as a program. Output is UTF-8 on every system, also in a Windows pipe and with LC_ALL=C."""
    if None in (sys.stdin, sys.stdout, sys.stderr):
        sys.exit("aocr: a standard stream is closed. Redirect it to /dev/null instead.")
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]
    warnings.filterwarnings("ignore", module=r"PIL\.")  # about images that Pillow can still read
    code = main()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # everything is saved, so Ctrl-C may end the process at once
    if code and "TF_CONFIG" in os.environ:  # TensorFlow would wait half a minute for workers that are gone
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
