"""Timings beside other packages. pytest does not collect them; from the top of the repository,

    python -m tests.benchmarks.solvers     solvers, made and real data         (make bench)
    python -m tests.benchmarks.training    training a TopK autoencoder
    python -m tests.benchmarks.paper       training and inference beside the paper's loop
    python -m tests.benchmarks.gpu         all of it on a CUDA device          (make gpu)

write their tables to reports/bench. The number of threads is OMP_NUM_THREADS, one where it is not set. Numerical
libraries read it once, when they are imported, so it is set here, before anything imports them.
"""

import os

THREADS = int(os.environ.setdefault("OMP_NUM_THREADS", "1"))
for _name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = str(THREADS)
