"""Better codes for somebody's SAE, chosen on her activations: `amortgap improve`."""

from amortgap.improve.measure import improve
from amortgap.improve.result import ImproveResult, Way

__all__ = ["ImproveResult", "Way", "improve"]
