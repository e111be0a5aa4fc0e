"""A cluster inside one process: workers with memories of their own, which forget and die."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import pytest

from compressc.search import worker


class FakeCluster(Executor):
    """Hands out work at random; counts how often a judge travels.

    Args:
        monkeypatch: puts each worker's memory in place while it works.
        workers: how many.
        deaths: numbers of the submissions over which the worker dies; a new one takes its place.
    """

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, workers: int, deaths: set[int] | None = None
    ) -> None:
        self.slots = 2 * workers
        self.sent, self.submitted = 0, 0
        self._patch, self._deaths = monkeypatch, deaths or set()
        self._memories: list[Any] = [OrderedDict() for _ in range(workers)]
        self._names = list(range(workers))
        self._rng = random.Random(0)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        packed = args[1]
        future: Future[Any] = Future()
        self.submitted += 1
        self.sent += packed is not None
        place = self._rng.randrange(len(self._memories))
        if self.submitted in self._deaths:
            self._memories[place] = OrderedDict()
            self._names[place] = max(self._names) + 1
            future.set_exception(BrokenProcessPool("died"))
            return future
        with self._patch.context() as patch:
            patch.setattr(worker, "_JUDGES", self._memories[place])
            patch.setattr(worker.os, "getpid", lambda: self._names[place])
            future.set_result(fn(*args, **kwargs))
        return future
