"""A tiny project in a temporary folder, for the tests of `runs`, `report` and the command line."""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from amortgap.runs.project import Project

KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}


def make_project(root: Path, runs: str, **notebooks: list[str]) -> Project:
    """A project with `runs` as runs.toml. Cells: "# ..." is Markdown, the line "P: ..." adds a parameter."""
    (root / "notebooks").mkdir(parents=True)
    (root / "pyproject.toml").touch()
    (root / "notebooks" / "runs.toml").write_text(runs)
    for name, cells in notebooks.items():
        write_notebook(root / "notebooks" / f"{name}.ipynb", cells)
    return Project(root)


def write_notebook(path: Path, cells: list[str]) -> None:
    """A notebook with a parameters cell made of `out` and of the cells that begin with "P: "."""
    lines = [cell.removeprefix("P: ") for cell in cells if cell.startswith("P: ")]
    out = f'out: str = "../reports/interactive/data/{path.stem}"  # folder for the data'
    made = [new_code_cell("\n".join([*lines, out]), metadata={"tags": ["parameters"]})]
    for cell in cells:
        if not cell.startswith("P: "):
            made.append(new_markdown_cell(cell) if cell.startswith("# ") else new_code_cell(cell))
    notebook = new_notebook(cells=made, metadata={"kernelspec": KERNEL})
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"
    nbformat.write(notebook, path)


#: A page with everything a page can hold: formulas, a table, a figure, claims, output, stderr.
FULL = [
    r"""# The $\ell_1$ page

Its *summary* with $s \in \mathbb{R}^N$ and [a source](https://example.org/paper) and [another](b.ipynb).

## Formulas

$$\begin{aligned}
\hat s &= \operatorname*{arg\,min}_{s\ge0} \tfrac12\|x-Ds\|^2 \\ &= \sum_{i=1}^{N} s_i
\end{aligned}$$

\begin{align} a &= \begin{cases} 1 & x > 0 \\ 0 & \text{otherwise} \end{cases} \end{align}

## Found

Price: 3 < 4 & 5.

## Found

## Is it more than chance?

### Is it less?

## What we found
""",
    "P: seeds: int = 2  # number of seeds; n = 2 is few",
    "import sys\nimport matplotlib.pyplot as plt\nfrom amortgap.kit import Record\nrec = Record(out)",
    "t = rec.table('mcc', [{'method': 'SAE', 'seed': i, 'mcc': 0.6 + i / 100} for i in range(seeds)])\nt",
    "fig, axes = plt.subplots(1, 2, figsize=(9, 4), sharey=True)\nfor ax in axes:\n"
    "    ax.plot(t.seed, t.mcc, 'o-', label='SAE')\n    ax.plot(t.seed, t.mcc + .1, 's--', label='solver')\n"
    "    ax.set(xlabel='seed', title='a panel')\n"
    "rec.figure(fig, 'curve', title='A <finding>.', alt='A line \"up\".', data='mcc')",
    "rec.claim('E2.1', says='It is .6.', values=[.609, .61, .611], published=(.61, 'Table <2>'),"
    " against={'chance': .1}, figure='curve', data='mcc')\nrec.provenance(device='cpu')",
    "print('printed <b>')\nprint('only progress', file=sys.stderr)",
    "from IPython.display import Latex\nLatex(r'$\\displaystyle \\int_0^1 x\\,dx$')",
]
