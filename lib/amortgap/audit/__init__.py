"""What better inference would buy on somebody's SAE: `amortgap audit`."""

from amortgap.audit.inputs import Inputs, from_model, from_path
from amortgap.audit.measure import audit
from amortgap.audit.page import findings, render

__all__ = ["Inputs", "audit", "findings", "from_model", "from_path", "render"]
