"""Test `aocr serve` under load: its speed compared with reading in one process, a soak test, malformed requests.

    python benchmarks/serve.py speed|soak|fuzz IMAGE...

The model is `words` as an ONNX export. The client runs on the same cores; CPU times are the server's alone.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import collections
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import aiohttp
from machine import describe, environment

import aocr
from aocr.folder.words import open_folder
from aocr.onnx.file import write_graph

PREDICT = "/v1/models/words:predict"
PIECES = [b"[" * 50, b"{}", b'"', b"null", b"\0", b"\xff\xfe", b"%", b"../", b"1e999", b"--x"]
ROUNDS = 3
TICKS = os.sysconf("SC_CLK_TCK")


class Server:
    """An `aocr serve` process with numbered exports."""

    def __init__(self, folder: Path, graph: bytes):
        self.folder, self.graph, self.number = folder, graph, 0
        self.log = folder / "serve.log"
        self.add_version()
        command = [sys.executable, "-m", "aocr", "serve", "--port", "0", "--model-dir", str(folder / "words")]
        self.process = subprocess.Popen(command, stderr=self.log.open("w"), env=environment())
        while not (match := re.search(r"Open (\S+)/\n", self.log.read_text())):
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.1)
        self.url, self.address = match[1], match[1].removeprefix("http://").split(":")

    def add_version(self) -> None:
        """Add the next version."""
        self.number += 1
        path = self.folder / "words" / str(self.number)
        path.mkdir(parents=True)
        (path / "reader.onnx").write_bytes(self.graph)

    def cpu_seconds(self) -> float:
        """Return the CPU seconds that the server has used so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def megabytes(self) -> float:
        """Return the resident memory of the server in MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024

    def end(self) -> None:
        """Stop the server with SIGTERM and print a summary of its log."""
        self.process.send_signal(signal.SIGTERM)
        code, log = self.process.wait(90), self.log.read_text()
        errors = collections.Counter(line for line in log.splitlines() if "unexpected" in line or "Error" in line)
        print(f"ended with {code}; traceback: {'Traceback' in log}; errors: {dict(errors)}")


def bodies_of(images: list[bytes]) -> list[bytes]:
    return [json.dumps({"inputs": {"b64": base64.b64encode(image).decode()}}).encode() for image in images]


async def clients(server: Server, bodies: list[bytes], number: int, seconds: float) -> list[float]:
    """Send requests from `number` clients; return the seconds that each request took."""
    waits: list[float] = []
    stop = time.monotonic() + seconds

    async def client(session: aiohttp.ClientSession, start: int) -> None:
        while time.monotonic() < stop:
            began = time.perf_counter()
            async with session.post(server.url + PREDICT, data=bodies[start % len(bodies)]) as answer:
                await answer.read()
                assert answer.status == 200
            waits.append(time.perf_counter() - began)
            start += number

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(client(session, i) for i in range(number)))
    return waits


async def speed(server: Server, images: list[bytes], args: argparse.Namespace) -> None:
    reader = aocr.load(str(server.folder / "words" / "1" / "reader.onnx"), batch_size=32)
    bodies = bodies_of(images)
    reader.predict(images)
    await clients(server, bodies, 8, 2)
    ratios, direct, served = [], [], []
    for _ in range(ROUNDS):
        start, count = time.process_time(), 0
        while time.process_time() - start < args.seconds / 4:
            reader.predict(images)
            count += len(images)
        direct.append((time.process_time() - start) / count * 1000)
        before = server.cpu_seconds()
        waits = await clients(server, bodies, 32, args.seconds)
        served.append((server.cpu_seconds() - before) / len(waits) * 1000)
        ratios.append(served[-1] / direct[-1])
    print(f"CPU ms per image: one process {statistics.median(direct):.2f}, 32 clients {statistics.median(served):.2f}, "
          f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")  # fmt: skip
    await single_client(server, reader, images, bodies, args.seconds)
    waits = sorted(await clients(server, bodies, 8, args.seconds))
    median, last = (waits[int(len(waits) * share)] for share in (0.5, 0.99))
    print(f"8 clients, {len(waits)} requests: median {median * 1000:.1f} ms, p99 {last * 1000:.1f} ms, "
          f"ratio {last / median:.2f}")  # fmt: skip


async def single_client(server: Server, reader, images: list[bytes], bodies: list[bytes], seconds: float) -> None:
    """Compare the waiting time of a single client with reading the same image, in wall and CPU time."""
    waits, readings, stop = [], [], time.monotonic() + seconds
    served, asking, own = -server.cpu_seconds(), 0.0, 0.0
    async with aiohttp.ClientSession() as session:
        while time.monotonic() < stop:
            which = len(waits) % len(images)
            start, cpu = time.perf_counter(), time.process_time()
            async with session.post(server.url + PREDICT, data=bodies[which]) as answer:
                await answer.read()
            middle, between = time.perf_counter(), time.process_time()
            reader.predict([images[which]])
            waits.append(middle - start)
            readings.append(time.perf_counter() - middle)
            asking, own = asking + between - cpu, own + time.process_time() - between
    served += server.cpu_seconds()
    wait, reading = statistics.median(waits), statistics.median(readings)
    print(f"a single client waits {wait * 1000:.2f} ms, reading takes {reading * 1000:.2f} ms: {wait / reading:.2f}")
    served, asking, own = (value / len(waits) * 1000 for value in (served, asking, own))
    print(f"in CPU ms: server {served:.2f}, client {asking:.2f}, reading {own:.2f}: {(served + asking) / own:.2f}")


async def soak(server: Server, images: list[bytes], args: argparse.Namespace) -> None:
    """Send valid, invalid and huge requests, hang up, add two versions, and check every text."""
    reader = aocr.load(str(server.folder / "words" / "1" / "reader.onnx"))
    texts = [prediction.text for prediction in reader.predict(images)]
    bodies = bodies_of(images)
    counts: collections.Counter = collections.Counter()
    memory: list[tuple[float, float]] = []
    start = time.monotonic()
    stop = start + args.minutes * 60
    host, port = server.address

    async def client(session: aiohttp.ClientSession, draws: random.Random) -> None:
        while time.monotonic() < stop:
            which, kind = draws.randrange(len(images)), draws.random()
            if kind < 0.8:
                async with session.post(server.url + PREDICT, data=bodies[which]) as answer:
                    value = await answer.json()
                    counts["correct" if value.get("outputs", {}).get("output") == texts[which] else "WRONG"] += 1
            elif kind < 0.9:
                data = draws.choice([b"", b"{", bodies[which][:-40] + b'"}}', images[which]])
                async with session.post(server.url + PREDICT, data=data) as answer:
                    await answer.read()
                    counts[f"bad: {answer.status}"] += 1
            elif kind < 0.92:
                try:
                    async with session.post(server.url + PREDICT, data=bytes(33 << 20)) as answer:
                        counts[f"huge: {answer.status}"] += 1
                except aiohttp.ClientError:
                    counts["huge: cut off"] += 1
            else:
                _, writer = await asyncio.open_connection(host, port)
                head = (
                    f"POST {PREDICT} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(bodies[which])}\r\n\r\n".encode()
                )
                whole = head + bodies[which]
                writer.write(whole[: draws.randrange(1, len(whole) + 1)])
                await writer.drain()
                writer.close()
                counts["hung up"] += 1

    async def watch() -> None:
        while time.monotonic() < stop:
            await asyncio.sleep(min(5, args.minutes * 3))
            passed = time.monotonic() - start
            memory.append((passed, server.megabytes()))
            if passed > args.minutes * 60 * server.number / 3 and server.number < 3:
                server.add_version()

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(watch(), *(client(session, random.Random(i)) for i in range(8)))
        async with session.get(server.url + "/v1/models/words") as answer:
            version = (await answer.json())["model_version_status"][0]["version"]
    sizes = [size for passed, size in memory if passed >= min(120, args.minutes * 30)]
    print(f"{args.minutes:g} minutes: {dict(sorted(counts.items()))}; version {version} at the end")
    minutes = {int(passed // 60): size for passed, size in memory}
    print("MB after each minute:", *(f"{size:.0f}" for size in minutes.values()))
    print(f"memory: {sizes[0]:.0f} MB at first, then {min(sizes):.0f} to {max(sizes):.0f}, {sizes[-1]:.0f} at the end")


def mutate(draws: random.Random, data: bytes) -> bytes:
    """Change, remove, repeat or insert some bytes."""
    data = bytearray(data)
    for _ in range(draws.randrange(1, 6)):
        at = draws.randrange(len(data) + 1)
        kind = draws.randrange(4)
        if kind == 0 and at < len(data):
            data[at] = draws.randrange(256)
        elif kind == 1:
            del data[at : at + draws.randrange(1, 30)]
        elif kind == 2:
            data[at:at] = draws.choice(PIECES)
        else:
            data[at:at] = data[at : at + draws.randrange(1, 200)]
    return bytes(data)


def malformed_request(draws: random.Random, images: list[bytes]) -> bytes:
    """Return an almost correct HTTP request."""
    image = draws.choice(images)
    b64 = base64.b64encode(image[: draws.choice([20, len(image)])]).decode()
    parts = [b"Content-Disposition: form-data; name=image; filename=a\r\n\r\n" + image,
             b"Content-Disposition: form-data; name=lexicon\r\n\r\nONE\nTWO"]  # fmt: skip
    form = b"".join(b"--x\r\n" + part + b"\r\n" for part in parts) + b"--x--\r\n"
    request = {draws.choice(["instances", "inputs"]): draws.choice([[{"b64": b64}], {"input": {"b64": b64}}, [[1.5]]]),
               "signature_name": draws.choice(["", "pixels", "serving_default", 3])}  # fmt: skip
    path, kind, body = draws.choice([
        (PREDICT, "application/json", json.dumps(request).encode()),
        ("/v1/models/words/versions/1:predict", "application/json", json.dumps(request).encode()),
        ("/read?pattern=[A-Z]%2B&beam=2&min_confidence=0.5", "image/png", image),
        ("/read?alternatives=1", "multipart/form-data; boundary=x", form),
        ("/v1/models/words/metadata", "text/plain", b""),
        ("/metrics", "text/plain", b""),
    ])  # fmt: skip
    part = draws.random()
    target = path.encode()
    if part < 0.4:
        target = re.sub(rb"[\r\n ]", b"", mutate(draws, target)) or b"/"
    if part > 0.3:
        body = mutate(draws, body)
    if part > 0.95:
        kind = re.sub(r"[\r\n]", "", mutate(draws, kind.encode()).decode("latin-1"))
    method = draws.choice([b"POST", b"POST", b"POST", b"GET", b"PUT"])
    head = f"Host: 127.0.0.1\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return method + b" " + target + b" HTTP/1.1\r\n" + head.encode("latin-1") + body


async def fuzz(server: Server, images: list[bytes], args: argparse.Namespace) -> None:
    """Send almost correct requests and count the statuses of the answers."""
    host, port = server.address
    counts: collections.Counter = collections.Counter()
    numbers = iter(range(args.count))

    async def client() -> None:
        for number in numbers:
            request = malformed_request(random.Random(args.seed * 10**9 + number), images)
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(request)
                line = await asyncio.wait_for(reader.readline(), 90)
                await reader.read()
            except ConnectionError:
                line = b"- cut off"
            writer.close()
            status = [*line.split(), b"", b"none"][1].decode()
            counts[status] += 1
            if status.startswith("5") or status == "none":
                print(f"request {number}: {line!r} {request[:300]!r}", flush=True)

    await asyncio.gather(*(client() for _ in range(8)))
    print(f"{args.count:,} requests: {dict(sorted(counts.items()))}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["speed", "soak", "fuzz"])
    parser.add_argument("images", nargs="+", type=Path)
    parser.add_argument("--seconds", type=float, default=20.0, help="duration of each speed measurement")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0, help="random seed of the malformed requests")
    args = parser.parse_args()
    print(describe())
    folder = open_folder("words")
    graph = write_graph(folder.read_weights(), folder.read_config(), folder.weights_info().temperature)
    images = [path.read_bytes() for path in args.images]
    with tempfile.TemporaryDirectory() as work:
        server = Server(Path(work), graph)
        asyncio.run({"speed": speed, "soak": soak, "fuzz": fuzz}[args.what](server, images, args))
        server.end()


if __name__ == "__main__":
    main()
