"""One source file as a set of pieces: definitions, constants and statements, and what each of them uses.

Comments, docstrings and layout are in no piece, so they change no digest.
"""

from __future__ import annotations

import ast
import hashlib
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
IMPORTS = (ast.Import, ast.ImportFrom)
#: Blocks under these conditions are for type checkers and for the command line.
NEVER = ("TYPE_CHECKING", "__name__ == '__main__'")


@dataclass(frozen=True)
class Target:
    """What an import binds: a module, or a name in one."""

    module: str
    name: str | None = None


class Piece:
    """A top-level definition or statement. Read when it is first asked for."""

    def __init__(self, node: ast.AST) -> None:
        self._node = node

    def __bool__(self) -> bool:
        """Whether it does anything: a file of comments does not."""
        return getattr(self._node, "body", True) != []

    @property
    def is_definition(self) -> bool:
        """Whether it is a function or a class."""
        return isinstance(self._node, FUNCTIONS)

    @cached_property
    def _seen(self) -> _Scan:
        return _Scan(self._node)

    @cached_property
    def digest(self) -> str:
        """Of the syntax tree without docstrings; it holds no comment and no layout."""
        return hashlib.sha256("".join(self._seen.parts).encode()).hexdigest()[:12]

    @property
    def uses(self) -> set[str]:
        """Dotted names, each as long as it is written: `np.linalg.norm`."""
        return self._seen.uses

    @property
    def imports(self) -> dict[str, Target]:
        """What import statements inside it bind."""
        return self._seen.imports

    @property
    def texts(self) -> set[str]:
        """Its string constants."""
        return self._seen.texts


class _Scan:
    """One pass over a tree: a text that tells trees apart, names used, imports, string constants."""

    def __init__(self, node: ast.AST) -> None:
        self.parts: list[str] = []
        self.uses: set[str] = set()
        self.imports: dict[str, Target] = {}
        self.texts: set[str] = set()
        self._scan(node)

    def _scan(self, node: Any) -> None:
        if isinstance(node, list):
            self.parts.append("[")
            for one in node:
                self._scan(one)
            self.parts.append("]")
        elif isinstance(node, ast.AST):
            self._note(node)
        else:
            self.parts.append(f" {node!r}")

    def _note(self, node: Any) -> None:
        kind = type(node)
        if kind is ast.Expr and _is_text(node):
            return
        self.parts.append(f"({kind.__name__}")
        if kind is ast.Name:
            self.uses.add(node.id)
            self.parts.append(node.id)
        elif kind is ast.Attribute and (name := _dotted(node)):
            self.uses.add(name)
            self.parts.append(name)
        else:
            if kind in IMPORTS:
                self.imports |= _targets(node)
            elif kind is ast.Constant and isinstance(node.value, str):
                self.texts.add(node.value)
            for field in node._fields:
                self._scan(getattr(node, field, None))
        self.parts.append(")")


def _is_text(node: Any) -> bool:
    """Whether a statement is a docstring or another bare text."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


@dataclass
class Source:
    """A file: itself as a piece, its pieces by the names they bind, imports, statements that run on import."""

    whole: Piece
    pieces: dict[str, Piece] = field(default_factory=dict)
    imports: dict[str, Target] = field(default_factory=dict)
    statements: dict[str, Piece] = field(default_factory=dict)
    #: Decorated definition -> the names of its decorators, one of which may enter it into a registry.
    decorated: dict[str, set[str]] = field(default_factory=dict)
    modules: set[str] = field(default_factory=set)


@cache
def read_source(text: str) -> Source:
    """The pieces of a file with this text. Raises SyntaxError when it is not Python."""
    tree = ast.parse(text)
    tree.body = [node for node in tree.body if not _is_text(node)]
    found = Source(Piece(tree))
    for node in tree.body:
        _add(found, node)
    return found


def read_cell(text: str) -> Source:
    """A cell of a notebook. One that cannot be read, which will fail when it runs, is one text."""
    try:
        return read_source(text)
    except SyntaxError:
        from IPython.core.inputtransformer2 import TransformerManager

        try:
            # lines such as "%matplotlib inline"
            return read_source(TransformerManager().transform_cell(text))
        except SyntaxError:
            return Source(Piece(ast.Constant(text)))


def _add(found: Source, node: ast.stmt) -> None:
    if isinstance(node, FUNCTIONS):
        _bind(found, [node.name], Piece(node))
        if node.decorator_list:
            found.decorated[node.name] = {name for one in node.decorator_list for name in Piece(one).uses}
    elif isinstance(node, IMPORTS):
        found.imports |= _targets(node)
        found.modules |= _modules(node)
    elif isinstance(node, ast.Assign | ast.AnnAssign) and (names := _bound(node)):
        _bind(found, names, Piece(node))
    elif not (isinstance(node, ast.If) and ast.unparse(node.test) in NEVER):
        piece = found.statements[f"statement {len(found.statements) + 1}"] = Piece(node)
        _bind(found, _bound(node), piece)
        found.imports |= piece.imports
        found.modules |= {
            name for one in ast.walk(node) if isinstance(one, IMPORTS) for name in _modules(one)
        }


def _bind(found: Source, names: list[str], piece: Piece) -> None:
    for name in names:
        # A name that is bound again, as by `LIST += ...`: both count, the first whenever the module is imported.
        if found.pieces.get(name, piece) is not piece:
            found.statements[f"{name}, first"] = found.pieces[name]
        found.pieces[name] = piece


def _bound(node: ast.stmt) -> list[str]:
    """Names that an assignment or a compound statement binds in its module, imports aside."""
    places: list[Any] = [node]
    if isinstance(node, ast.Assign | ast.AnnAssign):
        places = node.targets if isinstance(node, ast.Assign) else [node.target]
    inner = [one for place in places for one in ast.walk(place)]
    names = [one.id for one in inner if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)]
    return names + [one.name for one in inner if isinstance(one, FUNCTIONS)]


def _targets(node: Any) -> dict[str, Target]:
    """What an import statement binds."""
    if isinstance(node, ast.ImportFrom):
        return {alias.asname or alias.name: Target(node.module or "", alias.name) for alias in node.names}
    names = ((alias.asname, alias.name, alias.name.partition(".")[0]) for alias in node.names)
    return {short or first: Target(full if short else first) for short, full, first in names}


def _modules(node: Any) -> set[str]:
    """Modules that Python imports when it runs an import statement."""
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    return {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}


def _dotted(node: Any) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (before := _dotted(node.value)):
        return f"{before}.{node.attr}"
    return None
