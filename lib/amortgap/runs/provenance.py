"""Which code, which machine and which minutes made a result."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from amortgap.runs.key import Inputs

#: A commit counts as "modified" when one of these differs from it; reports and notes do not matter.
SOURCES = ("lib", "notebooks", "proofs", "pyproject.toml", "constraints.txt")


def commit(root: Path) -> str:
    """The commit of the checkout, with ", modified" when a source differs from it; "unknown" without git."""
    try:
        head = _git(root, "rev-parse", "--short=12", "HEAD")
        changed = _git(root, "status", "--porcelain", "--", *SOURCES)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{head}, modified" if changed else head


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def cpu() -> str:
    """The processor's name and how many cores this process may use."""
    name = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    except OSError:
        # Not Linux.
        pass
    return f"{name}, {cores()} cores"


def cores() -> int:
    """Number of cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def provenance(
    commit: str, inputs: Inputs, facts: dict[str, Any], started: datetime, ended: datetime
) -> dict[str, Any]:
    """Everything the page's footer states.

    `commit` is that of the start of the run; `facts` come from the notebook (`Record.provenance`). `seconds` is all
    that the results took, with the `earlier seconds` of parts that a stopped run has left.
    """
    parameters = inputs["parameters"]
    known: dict[str, Any] = {
        name: parameters[name] for name in ("seed", "seeds", "device") if name in parameters
    }
    return {
        "commit": commit,
        **known,
        **facts,
        "cpu": cpu(),
        **inputs["packages"],
        "started": started.astimezone(UTC).isoformat(timespec="seconds"),
        "ended": ended.astimezone(UTC).isoformat(timespec="seconds"),
        "seconds": round((ended - started).total_seconds() + facts.get("earlier seconds", 0), 1),
    }


def peak_memory() -> dict[str, float]:
    """`memory`: the most that a child process of this one had in memory at once, GB; nothing where it is not known.

    A worker has one child of size: the kernel.
    """
    try:
        import resource
    except ImportError:
        # Windows
        return {}
    unit = 1 if sys.platform == "darwin" else 1024
    return {"memory": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit / 1e9, 2)}
