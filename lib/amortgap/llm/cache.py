"""Where computed activations are kept."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """``AMORTGAP_CACHE`` if set, else ``.cache/amortgap`` of this checkout, else of the user's home."""
    if folder := os.environ.get("AMORTGAP_CACHE"):
        return Path(folder)
    checkout = Path(__file__).parents[3]
    return (checkout if (checkout / "pyproject.toml").is_file() else Path.home()) / ".cache" / "amortgap"
