"""When is a sparse code determined by  x = D s,  and when does L1 find it?

    coherence, babel, coherence_guarantee                      pairs of columns
    rip_constant, rip_lower_bound, rip_upper_bound             restricted isometry
    spark, circuits, nullspace_constant, nullspace_upper_bound the kernel
    l1_recovers, l1_success_rate, neighbourliness              faces, one support at a time
    weak_threshold, measurements_needed, recovery_rate         phase transitions

D (M, N) has unit columns, as a tensor or an array.
"""

from amortgap.sensing.coherence import babel, coherence, coherence_guarantee
from amortgap.sensing.faces import l1_recovers, l1_success_rate, neighbourliness
from amortgap.sensing.nullspace import circuits, nullspace_constant, nullspace_upper_bound, spark
from amortgap.sensing.phase import measurements_needed, recovery_rate, weak_threshold
from amortgap.sensing.rip import rip_constant, rip_lower_bound, rip_upper_bound

__all__ = [
    "babel",
    "circuits",
    "coherence",
    "coherence_guarantee",
    "l1_recovers",
    "l1_success_rate",
    "measurements_needed",
    "neighbourliness",
    "nullspace_constant",
    "nullspace_upper_bound",
    "recovery_rate",
    "rip_constant",
    "rip_lower_bound",
    "rip_upper_bound",
    "spark",
    "weak_threshold",
]
