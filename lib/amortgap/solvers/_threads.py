"""Blocks of samples shared among threads, each of which does its own matrix products."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

BLOCK = 512  # samples a thread takes at a time
FEWEST = 64  # samples for which it is worth to wake another thread

Value = TypeVar("Value")

_pools: dict[int, ThreadPoolExecutor] = {}
_lock = threading.Lock()


def share(n: int, work: Callable[[Iterator[slice]], None], block: int = BLOCK, fewest: int = FEWEST) -> None:
    """work(blocks) on torch.get_num_threads() threads; each slice of range(n) reaches one of them.

    A thread that shares a matrix product waits for the others, and those of a library keep their core busy while
    they wait for the next product. So each block is worked on by a thread in which torch uses one thread.
    """
    threads = torch.get_num_threads()
    wanted = max(1, min(threads, n // fewest))
    block = max(1, min(block, -(-n // wanted)))
    blocks = iter([slice(first, min(n, first + block)) for first in range(0, n, block)])
    if threads == 1:
        return work(blocks)
    for job in [_pool(threads).submit(work, blocks) for _ in range(wanted)]:
        job.result()


def alone(make: Callable[[], Value]) -> Value:
    """make() where torch uses one thread, so that its bits do not depend on how many there are."""
    threads = torch.get_num_threads()
    return make() if threads == 1 else _pool(threads).submit(make).result()


def _pool(threads: int) -> ThreadPoolExecutor:
    """So many threads that sleep between calls: to start one takes as long as a thousand tiny problems.

    torch gives the number that any thread sets to every thread that starts later, so it is set back once all are
    there, and the caller's own is never touched.
    """
    with _lock:
        if threads not in _pools:
            pool = ThreadPoolExecutor(threads, "amortgap", torch.set_num_threads, (1,))
            there = threading.Barrier(threads)
            for job in [pool.submit(there.wait) for _ in range(threads)]:
                job.result()
            torch.set_num_threads(threads)
            _pools[threads] = pool
        return _pools[threads]


def _forget() -> None:
    """A forked process inherits the pools, but not their threads."""
    global _lock
    _lock = threading.Lock()
    _pools.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
