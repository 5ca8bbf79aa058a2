"""What code reaches in the library: definitions, packages and data files, read off the syntax trees.

A name leads to its definition, that to the names it uses, and so on. Where a name cannot be followed (a module
handed over as a value, `globals()`, a module's name in a text), the whole module counts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from amortgap.runs.sources import Piece, Source, Target, read_source

#: A text such as "amortgap.solvers.fista", "amortgap.solvers." or "amortgap.solvers:fista".
NAMED = re.compile(r"amortgap(\.\w*)+(:\w*)?")


@dataclass
class Reached:
    """`code`: module -> name -> digest, and `texts`: module -> string constants, both of the reached pieces;
    `packages`: dotted names used of other packages; `readers`: modules of which a reached piece uses `__file__`,
    so that it may read the data files beside it."""

    code: dict[str, dict[str, str]] = field(default_factory=dict)
    texts: dict[str, set[str]] = field(default_factory=dict)
    packages: set[str] = field(default_factory=set)
    readers: set[str] = field(default_factory=set)


class Library:
    """The modules of the package `amortgap`, each read when it is needed.

    `root` is its folder, `files` the file of each module.
    """

    def __init__(self, root: Path, files: list[Path]) -> None:
        self.root = root
        self.files: dict[str, Path] = {}
        for path in files:
            parts = path.relative_to(root).with_suffix("").parts
            self.files[".".join(("amortgap", *(part for part in parts if part != "__init__")))] = path
        self._read: dict[str, Source] = {}

    def source(self, module: str) -> Source:
        """The parsed module."""
        if module not in self._read:
            self._read[module] = read_source(self.files[module].read_text(encoding="utf-8"))
        return self._read[module]

    def reach(self, cells: list[Source]) -> Reached:
        """What the cells of a notebook reach."""
        return _Walk(self, cells).reached


class _Walk:
    def __init__(self, library: Library, cells: list[Source]) -> None:
        self.library, self.reached = library, Reached()
        self._imported: set[str] = set()
        self._whole: set[str] = set()
        self._waiting: list[tuple[str, Piece]] = []
        imports = {name: target for cell in cells for name, target in cell.imports.items()}
        for cell in cells:
            for module in cell.modules:
                self._import(module)
            self._follow(cell.whole, "", Source(cell.whole, imports=imports))
        while self._waiting:
            module, piece = self._waiting.pop()
            self._follow(piece, module, self.library.source(module))

    def _import(self, module: str) -> None:
        """Python runs the module and those above it: their statements count, and the modules they import."""
        if module in self._imported or module not in self.library.files:
            return
        self._imported.add(module)
        self._import(module.rpartition(".")[0])
        source = self.library.source(module)
        for other in source.modules:
            self._import(other)
        for name, piece in source.statements.items():
            self._visit(module, name, piece)
        for name, decorators in source.decorated.items():
            if any(self._may_register(used, source) for used in decorators):
                self._visit(module, name, source.pieces[name])

    def _may_register(self, used: str, source: Source) -> bool:
        """Whether a decorator is a function of the library; one of another package knows no registry of ours."""
        first, _, rest = used.partition(".")
        if first in source.pieces:
            return source.pieces[first].is_definition
        target = source.imports.get(first, Target(""))
        if target.module not in self.library.files:
            return False
        return self._may_register(target.name or rest, self.library.source(target.module))

    def _visit(self, module: str, name: str, piece: Piece) -> None:
        found = self.reached.code.setdefault(module, {})
        if name not in found:
            found[name] = piece.digest
            self.reached.texts.setdefault(module, set()).update(piece.texts)
            self._waiting.append((module, piece))

    def _follow(self, piece: Piece, module: str, source: Source) -> None:
        names = source.imports | piece.imports
        for used in piece.uses:
            first, *rest = used.split(".")
            if first in names:
                self._reach(names[first], rest)
            elif module and first in source.pieces:
                self._visit(module, first, source.pieces[first])
            elif module and first == "globals":
                self._reach_all(module)
            elif module and first == "__file__":
                self.reached.readers.add(module)
            elif "*" in names:
                self._reach_all(names["*"].module)
        for text in piece.texts:
            if NAMED.fullmatch(text):
                self._reach_named(text)

    def _reach(self, target: Target, rest: list[str]) -> None:
        """Follow an imported name and the attributes read from it."""
        module, name = target.module, target.name
        if not module.startswith("amortgap"):
            self.reached.packages.add(".".join([module, *([name] if name else []), *rest]))
            return
        self._import(module)
        if name is None and not rest:
            self._reach_all(module)
            return
        if name is None:
            name, *rest = rest
        if module not in self.library.files:
            return
        source = self.library.source(module)
        if name in source.imports and source.imports[name] != Target(module, name):
            self._reach(source.imports[name], rest)
        elif name in source.pieces:
            self._visit(module, name, source.pieces[name])
        elif f"{module}.{name}" in self.library.files:
            self._reach(Target(f"{module}.{name}"), rest)
        elif "__getattr__" in source.pieces:
            self._visit(module, "__getattr__", source.pieces["__getattr__"])
        elif name == "*" or "*" in source.imports:
            self._reach_all(module)

    def _reach_all(self, module: str) -> None:
        if module in self._whole or module not in self.library.files:
            return
        self._whole.add(module)
        self._import(module)
        source = self.library.source(module)
        for name, piece in source.pieces.items():
            self._visit(module, name, piece)
        for target in source.imports.values():
            if target.name:
                self._reach(target, [])

    def _reach_named(self, text: str) -> None:
        """A text that names a module or what is in it; the beginning of a name stands for all it may lead to."""
        named = text.partition(":")[0].rstrip(".")
        while named not in self.library.files and "." in named:
            named = named.rpartition(".")[0]
        for module in self.library.files:
            if module == named or module.startswith(f"{named}."):
                self._reach_all(module)
