"""The `aocr` command: parser, dispatch, and errors turned into one line and an exit code.

Exit codes: 0 all went well; 1 an error, or some inputs failed; 2 wrong usage; 130 interrupted, after saving.
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

from aocr import __version__
from aocr.cli import dataset, export, import_model, label, legacy, options, predict, serve, synth, test, train
from aocr.errors import AocrError, ConfigError, escape_control
from aocr.interrupts import EXIT_CODE, Interrupts
from aocr.tf_config import current_task

COMMANDS = {
    "dataset": dataset,
    "synth": synth,
    "train": train,
    "test": test,
    "predict": predict,
    "serve": serve,
    "label": label,
    "export": export,
    "import": import_model,
}


def make_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = options.Parser(
        prog="aocr",
        description="Attention OCR: train a word reader on your own images, and run it.",
        epilog="aocr COMMAND --help tells more. Start: aocr train ANNOTATIONS, then aocr test, aocr predict.",
    )
    parser.add_argument("--version", action="version", version=f"aocr {__version__}")
    sub = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, module in COMMANDS.items():
        command = sub.add_parser(name, help=module.HELP, description=module.ABOUT)
        command.set_defaults(run=module.run)
        module.add_arguments(command)
    return parser


def command_first(argv: list[str]) -> list[str]:
    """Move flags that stand before the command behind it: older scripts wrote `aocr --model-dir D train F`."""
    if not argv or not argv[0].startswith("-"):
        return argv  # a command, or a word that should have been one
    for i, word in enumerate(argv):
        follows_flag = i > 0 and argv[i - 1].startswith("-") and "=" not in argv[i - 1]
        if word in COMMANDS and not (follows_flag and any(later in COMMANDS for later in argv[i + 1 :])):
            return [word, *argv[:i], *argv[i + 1 :]]
    return argv


class _Lines(logging.StreamHandler):
    """Log lines on stderr that leave a progress bar whole; the bar makes step lines superfluous, stdout results."""

    def filter(self, record):
        return not (record.name == "aocr.results" or (record.name == "aocr.steps" and sys.stderr.isatty()))

    def emit(self, record):
        from tqdm import tqdm

        prefix = "warning: " if record.levelno >= logging.WARNING else ""
        tqdm.write(prefix + escape_control(record.getMessage()), file=sys.stderr)


class _LogFile(logging.FileHandler):
    """The log file. Where it cannot be written, say so once and go on without it."""

    def handleError(self, record):
        log = logging.getLogger("aocr")
        log.removeHandler(self)
        self.close()
        log.warning(
            "%s: the log cannot be written (%s). Nothing more goes there.", self.baseFilename, sys.exc_info()[1]
        )

    def close(self):
        with contextlib.suppress(OSError):
            super().close()


class _Shown(logging.Formatter):
    """Lines of the log file, hidden characters of names and texts escaped, without the token of `aocr serve`."""

    def formatMessage(self, record):
        return re.sub("#token=.*", "#token=...", escape_control(super().formatMessage(record)))


def set_up_log(path: str | None) -> None:
    """Send aocr's log to stderr and to a file, if one is named."""
    log = logging.getLogger("aocr")
    log.setLevel(logging.INFO)
    log.propagate = False
    close_log()
    log.addHandler(_Lines())
    if path:
        if "://" in path:
            raise ConfigError("--log-path", path, "the log must be a file on this machine. Give a local path.")
        folder = os.path.dirname(path)
        if folder:
            os.makedirs(folder, exist_ok=True)
        handler = _LogFile(path, encoding="utf-8")
        handler.setFormatter(_Shown("%(asctime)-15s %(name)-5s %(levelname)-8s %(message)s"))
        log.addHandler(handler)


def close_log() -> None:
    """Close what `set_up_log` opened."""
    log = logging.getLogger("aocr")
    for handler in list(log.handlers):
        handler.close()
        log.removeHandler(handler)


def _log_path(args: argparse.Namespace) -> str | None:
    path = getattr(args, "log_path", None)
    if path or args.command != "train" or "://" in args.model_dir or os.path.isfile(args.model_dir):
        return path
    task = current_task()
    path = os.path.join(args.model_dir, "aocr.log")
    if os.path.islink(path):
        raise ConfigError("--log-path", path, "is a link, which may lead out of the folder. Remove it, or name a file.")
    if os.path.exists(path) and not os.path.isfile(path):
        raise ConfigError("--log-path", path, "is a pipe, a device or a folder. Remove it, or name a file.")
    return None if task and task.index != 0 else path  # it is the chief's


def _fail(message: str, code: int = 1) -> int:
    print(f"aocr: {escape_control(message)}", file=sys.stderr)
    return code


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text[:400] or type(error).__name__


def _tell(error: Exception | KeyboardInterrupt, interrupted: bool) -> int:
    """Say in one line what ended the program, under AOCR_DEBUG behind all the calls to it; return its exit code."""
    if os.environ.get("AOCR_DEBUG"):
        traceback.print_exception(error)
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has gone: nothing more to say
        return 1
    if interrupted or isinstance(error, KeyboardInterrupt):  # first: an interrupt may become an error of any kind
        return _fail("interrupted.", EXIT_CODE)
    if isinstance(error, AocrError):
        return _fail(_one_line(error))
    if isinstance(error, OSError):
        known = error.strerror and error.filename
        told = f"{error.filename}: {error.strerror}" if known else _one_line(error)
        return _fail(f"{told}. Check the path, its rights and the free space.")
    kind = type(error).__name__
    if isinstance(error, MemoryError) or kind == "ResourceExhaustedError":
        return _fail("out of memory. Use a smaller --batch-size or --max-width.")
    if kind == "UnimplementedError" and "File system scheme" in str(error):
        return _fail(f"{_one_line(error)}. For gs:// install aocr[gcs]; for others their TensorFlow plug-in.")
    return _fail(f"unexpected {kind}: {_one_line(error)} (a fault of aocr: AOCR_DEBUG=1 shows where)")


def main(argv: list[str] | None = None) -> int:
    """Run the command line `argv` (default: the process's) and return the exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = make_parser()
    interrupts = Interrupts()
    try:
        if legacy.is_legacy(argv):
            argv = legacy.translate(argv)
        args = parser.parse_args(command_first(argv))
        options.check_written(args)
        set_up_log(_log_path(args))
        code = args.run(args)
        sys.stdout.flush()
        return code
    except (Exception, KeyboardInterrupt) as error:
        interrupts.end()
        return _tell(error, interrupts.raised)
    finally:
        close_log()
        interrupts.restore()


def _open_closed() -> None:
    """Let standard streams that are closed lead nowhere: else the next file that is opened would take their place."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), "r" if name == "stdin" else "w"))


def entry_point() -> None:
    """Run as a program. What it prints is UTF-8 wherever it runs: a Windows pipe or the locale C knows few letters."""
    is_closed = sys.stdout is None
    _open_closed()
    if is_closed:
        sys.exit(_fail("standard output is closed. Send it to a file, or to /dev/null."))
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]
    code = main()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # all is said and saved: a Ctrl-C from here on just ends it
    if code and "TF_CONFIG" in os.environ:  # TensorFlow would wait half a minute for workers that are gone
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
