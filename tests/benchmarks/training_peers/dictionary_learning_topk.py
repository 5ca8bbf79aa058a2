"""dictionary_learning: its trainer's own update."""

from dictionary_learning.trainers.top_k import TopKTrainer
from torch import Tensor

from . import LR, K, M, N, loop

NAME, DISTRIBUTION = "dictionary_learning", "dictionary-learning"


def seconds(x: Tensor, steps: int, batch: int) -> float:
    trainer = TopKTrainer(10**6, M, N, K, layer=0, lm_name="none", lr=LR, device="cpu")
    return loop(lambda i, rows: trainer.update(i + 1, rows), x, steps, batch)
