"""Tests and timings on one CUDA device (make gpu).

Times are medians of synchronised calls after one that is not counted, with set-up. Problems are drawn on the card
by the laws of `SparseProblem`. Gaps are computed again in float64 from the codes. Peers run beside ours where
they are installed: orthogonal-matching-pursuit-gpu on the card, spams on the CPUs.
"""
