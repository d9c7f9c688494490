"""fast-plate-ocr: training with its command, reading with its class from its ONNX export."""

from __future__ import annotations

import csv
import json
import shutil
import sys
import tarfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from peer import Model, Peer, PeerError, Reading, Task

VERSION = "1.1.0"
NETWORK = "cct_xs_v2.yaml"
PROBE_EPOCHS = 3
BUDGET_SHARE = 0.96
"""Of the limit that epochs are planned for: they do not all take the same time, on a shared core less so."""


class FastPlateOCR(Peer):
    """The defaults of its `train` and its smallest network; colour and size are those of its guide.

    Its rate follows the number of epochs, which is set from measured epochs so that they fill the limit.
    """

    name = "fast-plate-ocr"
    requirements = (f"fast-plate-ocr[train,onnx]=={VERSION}",)
    max_slots = 10

    def install(self) -> None:
        """Install; take the description of the network from the source package: the wheel has none."""
        super().install()
        network = self.folder / NETWORK
        if not network.exists():
            source = f"fast-plate-ocr=={VERSION}"
            flags = ["--no-deps", "--no-binary", "fast-plate-ocr", "--dest", self.folder]
            self.run([self.bin / "pip", "download", *flags, source], self.folder / "install.log")
            with tarfile.open(self.folder / f"fast_plate_ocr-{VERSION}.tar.gz") as archive:
                found = archive.extractfile(f"fast_plate_ocr-{VERSION}/models/{NETWORK}")
                network.write_bytes(found.read())

    def convert(self, task: Task) -> None:
        """Write two tables and a configuration beside a link to the images."""
        link, labels = task.work / "images", [label for _, label in (*task.train, *task.test)]
        if not link.is_symlink():
            link.symlink_to(task.images / "images")
        for name, rows in zip(("train", "val"), task.split(), strict=True):
            with open(task.work / f"{name}.csv", "w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows([("image_path", "plate_text"), *rows])
        plate = {"max_plate_slots": max(map(len, labels)), "alphabet": "".join(sorted(set("".join(labels)))) + "_"}
        plate |= {"pad_char": "_", "img_height": 64, "img_width": 128, "image_color_mode": "rgb"}
        (task.work / "plate.yaml").write_text(json.dumps(plate), "utf-8")  # JSON is YAML

    def train(self, task: Task, minutes: Sequence[float]) -> Iterator[tuple[float, Model]]:
        """Measure an epoch, then train with as many as the limit holds."""
        longest = max(len(label) for _, label in (*task.train, *task.test))
        if longest > self.max_slots:
            raise PeerError(f"not made for it: {longest} characters, a fixed place for each")
        self.convert(task)
        start, epoch = self.epoch_seconds(task)
        for limit in minutes:
            epochs = int((60 * limit * BUDGET_SHARE - start) / epoch)
            if epochs < 1:
                raise PeerError(f"an epoch takes {epoch:.0f} s, the start {start:.0f} s")
            folder = task.work / f"model-{limit:g}"
            done = self.fit(task, folder, epochs, 60 * limit)
            finished = count_epochs(folder)
            images, ended = finished * len(task.split()[0]), done.ended and finished < epochs
            yield limit, Model(newest(folder, "last.keras"), done.cpu_seconds, images, ended)

    def fit(self, task: Task, folder: Path, epochs: int, limit: float, **more):
        """Run its command."""
        flags = ["--model-config-file", self.folder / NETWORK, "--plate-config-file", task.work / "plate.yaml"]
        flags += ["--annotations", task.work / "train.csv", "--val-annotations", task.work / "val.csv"]
        flags += ["--epochs", epochs, "--output-dir", folder, "--seed", 1]
        log = folder.with_suffix(".log")
        return self.run([self.bin / "fast-plate-ocr", "train", *flags], log, limit, KERAS_BACKEND="tensorflow", **more)

    def epoch_seconds(self, task: Task) -> tuple[float, float]:
        """Return the processor seconds of the start with the first epoch, less one, and of an epoch."""
        folder, ends = task.work / "probe", {}
        shutil.rmtree(folder, ignore_errors=True)
        self.fit(task, folder, PROBE_EPOCHS, 1e9, on_poll=lambda s: ends.setdefault(count_epochs(folder), s))
        epoch = (ends[PROBE_EPOCHS] - ends[1]) / (PROBE_EPOCHS - 1)
        return ends[1] - epoch, epoch

    def read(self, task: Task, model: Model | None) -> Reading:
        """Export, then read in one process."""
        config = task.work / "plate.yaml"
        export = [self.bin / "fast-plate-ocr", "export", "--model", model.path, "--plate-config-file", config]
        self.run(export, task.work / "export.log", KERAS_BACKEND="tensorflow")
        return self.read_inside(task, model.path.with_suffix(".onnx"), config)


def newest(folder: Path, name: str) -> Path:
    """Return the file of the newest run in a folder of dated runs."""
    found = sorted(folder.glob(f"*/{name}"))
    if not found:
        raise PeerError(f"no {name}: not one epoch within the limit")
    return found[-1]


def count_epochs(folder: Path) -> int:
    """Return the number of epochs that the newest run has finished."""
    logs = sorted(folder.glob("*/training_log.csv"))
    return max(0, len(logs[-1].read_text("utf-8").splitlines()) - 1) if logs else 0


def read(paths: str, output: str, model: str, config: str) -> None:
    """Read all images twice in batches of 32; time the second pass."""
    import onnxruntime
    from fast_plate_ocr import LicensePlateRecognizer

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    reader = LicensePlateRecognizer(
        onnx_model_path=model, plate_config_path=config, sess_options=options, providers=["CPUExecutionProvider"]
    )
    images = json.loads(Path(paths).read_text("utf-8"))
    batches = [images[i : i + 32] for i in range(0, len(images), 32)]
    for _ in range(2):
        start = time.process_time()
        texts = [found.plate for batch in batches for found in reader.run(batch)]
    found = {"texts": texts, "seconds": time.process_time() - start}
    Path(output).write_text(json.dumps(found), "utf-8")


if __name__ == "__main__":
    read(*sys.argv[2:])
