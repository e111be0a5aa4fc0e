"""Executors: where candidates are evaluated. To a search all of them are concurrent.futures."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import CancelledError, Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, cast

import torch

from compressc.errors import ExecutorError

# What a future raises when its worker died: the candidate is not to blame, and tried again.
LOST_WORKER: tuple[type[BaseException], ...] = (BrokenProcessPool, CancelledError)


def open_executor(workers: int = 0, dask_address: str = "") -> Executor:
    """Return an executor; use it in a ``with`` statement.

    Args:
        workers: local processes; 0 for this process.
        dask_address: of a Dask scheduler, such as tcp://host:8786; wins over ``workers``.

    Raises:
        ExecutorError: if there is no such scheduler, or Dask is not installed.
    """
    if workers < 0:
        raise ExecutorError(f"{workers} workers: give 0 for this process, or 1 or more")
    if dask_address:
        return DaskCluster(dask_address)
    return LocalProcesses(workers) if workers else InProcess()


def count_slots(executor: Executor) -> int:
    """Return how many candidates to keep under way at once."""
    slots = getattr(executor, "slots", None)
    return int(slots) if slots is not None else 2 * (os.cpu_count() or 1)


class InProcess(Executor):
    """Runs what is submitted at once, in this thread."""

    slots = 1

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a function and return its finished future; an error is raised at once."""
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


class LocalProcesses(Executor):
    """Processes of this machine, started anew where one died.

    Args:
        workers: how many; the machine's cores are shared out among their threads.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._pool = self._start()

    @property
    def slots(self) -> int:
        """Two per worker: while one candidate runs, the next is there already."""
        return 2 * self._workers

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a function on one of the processes."""
        try:
            return self._pool.submit(fn, *args, **kwargs)
        except BrokenProcessPool:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = self._start()
            return self._pool.submit(fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Stop the processes."""
        self._pool.shutdown(wait=wait, cancel_futures=cancel_futures)

    def _start(self) -> ProcessPoolExecutor:
        # A fork would copy the locks of torch's threads in whatever state they are.
        return ProcessPoolExecutor(
            self._workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_share_cores,
            initargs=(max(1, (os.cpu_count() or 1) // self._workers),),
        )


class DaskCluster(Executor):
    """A cluster behind a Dask scheduler, through the executor that dask.distributed has.

    Args:
        address: of the scheduler.

    Raises:
        ExecutorError: if it does not answer, Dask is not installed, or its options name no
            certificates for an address that speaks TLS.
    """

    def __init__(self, address: str) -> None:
        try:
            from distributed import Client, Security
        except ImportError as error:
            raise ExecutorError(
                "--dask needs dask.distributed; pip install 'compressc[distributed]'"
            ) from error
        if address.startswith("tls://"):
            _require_certificates(address, cast(Any, Security)())
        try:
            # Dask has no types.
            client: Any = cast(Any, Client)(address, timeout=10, set_as_default=False)
        except (OSError, ValueError, TimeoutError) as error:
            raise ExecutorError(
                f"no Dask scheduler answers at {address} ({error or 'timed out'}); start one with "
                "`dask scheduler`, or check the address"
            ) from error
        self._client = client
        self._executor: Executor = client.get_executor(pure=False)

    @property
    def slots(self) -> int:
        """Two per thread of the workers that there are now."""
        threads: dict[str, int] = self._client.nthreads()
        return 2 * max(1, sum(threads.values()))

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a function on one of the workers; a worker that dies has its work done elsewhere."""
        return self._executor.submit(fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Leave the cluster running and disconnect; what was not waited for is forgotten."""
        self._executor.shutdown(wait=wait and not cancel_futures)
        self._client.close()


def is_lost_worker(error: BaseException) -> bool:
    """Return whether an error says that a worker died."""
    # Dask's own class can be named only where Dask is installed.
    return isinstance(error, LOST_WORKER) or type(error).__name__ in (
        "KilledWorker",
        "FutureCancelledError",
    )


def _require_certificates(address: str, security: Any) -> None:
    """Check that Dask's own options name certificates that can be read.

    A client that starts without them fails with a TypeError, and its end waits for 20 seconds.
    """
    try:
        context = security.get_connection_args("client").get("ssl_context")
    except OSError as error:  # of ssl as well
        raise ExecutorError(
            f"{address}: the certificates that DASK_DISTRIBUTED__COMM__TLS__CA_FILE, "
            f"__CLIENT__CERT and __CLIENT__KEY name cannot be used ({error})"
        ) from error
    if context is None:
        raise ExecutorError(
            f"{address} speaks TLS and no certificates are named; set "
            "DASK_DISTRIBUTED__COMM__TLS__CA_FILE, DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT and "
            "DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY"
        )


def _share_cores(threads: int) -> None:
    torch.set_num_threads(threads)
