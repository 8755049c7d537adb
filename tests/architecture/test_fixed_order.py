"""What makes an output calls nothing whose last bits the processor decides: see docs/reproducibility.md.

OpenBLAS adds up a product in an order of its own for each kind of core, and NumPy has other kernels of `exp`,
`log` and the like for each instruction set. Processes that make outputs are held to one choice
(`sacpipe/core/fixed_arithmetic.py`); a library in a notebook or a test is not.
"""

import ast

import pytest
from repository import ROOT
from ruamel.yaml import YAML

SUMS = {"convolve", "corrcoef", "correlate", "cov", "dot", "einsum", "inner", "linalg", "matmul", "polyfit"}
SUMS |= {"matvec", "tensordot", "vdot", "vecdot", "vecmat"}
FUNCTIONS = {"arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctan2", "arctanh", "cbrt", "cos", "cosh"}
FUNCTIONS |= {
    "exp",
    "exp2",
    "expm1",
    "float_power",
    "geomspace",
    "log",
    "log10",
    "log1p",
    "log2",
    "logaddexp",
}
FUNCTIONS |= {"logaddexp2", "logspace", "pow", "power", "sin", "sinc", "sinh", "tan", "tanh"}
EXACT_EXPONENTS = (2, 0.5)
"""NumPy multiplies, or takes the square root; both are rounded correctly everywhere."""

TORCH = "the engine `torch` promises the same bytes on the same kind of processor only"
ACT = "acts for engines that compute with PyTorch and NumPy, which promise no more than `torch`"
EXCEPTIONS = {
    ("sacpipe/algorithms/divergence.py", "np.dot"): "a check: its value reaches no output",
    ("sacpipe/engines/passes.py", "np.dot"): TORCH,
    ("sacpipe/engines/torch_sac.py", "@"): TORCH,
    ("sacpipe/engines/torch_sac.py", "np.exp"): TORCH,
    ("sacpipe/engines/torch_sac.py", "np.log1p"): TORCH,
    ("sacpipe/engines/torch_sac.py", "np.tanh"): TORCH,
    ("sacpipe/networks/mlp.py", "@"): ACT,
    ("sacpipe/networks/network.py", "@"): ACT,
    ("sacpipe/networks/policies/deterministic.py", "np.tanh"): ACT,
    ("sacpipe/networks/policies/sampling_network.py", "np.tanh"): ACT,
    ("sacpipe/networks/policies/squashed_gaussian.py", "np.exp"): ACT,
    ("sacpipe/networks/policies/squashed_gaussian.py", "np.tanh"): ACT,
    ("sacpipe/robot/shadow.py", "np.logspace"): "no stage runs a policy in shadow of another",
}


def packages():
    """Return the packages of which dvc.yaml names a file, and that of the kernels where there is one."""
    stages = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"].values()
    names = {path.rpartition("/")[0] for stage in stages for path in stage["deps"] if path.endswith(".py")}
    return sorted({"/".join(name.split("/")[:2]) for name in names} | {"sacpipe/kernels"})


def moving(source):
    """Return what a file calls whose last bits depend on the processor: `np.exp`, `@`, `**`, `.dot`."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            found |= attribute(node)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "numpy":
            names = {*node.module.split(".")[1:], *(alias.name for alias in node.names)}
            found |= {f"np.{name}" for name in names & (SUMS | FUNCTIONS)}
        elif isinstance(node, ast.BinOp | ast.AugAssign):
            if isinstance(node.op, ast.MatMult):
                found.add("@")
            elif isinstance(node.op, ast.Pow) and not is_exact(node):
                found.add("**")
    return found


def attribute(node):
    is_numpy = isinstance(node.value, ast.Name) and node.value.id in {"np", "numpy"}
    if is_numpy and node.attr in SUMS | FUNCTIONS:
        return {f"np.{node.attr}"}
    return {".dot"} if node.attr == "dot" else set()


def is_exact(node):
    if isinstance(node, ast.AugAssign):
        return isinstance(node.value, ast.Constant) and node.value.value in EXACT_EXPONENTS
    try:  # of numbers alone: Python's own power, as in `2.0**-12`
        ast.literal_eval(node.left), ast.literal_eval(node.right)
    except ValueError:
        return isinstance(node.right, ast.Constant) and node.right.value in EXACT_EXPONENTS
    return True


def test_what_makes_an_output_calls_nothing_that_moves_with_the_processor():
    found = {
        (path.relative_to(ROOT).as_posix(), name)
        for package in packages()
        for path in (ROOT / package).rglob("*.py")
        for name in moving(path.read_text())
    }
    assert found - EXCEPTIONS.keys() == set(), "use a kernel, `math` or a sum in a fixed order"
    assert EXCEPTIONS.keys() - found == set(), "these exceptions have no use"


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("total = np.dot(weights, values)", "np.dot"),
        ("total = weights.dot(values)", ".dot"),
        ("total = weights @ values", "@"),
        ("total @= values", "@"),
        ("norm = np.linalg.norm(values)", "np.linalg"),
        ("std = np.exp(log_std)", "np.exp"),
        ("functions = [np.log1p]", "np.log1p"),
        ("from numpy import tanh", "np.tanh"),
        ("from numpy.linalg import norm", "np.linalg"),
        ("from numpy import linalg", "np.linalg"),
        ("discounts = discount ** np.arange(5)", "**"),
        ("values **= 3", "**"),
        ("variance = std**2 + 2.0**-12 + (a + b) ** 0.5", None),
        ("root = math.exp(1.0) + np.sqrt(2.0)", None),
    ],
)
def test_each_is_found(line, name):
    assert moving(f"import numpy as np\n{line}\n") == ({name} if name else set())
