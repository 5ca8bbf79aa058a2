"""A notebook file: its title, its parameters, its code."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from amortgap._errors import Refused
from amortgap.runs.sources import Source, read_cell

TYPES: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "str": (str,), "bool": (bool,)}


@dataclass(frozen=True)
class Parameter:
    """One line `name: type = default  # meaning` of the parameters cell."""

    name: str
    type: str
    default: Any
    meaning: str

    def accepts(self, value: Any, type: str | None = None) -> bool:
        """Whether `value` fits the written type: int, float, str, bool, or list[one of these].

        An int fits a float; a bool fits neither. Any other written type accepts everything.
        """
        wanted = type or self.type
        if inner := re.fullmatch(r"list\[(\w+)\]", wanted):
            return isinstance(value, list) and all(self.accepts(one, inner[1]) for one in value)
        if wanted == "list":
            return isinstance(value, list)
        if wanted not in TYPES:
            return True
        return isinstance(value, TYPES[wanted]) and (wanted == "bool" or not isinstance(value, bool))


class Notebook:
    """A notebook file, read without running it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.stem
        try:
            self.cells: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cells"]
            if not all(map(_is_cell, self.cells)):
                raise ValueError("no cells")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise Refused(f"{path.name} is not a Jupyter notebook (version 4)") from error

    @cached_property
    def title(self) -> str:
        """The first heading, or the name where there is none."""
        for cell in self.cells:
            if cell["cell_type"] == "markdown" and (
                found := re.search(r"^#\s+(.+)$", source(cell), re.MULTILINE)
            ):
                return found[1].strip()
        return self.name

    @property
    def plain_title(self) -> str:
        """The title as plain text: marks of Markdown and of TeX taken out, for a window's title."""
        return re.sub(
            r"\s+", " ", re.sub(r"\\([a-zA-Z]+)", r"\1", re.sub(r"[$*`{}]", "", self.title))
        ).strip()

    @cached_property
    def parameters(self) -> dict[str, Parameter]:
        """The parameters by name, in the order written.

        Read with `ast`, because `papermill.inspect_notebook` drops a line whose meaning holds an
        equals sign. Raises `Refused` for a line that is not `name: type = default`.
        """
        tagged = [cell for cell in self.cells if "parameters" in cell["metadata"].get("tags", [])]
        if len(tagged) != 1:
            raise Refused(f"{self.name}: {len(tagged)} cells are tagged 'parameters'; there must be one")
        text = source(tagged[0])
        lines = text.splitlines()
        found = {}
        try:
            for node in ast.parse(text).body:
                if (
                    not isinstance(node, ast.AnnAssign)
                    or not isinstance(node.target, ast.Name)
                    or not node.value
                ):
                    raise Refused(
                        f"{self.name}: {lines[node.lineno - 1]!r} is not 'name: type = default  # meaning'"
                    )
                rest = lines[(node.end_lineno or node.lineno) - 1].encode()[node.end_col_offset :].decode()
                meaning = rest.partition("#")[2].strip()
                value = ast.literal_eval(node.value)
                found[node.target.id] = Parameter(
                    node.target.id, ast.unparse(node.annotation), value, meaning
                )
        except (SyntaxError, ValueError) as error:
            if isinstance(error, Refused):
                raise
            raise Refused(
                f"{self.name}: the parameters cell holds more than plain values: {error}"
            ) from error
        return found

    @cached_property
    def code(self) -> list[Source]:
        """The code cells that do something, in order; the cell of the parameters is left out."""
        cells = [
            cell
            for cell in self.cells
            if cell["cell_type"] == "code" and "parameters" not in cell["metadata"].get("tags", [])
        ]
        return [read for cell in cells if (read := read_cell(source(cell))).whole]

    def resolve(self, given: dict[str, Any]) -> dict[str, Any]:
        """All parameters with their values: the defaults, replaced by those in `given`.

        Raises `Refused` for a name the notebook does not have and for a value of another type.
        """
        for name, value in given.items():
            if name not in self.parameters:
                raise Refused(
                    f"{self.name}: unknown parameter {name!r}; it has {', '.join(self.parameters) or 'none'}"
                )
            if not self.parameters[name].accepts(value):
                raise Refused(
                    f"{self.name}: parameter {name!r} is {self.parameters[name].type}, not {value!r}"
                )
        return {name: given.get(name, parameter.default) for name, parameter in self.parameters.items()}


def _is_cell(cell: Any) -> bool:
    if not isinstance(cell, dict) or not isinstance(cell.get("metadata"), dict):
        return False
    text = cell.get("source")
    lines = text if isinstance(text, list) else [text]
    return all(isinstance(one, str) for one in (cell.get("cell_type"), *lines))


def source(cell: dict[str, Any]) -> str:
    """The text of a cell; the file may hold it as one string or as a list of lines."""
    return cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])
