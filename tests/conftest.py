"""One thread for all tests: their matrices are tiny, and idle OpenMP threads slow a busy machine tenfold."""

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"  # read by numpy and torch when they are first imported
