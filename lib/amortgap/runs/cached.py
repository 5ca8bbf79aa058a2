"""A notebook's functions that keep their results (`functools.cache`, `lru_cache`) on their way to other processes.

Pickle sends them by name, and another process has no function of that name.
"""

from __future__ import annotations

import contextlib
import copyreg
import uuid
import weakref
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

KIND: Any = type(lru_cache(len))
#: Here, a name for each that was sent; there, by its name, what was made of it, so that calls share its results.
_NAMES: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()
_MADE: dict[str, Any] = {}


@contextlib.contextmanager
def sent_whole() -> Iterator[None]:
    """While it is open, such functions are pickled as what they wrap, where that can be (cloudpickle does it)."""
    copyreg.dispatch_table[KIND] = _sent
    try:
        yield
    finally:
        copyreg.dispatch_table.pop(KIND, None)


def _sent(cached: Any) -> str | tuple[Any, ...]:
    if cached.__module__ != "__main__" and "<locals>" not in cached.__qualname__:
        return str(cached.__qualname__)
    name = _NAMES.setdefault(cached, uuid.uuid4().hex)
    return _made, (name, cached.__wrapped__, *cached.cache_parameters().values())


def _made(name: str, function: Callable[..., Any], maxsize: int | None, typed: bool) -> Any:
    made = _MADE.setdefault(name, lru_cache(maxsize, typed)(function))
    # Dask's workers hand it on to one another
    _NAMES[made] = name
    copyreg.dispatch_table[KIND] = _sent
    return made
