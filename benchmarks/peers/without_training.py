"""PaddleOCR and docTR: their packages read only, the training scripts are in their repositories."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence

from peer import Model, Peer, PeerError, Task


class PackageWithoutTraining(Peer):
    """A peer that cannot be trained from what can be installed; checked against the package."""

    package = ""
    script = ""
    """How the name of its training script ends, in its repository."""

    def install(self) -> None:
        """Download the package only."""
        if not list(self.folder.glob("*.whl")):
            self.folder.mkdir(parents=True, exist_ok=True)
            flags = ["--no-deps", "--only-binary=:all:", "--dest", self.folder]
            self.run(["pip", "download", *flags, self.package], self.folder / "install.log")

    def train(self, task: Task, minutes: Sequence[float]) -> Iterator[tuple[float, Model]]:
        """Look for the script in the package.

        Raises:
          PeerError: always; what stops it.
        """
        (wheel,) = self.folder.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            has = any(name.endswith(self.script) for name in archive.namelist())
        state = "is there now: write its peer" if has else "is only in its repository"
        raise PeerError(f"{self.package} has no training: {self.script} {state}")


class PaddleOCR(PackageWithoutTraining):
    """Training takes a clone of the repository."""

    name, package, script = "PaddleOCR", "paddleocr==3.7.0", "tools/train.py"


class DocTR(PackageWithoutTraining):
    """The package has the networks."""

    name, package, script = "docTR", "python-doctr==1.1.0", "recognition/train.py"
