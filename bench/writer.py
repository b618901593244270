"""Writers in a process of their own: insert and update as fast as they are acknowledged.

``Writers`` starts ``python -m bench.writer`` and asks it over pipes. The child ends when its standard input does, so it
does not outlive the bench, whatever ends that.
"""

from __future__ import annotations

import dataclasses
import json
import random
import subprocess
import sys
import threading
import time
from typing import Any

from pymongo import MongoClient

from bench import data
from bench.measure import percentile


@dataclasses.dataclass(frozen=True, slots=True)
class Sample:
    """What the writers did since the last sample; latencies in seconds."""

    writes: int
    seconds: float
    p50: float
    p99: float

    @property
    def rate(self) -> float:
        """Acknowledged writes a second."""
        return self.writes / self.seconds


class Writers:
    """The parent's side."""

    def __init__(self, address: dict[str, Any], threads: int, rate: float | None = None) -> None:
        """``rate``: writes a second of all threads together; None: as fast as they are acknowledged."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.writer"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            self._ask({"address": address, "threads": threads, "rate": rate})
        except BaseException:
            self.close()
            raise

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the writers ended with code {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"the writers met: {answer['error']}")
        return answer

    def sample(self) -> Sample:
        """What was written since the last call."""
        return Sample(**self._ask({}))

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


class _Load:
    """The child's side: threads on one client, each with documents of its own."""

    def __init__(self, address: dict[str, Any], threads: int, rate: float | None) -> None:
        self._pause = (
            0.0 if rate is None else 2 * threads / rate
        )  # of a thread, for its insert and its update
        self._client: MongoClient[dict[str, Any]] = MongoClient(**address)
        self._collection = self._client.bench.written
        self._collection.drop()
        self._lock = threading.Lock()
        self._latencies: list[float] = []
        self._since = time.perf_counter()
        self._stop = threading.Event()
        self.error: BaseException | None = None
        self._threads = [threading.Thread(target=self._run, args=(place,)) for place in range(threads)]
        for thread in self._threads:
            thread.start()

    def _run(self, place: int) -> None:
        try:
            self._write(place)
        except Exception as error:  # noqa: BLE001  # told to the parent, which raises it
            self.error = error

    def _write(self, place: int) -> None:
        chance = random.Random(place)
        first = number = place * 1_000_000_000
        due = time.perf_counter()
        while not self._stop.is_set():
            due = max(
                due + self._pause, time.perf_counter() - 1
            )  # what is late is caught up, a second of it at most
            time.sleep(max(0.0, due - time.perf_counter()))
            document = data.order(number, chance)
            begun = time.perf_counter()
            self._collection.insert_one(document)
            inserted = time.perf_counter()
            self._collection.update_one(
                {"_id": chance.randint(first, number)},
                {"$set": {"customer.score": number % 1000}, "$inc": {"visits": 1}},
            )
            updated = time.perf_counter()
            number += 1
            with self._lock:
                self._latencies += (inserted - begun, updated - inserted)

    def sample(self) -> dict[str, Any]:
        with self._lock:
            taken, self._latencies = self._latencies, []
            now = time.perf_counter()
            seconds, self._since = now - self._since, now
        values = taken or [float("nan")]
        return {
            "writes": len(taken),
            "seconds": seconds,
            "p50": percentile(values, 0.5),
            "p99": percentile(values, 0.99),
        }

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._client.close()


def main() -> int:
    """Write until standard input ends; one line of JSON in, one out."""
    load: _Load | None = None
    try:
        for line in sys.stdin:
            question = json.loads(line)
            if load is None:
                load = _Load(**question)
            answer = load.sample() if load.error is None else {"error": repr(load.error)}
            print(json.dumps(answer), flush=True)
    finally:
        if load is not None:
            load.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
