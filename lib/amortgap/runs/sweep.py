"""One function on many arguments: here, on processes of this machine, or on a Ray or Dask cluster.

    backend   who runs the calls                           a call of a worker that was killed is made again
    loky      processes of this machine, by joblib         by us: joblib gives up with the worker
    ray       tasks of a Ray cluster, spread over it       by Ray, in another process
    dask      workers of a Dask cluster                    by its scheduler, on another worker

Ray and Dask without joblib: where a cluster has one processor, or one yet, joblib makes the calls in this process.

The machines of a cluster need this package in the same environment and the project's folder at the same place.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from amortgap._errors import Refused
from amortgap.runs.cached import sent_whole

#: backend -> the package it needs, which is also the name of our extra
BACKENDS = {"loky": "joblib", "ray": "ray", "dask": "distributed"}
#: How often a call is made that kills its worker, before the sweep gives up.
ATTEMPTS = 3
BACKEND, ADDRESS = "AMORTGAP_BACKEND", "AMORTGAP_ADDRESS"
Ended = Iterator[tuple[int, Any]]


@dataclass(frozen=True)
class Backend:
    """Where calls run. address: of a running cluster; without one, Ray and Dask start on this machine.

    workers: calls at a time; -1 for as many as there are processors.
    Raises `Refused` for an unknown name, an address that is not used or where nothing answers, a package that is
    not installed.
    """

    name: str
    address: str = ""
    workers: int = -1

    def __post_init__(self) -> None:
        if self.name not in BACKENDS:
            raise Refused(f"unknown backend {self.name!r}; use one of {', '.join(BACKENDS)}")
        if self.name == "loky" and self.address:
            raise Refused("loky runs on this machine and takes no address; use --backend ray or dask")
        if find_spec(BACKENDS[self.name]) is None:
            raise Refused(f"--backend {self.name} needs a package: pip install {BACKENDS[self.name]}")
        if self.address:
            _check_answers(self.name, self.address)

    def announce(self) -> None:
        """For the kernels that this process starts: the parts of their pages go to this backend."""
        os.environ[BACKEND], os.environ[ADDRESS] = self.name, self.address


def _check_answers(name: str, address: str) -> None:
    """`Refused` where nothing listens: Ray asks for five minutes, and then ends the process."""
    scheme, _, place = address.rpartition("://")
    host, _, port = place.rpartition(":")
    schemes = ("", "tcp", "tls") if name == "dask" else ("",)
    if not host or not port.isdecimal() or scheme not in schemes:
        raise Refused(f"--address must be HOST:PORT, not {address!r}")
    asked = host.strip("[]")
    if name == "ray" and asked in ("localhost", "127.0.0.1", "::1"):
        from ray.util import get_node_ip_address

        # Ray takes them for the address by which others reach this machine
        asked = get_node_ip_address()
    try:
        socket.create_connection((asked, int(port)), timeout=10).close()
    except (OSError, OverflowError, UnicodeError) as error:
        taken = "" if asked == host.strip("[]") else f" (which Ray takes for {asked}:{port})"
        raise Refused(f"no {name} cluster answers at {address}{taken}: {error}") from error


def announced() -> Backend | None:
    """What the environment says about parts of a page."""
    name = os.environ.get(BACKEND)
    return Backend(name, os.environ.get(ADDRESS, "")) if name else None


def sweep(function: Callable[[Any], Any], items: Sequence[Any], on: Backend | None = None) -> Ended:
    """(i, function(items[i])) for each i, as calls end, each exactly once; in order where `on` is None.

    Calls have as many threads as OMP_NUM_THREADS says here, so that sums are made in the same order everywhere.
    What a call raises ends the sweep; RuntimeError where a call has killed its worker `ATTEMPTS` times.
    """
    if on is None:
        yield from ((i, function(item)) for i, item in enumerate(items))
        return
    threads = int(os.environ.get("OMP_NUM_THREADS", "0")) or None
    run = {"loky": _on_loky, "ray": _on_ray, "dask": _on_dask}[on.name]
    with sent_whole():
        yield from run(on, function, items, threads)


def _call(function: Callable[[Any], Any], i: int, item: Any, threads: int | None) -> tuple[int, Any]:
    from threadpoolctl import threadpool_limits

    # the bar of the parts is drawn where they are given out; tqdm reads this when it is imported
    os.environ["TQDM_DISABLE"] = "1"

    with threadpool_limits(threads):
        return i, function(item)


def _on_loky(on: Backend, function: Any, items: Sequence[Any], threads: int | None) -> Ended:
    from joblib import Parallel, delayed
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    left, attempts = dict(enumerate(items)), 0
    while left:
        attempts += 1
        before = len(left)
        calls = [delayed(_call)(function, i, item, threads) for i, item in left.items()]
        run = Parallel(
            n_jobs=on.workers,
            backend="loky",
            return_as="generator_unordered",
            batch_size=1,
            pre_dispatch="n_jobs",
        )
        try:
            for i, result in run(calls):
                del left[i]
                yield i, result
        except BrokenProcessPool as error:
            if not isinstance(error, TerminatedWorkerError):
                raise RuntimeError(
                    f"a call cannot be read by another process: {_last_line(error)}"
                ) from error
            # calls that have ended were not the ones that kill
            attempts = 0 if len(left) < before else attempts
            if attempts >= ATTEMPTS:
                raise RuntimeError(f"a call killed its worker {ATTEMPTS} times") from error


def _last_line(error: BaseException) -> str:
    """Of what the worker said, which joblib gives as the cause."""
    return str(error.__cause__ or error).strip().rstrip("\"'").strip().splitlines()[-1]


def _on_ray(on: Backend, function: Any, items: Sequence[Any], threads: int | None) -> Ended:
    # it tells its makers about each run otherwise
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    with contextlib.ExitStack() as open_now:
        if not ray.is_initialized():
            here: dict[str, Any] = {} if on.address else {"include_dashboard": False}
            ray.init(address=on.address or "local", log_to_driver=False, **here)
            open_now.callback(ray.shutdown)
        # sent once
        given = ray.put(function)
        task = ray.remote(num_cpus=1, max_retries=ATTEMPTS, scheduling_strategy="SPREAD")(_call)
        waiting = [task.remote(given, i, item, threads) for i, item in enumerate(items)]
        while waiting:
            ended, waiting = ray.wait(waiting)
            yield ray.get(ended[0])


def _on_dask(on: Backend, function: Any, items: Sequence[Any], threads: int | None) -> Ended:
    from distributed import Client, as_completed

    here: dict[str, Any] = {} if on.address else {"dashboard_address": None, "threads_per_worker": 1}
    with Client(on.address or None, **here) as client:
        # sent once, and again where the worker that has it is killed
        given = client.submit(_itself, function, pure=False)
        tasks = [client.submit(_call, given, i, item, threads, pure=False) for i, item in enumerate(items)]
        ended = as_completed(tasks, with_results=True)
        # what is kept here, Dask computes again where its worker is killed later, beside what follows
        del tasks
        for future, result in ended:
            future.release()
            yield result


def _itself(function: Any) -> Any:
    return function
