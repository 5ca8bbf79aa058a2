"""What a corpus is made of."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Document:
    """One text with where it is from, and its class where the corpus has one."""

    text: str
    title: str
    source: str
    label: str | None = None
