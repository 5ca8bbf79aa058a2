"""Read an SAE, whoever saved it: which dialect a folder or file is in, and what it leaves open.

A dialect is one file here with `assemble(config, parts)`, the names of its configuration and weights, and, where a
lone file can be told by its tensors, `recognises`. Nothing is guessed: tensors that no rule uses, contradictions
and open questions are refused.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from amortgap.interop import (
    dictionary_learning,
    gemma_scope,
    goodfire,
    hub,
    llama_scope,
    lone,
    openai,
    saelens,
    sparsify,
)
from amortgap.interop.files import read_config, read_tensors
from amortgap.interop.sae import SAE
from amortgap.interop.settle import Answers, Parts, flag, number

Assemble = Callable[[dict[str, Any], Parts], SAE]


def _saelens(config: dict[str, Any], parts: Parts) -> SAE:
    # what SAELens itself takes where its configuration is silent
    return saelens.assemble(config, parts, subtract_b_dec=True, normalise="none")


#: (configuration, weights, dialect); without a configuration: it may be missing
FOLDERS: tuple[tuple[str | None, str, Assemble], ...] = (
    (saelens.CONFIG, saelens.WEIGHTS, _saelens),
    (sparsify.CONFIG, sparsify.WEIGHTS, sparsify.assemble),
    (dictionary_learning.CONFIG, dictionary_learning.WEIGHTS, dictionary_learning.assemble),
    (llama_scope.CONFIG, llama_scope.WEIGHTS, llama_scope.assemble),
    (llama_scope.PACKAGE_CONFIG, llama_scope.PACKAGE_WEIGHTS, llama_scope.assemble),
    (None, gemma_scope.WEIGHTS[0], gemma_scope.assemble),
    (None, gemma_scope.WEIGHTS[1], gemma_scope.assemble),
)
LONE = (openai, goodfire, dictionary_learning, sparsify, gemma_scope)


def read(
    path: str | Path,
    architecture: str | None = None,
    k: float | None = None,
    subtract_b_dec: bool | None = None,
    normalise: str | None = None,
) -> SAE:
    """The SAE in a folder or file, in float32; or RELEASE:ID, a published one, through SAELens.

    Folders: SAELens, dictionary_learning, sparsify, Llama Scope, Gemma Scope; files: those of these folders, the
    .pt of OpenAI and Goodfire, and plain tensors (`lone`) as .safetensors, .pt or .npz. The arguments answer what
    the files leave open: architecture, k, subtract_b_dec (is b_dec taken off the input?), normalise (one of
    `sae.NORMALISATIONS`).

    Raises FileNotFoundError for what is not there, and ValueError, in one sentence, for a damaged file, a tensor
    that no rule uses, a question that nobody answered, and an answer that contradicts the files.
    """
    answers = Answers(
        architecture,
        None if k is None else number(k, "k"),
        None if subtract_b_dec is None else flag(subtract_b_dec, "subtract_b_dec"),
        normalise,
    )
    place = Path(path)
    if not place.exists():
        release, colon, name = str(path).partition(":")
        if not (colon and name):
            raise FileNotFoundError(f"there is no file or folder {path} (an SAE on the hub is RELEASE:ID)")
        with tempfile.TemporaryDirectory() as folder:
            return read(
                hub.fetch(release, name, Path(folder) / "sae"), architecture, k, subtract_b_dec, normalise
            )
    try:
        return _folder(place, answers) if place.is_dir() else _file(place, answers)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    except (AttributeError, LookupError, RuntimeError, TypeError) as error:
        # a list where a rule expects a name, an object where it expects a number ...
        why = " ".join(str(error).split())
        raise ValueError(f"{path}: it holds a value of a kind that no rule allows: {why}") from error


def _folder(folder: Path, answers: Answers) -> SAE:
    here = [
        one
        for one in FOLDERS
        if (folder / one[1]).is_file() and (one[0] is None or (folder / one[0]).is_file())
    ]
    if not here:
        known = "; ".join(f"{one[0]} and {one[1]}" if one[0] else one[1] for one in FOLDERS)
        there = [one[1] for one in FOLDERS if (folder / one[1]).is_file()]
        lacks = (
            f"it has {there[0]} without its configuration" if there else "it holds none of the known pairs"
        )
        raise FileNotFoundError(f"{folder} is no folder of an SAE: {lacks} ({known})")
    if len({one[1] for one in here}) > 1:
        names = ", ".join(one[1] for one in here)
        raise ValueError(f"it holds several SAEs ({names}); name the file")
    config_name, weights, assemble = here[0]
    tensors, _ = read_tensors(folder / weights)
    config_file = folder / (config_name or "config.json")
    config = read_config(config_file) if config_file.is_file() else {}
    return assemble(config, Parts(tensors, answers))


def _file(file: Path, answers: Answers) -> SAE:
    """A file that belongs to a folder is read with the folder's configuration."""
    for config_name, weights, assemble in FOLDERS:
        folder = file.parents[weights.count("/")] if len(file.parents) > weights.count("/") else file.parent
        if folder / weights == file and config_name is not None and (folder / config_name).is_file():
            return assemble(read_config(folder / config_name), Parts(read_tensors(file)[0], answers))
    tensors, content = read_tensors(file)
    parts = Parts(dict(tensors), answers)
    for dialect in LONE:
        if dialect.recognises(tensors, content, file.name):
            return dialect.assemble(content if dialect is openai else {}, parts)
    return lone.assemble(content, parts)
