"""What the two ways of working_set cost, in operations of a large float32 product: the cheaper one is taken.

    with D'D       one triangle of D'D and its conversion, once for a dictionary; then for each signal one screening
                   product, and in each round the rows of k atoms, which are read at the speed of memory
    by slots       in each round a screening product, and the gathered columns of k atoms times each other

    full(n)  = [ 1.3 M N^2 ]  +  n (2 M N w + ROUNDS STREAM 2 (2k/3) N)
    slots(n) = n ROUNDS (2 M N w + SMALL 2 M k^2 + CALL / GROUP)          w = 1/2 with 16-bit products, else 1

k is the mean number of active atoms, two thirds of it on the way there. What both do alike, the exchanges with
their updates of the inverse Gram matrix, is left out. The constants are ratios of speeds on CPUs with wide vectors
(80 GFLOP/s for a large product in one thread); they matter only where both ways take about as long.
"""

from __future__ import annotations

ROUNDS = 6  # screenings until a gap of 1e-4 to 1e-6
STREAM = 8  # an operation on a number read from beyond the caches, where a large product reads it once for hundreds
SMALL = 3  # an operation of a product of some dozens of columns, their gathering included
CONVERT = 1.3  # D'D in 16 bits and mirrored, in units of its product
CALL = 4e6  # a turn of a group of signals, in Python
GROUP = 16


def full(M: int, N: int, n: int, k: float, *, ready: bool, half: bool) -> float:
    """The cost of n signals with D'D, which is there already or not."""
    screening = 2 * M * N * (0.5 if half else 1)
    each = screening + ROUNDS * STREAM * 2 * (2 * k / 3) * N
    return n * each + (0 if ready else CONVERT * M * N**2)


def slots(M: int, N: int, n: int, k: float, *, half: bool) -> float:
    """The cost of n signals without it."""
    screening = 2 * M * N * (0.5 if half else 1)
    return n * ROUNDS * (screening + SMALL * 2 * M * k**2) + -(-n // GROUP) * ROUNDS * CALL
