"""When is a sparse code determined by  x = D s,  and when does L1 find it?

Coherence, restricted isometry, spark, null-space conditions, faces and phase transitions of a dictionary.
"""

from amortgap.sensing.coherence import babel, coherence, coherence_guarantee
from amortgap.sensing.rip import rip_constant, rip_lower_bound, rip_upper_bound

__all__ = ["babel", "coherence", "coherence_guarantee", "rip_constant", "rip_lower_bound", "rip_upper_bound"]
