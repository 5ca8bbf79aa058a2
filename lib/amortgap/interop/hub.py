"""Published SAEs by their ids on the hub, which SAELens knows how to find."""

from __future__ import annotations

from pathlib import Path


def fetch(release: str, name: str, folder: Path) -> Path:
    """The SAE `name` of `release`, saved by SAELens into `folder`.

    Raises FileNotFoundError, with the lines that make such a folder elsewhere, where SAELens is not installed, and
    ValueError for what SAELens does not find.
    """
    lines = f"from sae_lens import SAE; SAE.from_pretrained({release!r}, {name!r}).save_model('my_sae')"
    try:
        from sae_lens import SAE
    except ImportError as error:
        raise FileNotFoundError(
            f"there is no file or folder {release}:{name}, and without SAELens it cannot be looked up on the hub: "
            f"pip install sae-lens, or run where SAELens is: {lines}"
        ) from error
    try:
        SAE.from_pretrained(release, name).save_model(folder)
    except Exception as error:
        raise ValueError(f"SAELens could not get {name!r} of {release!r} ({lines}): {error}") from error
    return folder
