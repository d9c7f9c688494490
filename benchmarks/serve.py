"""`aocr serve` under load: speed beside reading in one process, a soak, and a fuzz. The client runs on the same cores.

    python benchmarks/serve.py speed|soak|fuzz IMAGE...

The model is the reader in the box, as an ONNX export. CPU seconds are those of one process, without the client's.
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
from aocr.folder.compact import read_compact
from aocr.folder.words import open_folder
from aocr.onnx.file import write_graph

PREDICT = "/v1/models/words:predict"
PIECES = [b"[" * 50, b"{}", b'"', b"null", b"\0", b"\xff\xfe", b"%", b"../", b"1e999", b"--x"]
ROUNDS = 3
TICKS = os.sysconf("SC_CLK_TCK")


class Server:
    """`aocr serve` of numbered exports, in a process of its own."""

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
        """Put the next number beside the others."""
        self.number += 1
        path = self.folder / "words" / str(self.number)
        path.mkdir(parents=True)
        (path / "reader.onnx").write_bytes(self.graph)

    def cpu_seconds(self) -> float:
        """Of the server so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def megabytes(self) -> float:
        """Resident memory of the server."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024

    def end(self) -> None:
        """By SIGTERM."""
        self.process.send_signal(signal.SIGTERM)
        code, log = self.process.wait(90), self.log.read_text()
        faults = collections.Counter(line for line in log.splitlines() if "unexpected" in line or "Error" in line)
        print(f"ended with {code}; traceback: {'Traceback' in log}; faults: {dict(faults)}")


def bodies_of(images: list[bytes]) -> list[bytes]:
    return [json.dumps({"inputs": {"b64": base64.b64encode(image).decode()}}).encode() for image in images]


async def clients(server: Server, bodies: list[bytes], number: int, seconds: float) -> list[float]:
    """Waits in seconds of all requests of `number` clients."""
    waits: list[float] = []
    stop = time.monotonic() + seconds

    async def one(session: aiohttp.ClientSession, start: int) -> None:
        while time.monotonic() < stop:
            began = time.perf_counter()
            async with session.post(server.url + PREDICT, data=bodies[start % len(bodies)]) as answer:
                await answer.read()
                assert answer.status == 200
            waits.append(time.perf_counter() - began)
            start += number

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(one(session, i) for i in range(number)))
    return waits


async def speed(server: Server, images: list[bytes], args: argparse.Namespace) -> None:
    reader = aocr.load(str(server.folder / "words" / "1" / "reader.onnx"), batch_size=32)
    bodies = bodies_of(images)
    reader.predict(images)
    await clients(server, bodies, 8, 2)
    ratios, own, its = [], [], []
    for _ in range(ROUNDS):
        start, count = time.process_time(), 0
        while time.process_time() - start < args.seconds / 4:
            reader.predict(images)
            count += len(images)
        own.append((time.process_time() - start) / count * 1000)
        before = server.cpu_seconds()
        waits = await clients(server, bodies, 32, args.seconds)
        its.append((server.cpu_seconds() - before) / len(waits) * 1000)
        ratios.append(its[-1] / own[-1])
    print(f"CPU ms an image: in one process {statistics.median(own):.2f}, 32 clients {statistics.median(its):.2f}, "
          f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")  # fmt: skip
    await lone(server, reader, images, bodies, args.seconds)
    waits = sorted(await clients(server, bodies, 8, args.seconds))
    median, last = (waits[int(len(waits) * share)] for share in (0.5, 0.99))
    print(f"8 clients, {len(waits)} requests: median {median * 1000:.1f} ms, p99 {last * 1000:.1f} ms, "
          f"ratio {last / median:.2f}")  # fmt: skip


async def lone(server: Server, reader, images: list[bytes], bodies: list[bytes], seconds: float) -> None:
    """A lone client's wait beside the reading of the same image, in turn; and both in CPU time, which a load spares."""
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
    print(f"a lone client waits {wait * 1000:.2f} ms, reading takes {reading * 1000:.2f} ms: {wait / reading:.2f}")
    served, asking, own = (value / len(waits) * 1000 for value in (served, asking, own))
    print(f"in CPU ms: server {served:.2f}, client {asking:.2f}, reading {own:.2f}: {(served + asking) / own:.2f}")


async def soak(server: Server, images: list[bytes], args: argparse.Namespace) -> None:
    """Good, bad and huge requests, clients that hang up, two reloads; every text is checked."""
    reader = aocr.load(str(server.folder / "words" / "1" / "reader.onnx"))
    texts = [prediction.text for prediction in reader.predict(images)]
    bodies = bodies_of(images)
    seen: collections.Counter = collections.Counter()
    memory: list[tuple[float, float]] = []
    start = time.monotonic()
    stop = start + args.minutes * 60
    host, port = server.address

    async def one(session: aiohttp.ClientSession, draws: random.Random) -> None:
        while time.monotonic() < stop:
            which, kind = draws.randrange(len(images)), draws.random()
            if kind < 0.8:
                async with session.post(server.url + PREDICT, data=bodies[which]) as answer:
                    value = await answer.json()
                    seen["right" if value.get("outputs", {}).get("output") == texts[which] else "WRONG"] += 1
            elif kind < 0.9:
                data = draws.choice([b"", b"{", bodies[which][:-40] + b'"}}', images[which]])
                async with session.post(server.url + PREDICT, data=data) as answer:
                    await answer.read()
                    seen[f"bad: {answer.status}"] += 1
            elif kind < 0.92:
                try:
                    async with session.post(server.url + PREDICT, data=bytes(33 << 20)) as answer:
                        seen[f"huge: {answer.status}"] += 1
                except aiohttp.ClientError:
                    seen["huge: cut off"] += 1
            else:
                _, writer = await asyncio.open_connection(host, port)
                head = (
                    f"POST {PREDICT} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(bodies[which])}\r\n\r\n".encode()
                )
                whole = head + bodies[which]
                writer.write(whole[: draws.randrange(1, len(whole) + 1)])
                await writer.drain()
                writer.close()
                seen["hung up"] += 1

    async def watch() -> None:
        while time.monotonic() < stop:
            await asyncio.sleep(min(5, args.minutes * 3))
            passed = time.monotonic() - start
            memory.append((passed, server.megabytes()))
            if passed > args.minutes * 60 * server.number / 3 and server.number < 3:
                server.add_version()

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(watch(), *(one(session, random.Random(i)) for i in range(8)))
        async with session.get(server.url + "/v1/models/words") as answer:
            version = (await answer.json())["model_version_status"][0]["version"]
    late = [size for passed, size in memory if passed >= min(120, args.minutes * 30)]
    print(f"{args.minutes:g} minutes: {dict(sorted(seen.items()))}; version {version} at the end")
    minutes = {int(passed // 60): size for passed, size in memory}
    print("MB after each minute:", *(f"{size:.0f}" for size in minutes.values()))
    print(f"memory: {late[0]:.0f} MB at first, then {min(late):.0f} to {max(late):.0f}, {late[-1]:.0f} at the end")


def mutated(draws: random.Random, data: bytes) -> bytes:
    """Bytes changed, cut, doubled or put in."""
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


def fuzzed(draws: random.Random, images: list[bytes]) -> bytes:
    """A request that is nearly one."""
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
    where = draws.random()
    target = path.encode()
    if where < 0.4:
        target = re.sub(rb"[\r\n ]", b"", mutated(draws, target)) or b"/"
    if where > 0.3:
        body = mutated(draws, body)
    if where > 0.95:
        kind = re.sub(r"[\r\n]", "", mutated(draws, kind.encode()).decode("latin-1"))
    method = draws.choice([b"POST", b"POST", b"POST", b"GET", b"PUT"])
    head = f"Host: 127.0.0.1\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return method + b" " + target + b" HTTP/1.1\r\n" + head.encode("latin-1") + body


async def fuzz(server: Server, images: list[bytes], args: argparse.Namespace) -> None:
    """Nearly right bodies and addresses: what statuses they get."""
    host, port = server.address
    seen: collections.Counter = collections.Counter()
    numbers = iter(range(args.count))

    async def one() -> None:
        for number in numbers:
            request = fuzzed(random.Random(args.seed * 10**9 + number), images)
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(request)
                line = await asyncio.wait_for(reader.readline(), 90)
                await reader.read()
            except ConnectionError:
                line = b"- cut off"
            writer.close()
            seen[status := [*line.split(), b"", b"none"][1].decode()] += 1
            if status.startswith("5") or status == "none":
                print(f"request {number}: {line!r} {request[:300]!r}", flush=True)

    await asyncio.gather(*(one() for _ in range(8)))
    print(f"{args.count:,} requests: {dict(sorted(seen.items()))}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["speed", "soak", "fuzz"])
    parser.add_argument("images", nargs="+", type=Path)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement of speed")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0, help="of the fuzz")
    args = parser.parse_args()
    print(describe())
    folder = open_folder("words")
    chosen = folder.choose()
    graph = write_graph(read_compact(chosen.prefix), folder.read_config(), chosen.temperature)
    images = [path.read_bytes() for path in args.images]
    with tempfile.TemporaryDirectory() as place:
        server = Server(Path(place), graph)
        asyncio.run({"speed": speed, "soak": soak, "fuzz": fuzz}[args.what](server, images, args))
        server.end()


if __name__ == "__main__":
    main()
