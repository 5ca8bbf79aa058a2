"""Who may import whom, read off the sources: the rules of the design, held by a test."""

import ast
import sys
from pathlib import Path

import pytest

import amortgap

LIB = Path(amortgap.__file__).parent
SOURCES = {
    path.relative_to(LIB).as_posix(): ast.parse(path.read_text("utf-8")) for path in sorted(LIB.rglob("*.py"))
}

# each part and the parts it may know; _check, _largest and _subsets are tools of all of the science
FILES = {"_files", "_errors", "_progress"}  # whole writes and locks, the error for bad use, progress bars
BASE = FILES | {
    "_check",
    "_largest",
    "_subsets",
    "problem",
    "objectives",
    "metrics",
    "flops",
    "worlds",
    "detection",
}
MIDDLE = {"sensing", "theory", "solvers", "encoders"}
UPPER = {"training", "dictionaries", "gap", "agreement", "supports"}
OUTER = {"llm", "interop"}
PAPERWORK = {"runs", "kit", "pages"}  # each knows those before it
KERNELS = {"_kernels"}  # numba code that solvers, dictionaries and training share
MAY_KNOW = (
    dict.fromkeys(BASE, BASE)
    | {"flops": BASE | {"encoders"}}  # each encoder says what its products cost
    | dict.fromkeys(KERNELS, BASE | KERNELS)
    | dict.fromkeys(MIDDLE, BASE | KERNELS)
    | dict.fromkeys(UPPER, BASE | MIDDLE | KERNELS)
    | {"dictionaries": BASE | MIDDLE | KERNELS | {"training"}}
    | dict.fromkeys(OUTER, BASE | MIDDLE | UPPER)
    # Of audit and improve, pages knows the types of their results.
    | {"runs": FILES, "kit": FILES | {"runs"}, "pages": FILES | {"runs", "kit", "audit", "improve"}}
    | {"heads": BASE | MIDDLE | {"interop"}}
    | {"gap": BASE | MIDDLE | {"heads"}}  # where the encoder's candidates are given
    | {"audit": BASE | MIDDLE | UPPER | OUTER | {"heads"}}
    | {"improve": BASE | MIDDLE | UPPER | OUTER | {"heads", "audit"}}
    | {"explore": BASE | MIDDLE | UPPER | {"interop"}}
    | dict.fromkeys(
        ("cli", "__main__"), BASE | MIDDLE | UPPER | OUTER | PAPERWORK | {"audit", "heads", "improve"}
    )
)
BASE_PACKAGES = {"torch", "numpy", "scipy", "filelock", "tqdm"}


def part(source: str) -> str:
    return source.split("/")[0].removesuffix(".py")


def imported(source: str) -> list[str]:
    """Dotted names of all modules a file imports, anywhere in it."""
    names = []
    for node in ast.walk(SOURCES[source]):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{source}: imports are written out, not relative"
            names += [node.module or ""]
            if node.module == "amortgap":  # from amortgap import solvers
                names += [f"amortgap.{alias.name}" for alias in node.names if alias.name != "__version__"]
    return names


every_source = pytest.mark.parametrize("source", [s for s in SOURCES if s != "__init__.py"])


@every_source
def test_parts_know_only_the_parts_below(source):
    own = part(source)
    assert own in MAY_KNOW, f"{source} belongs to no part of the design"
    for name in imported(source):
        top, *rest = name.split(".")
        if top == "amortgap" and rest:
            assert rest[0] == own or rest[0] in MAY_KNOW[own], f"{source} may not import {name}"


@pytest.mark.parametrize("source", [s for s in SOURCES if part(s) in BASE])
def test_the_base_needs_torch_numpy_and_scipy_only(source):
    foreign = {name.split(".")[0] for name in imported(source)} - set(sys.stdlib_module_names)
    assert foreign <= BASE_PACKAGES | {"amortgap"}


@pytest.mark.parametrize("source", [s for s in SOURCES if part(s) in PAPERWORK])
def test_paperwork_does_not_need_torch(source):
    assert not {name.split(".")[0] for name in imported(source)} & {"torch", "cvxpy", "transformers"}


@every_source
def test_the_library_knows_no_notebook_and_no_test(source):
    assert not {name.split(".")[0] for name in imported(source)} & {"notebooks", "tests"}


def calls(source: str):
    """Every call as (dotted name, keywords)."""
    for node in ast.walk(SOURCES[source]):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}


@every_source
def test_nothing_is_unpickled(source):
    # a pickle from elsewhere runs its author's code
    modules = {name.split(".")[0] for name in imported(source)}
    assert not modules & {"pickle", "dill", "cloudpickle", "shelve", "marshal"}
    for name, keywords in calls(source):
        if name == "torch.load":
            assert keywords.get("weights_only") == "True", f"{source}: torch.load without weights_only=True"
        if name.endswith(("np.load", "numpy.load")):
            assert keywords.get("allow_pickle", "False") == "False", f"{source}: numpy.load with pickles"
        assert not name.endswith("read_pickle"), source


FORBIDDEN = {"print", "torch.manual_seed", "torch.set_default_device", "torch.cuda.set_device"}


@pytest.mark.parametrize("source", [s for s in SOURCES if part(s) in BASE | MIDDLE])
def test_methods_are_silent_and_pick_no_device(source):
    for name, _ in calls(source):
        assert name not in FORBIDDEN, source
        assert not name.endswith(".cuda"), source


@pytest.mark.parametrize("source", [s for s in SOURCES if part(s) in MIDDLE | {"training", "dictionaries"}])
def test_no_method_scores_itself(source):
    assert "amortgap.metrics" not in imported(source), f"{source}: only the caller judges"


def test_no_two_parts_import_each_other():
    parts: dict[str, set[str]] = {}
    for source in SOURCES:
        known = {name.split(".")[1] for name in imported(source) if name.startswith("amortgap.")}
        parts.setdefault(part(source), set()).update(known - {part(source)})
    done: set[str] = set()
    while ready := {p for p, known in parts.items() if p not in done and not (known & parts.keys()) - done}:
        done |= ready
    assert done == parts.keys(), f"these parts import each other: {sorted(parts.keys() - done)}"
