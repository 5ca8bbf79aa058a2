"""The training benchmark measures our steps and compares with them."""

import torch

from amortgap import bench_training


def test_our_time_grows_with_the_steps():
    x = torch.randn(256, bench_training.M, generator=torch.Generator().manual_seed(0))
    bench_training.amortgap(x, 1, 128)  # the first call of all loads what later ones find
    assert bench_training.amortgap(x, 60, 128) > bench_training.amortgap(x, 2, 128)


def test_the_table_is_relative_to_the_first_row():
    about = {"machine": "m", "torch": "2", "M": 1, "N": 2, "k": 1, "batch": 4, "steps": 5, "data": "noise"}
    row = {"version": "1", "runs": 3, "grew_mib": 7.2}
    rows = [row | {"peer": "amortgap", "per_second": 200.0}, row | {"peer": "other", "per_second": 50.0}]
    assert bench_training.table(about, rows).splitlines()[-1] == "| other | 1 | 50 | 0.25 | 3 | 7 |"
