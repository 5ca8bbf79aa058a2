"""Train encoders: many small ones as one stacked model, or one large one by mini-batches or from a stream.

On the CPU in float32 a compiled kernel takes the steps where it is faster, with the same equations.
"""

from amortgap.training.history import History, snapshot
from amortgap.training.loop import fit
from amortgap.training.losses import reconstruction_loss, supervised_loss
from amortgap.training.resampling import resample_dead
from amortgap.training.schedule import AdamW, Cosine, learning_rate
from amortgap.training.stacking import stack, unstack
from amortgap.training.stages import fit_in_stages
from amortgap.training.until_still import fit_until_still

__all__ = [
    "AdamW",
    "Cosine",
    "History",
    "fit",
    "fit_in_stages",
    "fit_until_still",
    "learning_rate",
    "reconstruction_loss",
    "resample_dead",
    "snapshot",
    "stack",
    "supervised_loss",
    "unstack",
]
