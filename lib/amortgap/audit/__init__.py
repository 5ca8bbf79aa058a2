"""What better inference would buy on somebody's SAE: `amortgap audit`."""

from amortgap.audit.inputs import Inputs, from_model, from_path
from amortgap.audit.left_out import LeftOut
from amortgap.audit.measure import audit
from amortgap.audit.result import AuditResult, Loss, Row, Scored

__all__ = ["AuditResult", "Inputs", "LeftOut", "Loss", "Row", "Scored", "audit", "from_model", "from_path"]
