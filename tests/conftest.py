"""One thread for all tests: their matrices are tiny, and idle OpenMP threads slow a busy machine tenfold."""

import os

import pytest

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"  # read by numpy and torch when they are first imported

#: Minutes each. Two workers (`make test`) end together only if none of these begins when the rest is nearly done.
LONG = ("test_smoke", "test_inputs", "test_faults")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))
