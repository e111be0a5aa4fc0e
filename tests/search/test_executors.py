"""Executors: this process, local ones, a Dask cluster; and what happens when one is killed."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from concurrent.futures import Executor
from concurrent.futures.process import BrokenProcessPool

import pytest

from compressc.contract.context import Context
from compressc.errors import ExecutorError
from compressc.goal import Goal
from compressc.search.executors import (
    InProcess,
    LocalProcesses,
    count_slots,
    is_lost_worker,
    open_executor,
)
from tests.search_kit import change, make_ascai, trained

SEARCH = make_ascai(spaces=("ps", "svd", "tucker"), population=12, generations=6, val_samples=150)


def answer(**fields) -> tuple[str, tuple[str, ...]]:
    """Return what a search finds."""
    program, task = trained()
    found = change(SEARCH, **fields)(program, Context(Goal(seed=3), task=task))
    return found.plan.digest, found.history[-1].notes


def test_this_process_is_the_default():
    with open_executor() as executor:
        assert isinstance(executor, InProcess)
        assert isinstance(executor, Executor)
        assert executor.submit(os.getpid).result() == os.getpid()
    assert count_slots(Executor()) >= 2


def test_workers_that_cannot_be_are_refused():
    with pytest.raises(ExecutorError, match="-1 workers"):
        open_executor(-1)


def test_dask_says_that_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ExecutorError, match=r"pip install 'compressc\[distributed\]'"):
        open_executor(dask_address="tcp://127.0.0.1:1")


def test_an_address_without_a_scheduler_is_an_error():
    pytest.importorskip("distributed")
    with pytest.raises(ExecutorError, match="no Dask scheduler answers at nonsense"):
        open_executor(dask_address="nonsense://127.0.0.1:1")


def test_lost_workers_are_told_from_failures():
    assert is_lost_worker(BrokenProcessPool())
    assert not is_lost_worker(ValueError())


@pytest.mark.slow
def test_local_processes_find_the_same_and_are_started_again():
    with LocalProcesses(1) as executor:
        first = executor.submit(os.getpid).result()
        assert first != os.getpid()
        os.kill(first, signal.SIGKILL)
        with pytest.raises(BrokenProcessPool):
            executor.submit(time.sleep, 30).result()
        assert executor.submit(os.getpid).result() not in (first, os.getpid())
    assert answer(workers=2) == answer()


@pytest.mark.slow
def test_a_cluster_that_loses_a_worker_finds_the_same():
    distributed = pytest.importorskip("distributed")
    wanted = answer()
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**options, processes=True) as cluster:
        with distributed.Client(cluster, set_as_default=False) as client:
            pids = list(client.run(os.getpid).values())
            assert len(set(pids)) == 2
        busy = threading.Event()
        program, task = trained()

        def watch(done: int, _total: int, text: str) -> None:
            if text.startswith("generation") and done >= 1:
                busy.set()

        def kill() -> None:
            busy.wait(120)
            time.sleep(0.05)
            os.kill(pids[0], signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        search = change(SEARCH, dask=cluster.scheduler_address)
        result = search(program, Context(Goal(seed=3), task=task, progress=watch))
        killer.join()
        assert busy.is_set()
    assert (result.plan.digest, result.history[-1].notes) == wanted
