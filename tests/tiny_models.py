"""Random language models, made in a second, as ``save_pretrained`` leaves them on disk."""

from pathlib import Path

#: The vocabulary of made texts.
WORDS = [
    "the",
    "people",
    "of",
    "this",
    "union",
    "have",
    "seen",
    "great",
    "peace",
    "and",
    "labor",
    "in",
    "winter",
]


def byte_tokenizer():
    """A tokenizer of 256 byte tokens."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def save_gpt2(folder: Path) -> Path:
    """A GPT-2 of three blocks, M = 16."""
    import transformers

    config = transformers.GPT2Config(vocab_size=256, n_positions=128, n_embd=16, n_layer=3, n_head=2)
    transformers.GPT2LMHeadModel(config).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder
