"""How the value of a program's last expression is shown.

Law: pandas and sympy as people read them, everything else by its repr.
"""

import sys

# Wide enough for a dozen columns, short enough for a model to read.
PANDAS_OPTIONS = ("display.width", 120, "display.max_columns", 20, "display.max_rows", 60)


def display(value: object) -> str | None:
    """The text of a value; None has none."""
    if value is None:
        return None
    if _is_from("pandas", ("NDFrame",), value):
        pandas = sys.modules["pandas"]
        with pandas.option_context(*PANDAS_OPTIONS):
            return str(value)
    if _is_from("sympy", ("Basic", "MatrixBase"), value):
        return str(value)
    return repr(value)


def _is_from(package: str, names: tuple[str, ...], value: object) -> bool:
    """By the names of classes: a library that was not loaded has no values."""
    if package not in sys.modules:
        return False
    return any(
        base.__name__ in names and base.__module__.split(".")[0] == package
        for base in type(value).__mro__
    )
