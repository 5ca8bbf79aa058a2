"""Blocks of samples shared among threads, each of which does its own matrix products."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import torch

BLOCK = 512  # samples a thread takes at a time
FEWEST = 64  # samples for which it is worth to wake another thread


def share(n: int, work: Callable[[Iterator[slice]], None], block: int = BLOCK, fewest: int = FEWEST) -> None:
    """work(blocks) on torch.get_num_threads() threads; each slice of range(n) reaches one of them.

    A thread that shares a matrix product waits for the others, and those of a library keep their core busy while
    they wait for the next product. So each thread has its products to itself: while this runs, torch may use one
    thread in it.
    """
    threads = torch.get_num_threads()
    wanted = max(1, min(threads, n // fewest))
    block = max(1, min(block, -(-n // wanted)))
    blocks = iter([slice(first, min(n, first + block)) for first in range(0, n, block)])

    def alone() -> None:
        torch.set_num_threads(1)
        work(blocks)

    try:
        others = [_pool(threads).submit(alone) for _ in range(wanted - 1)]
        alone()
        for other in others:
            other.result()
    finally:
        torch.set_num_threads(threads)


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads that sleep between calls: to start one takes as long as a thousand tiny problems."""
    return ThreadPoolExecutor(threads, "amortgap")


if hasattr(os, "register_at_fork"):  # a forked process inherits the pool, but not its threads
    os.register_at_fork(after_in_child=_pool.cache_clear)
