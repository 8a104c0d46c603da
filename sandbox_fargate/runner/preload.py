"""Loads the libraries and uses them once before a program asks, while a sandbox is pooled.

Law: a program that is waiting ends the warming; what is not loaded yet, it loads itself.
"""

import contextlib
import gc
import importlib
import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path

# In the order of how often programs want them; scipy.stats is the dearest with 0.25 s.
MODULES = (
    "numpy",
    "matplotlib.pyplot",
    "matplotlib.backends.backend_svg",
    "pandas",
    "sympy",
    "scipy.linalg",
    "scipy.special",
    "scipy.optimize",
    "scipy.integrate",
    "scipy.stats",
)

# The first figure costs 0.5 s in fonts and parsers, of which a forked interpreter inherits most.
FIRST_FIGURE = """
import matplotlib.pyplot as plt
figure, axes = plt.subplots()
axes.plot([0, 1], [0, 1], label="$x^2$")
axes.set_title("a"); axes.set_xlabel("b"); axes.legend(); axes.grid()
figure.savefig(buffer, format="svg", bbox_inches="tight")
plt.close("all")
"""

# The first integral and equation cost 0.4 s in sympy's own late imports and tables.
FIRST_FORMULA = """
import sympy
x = sympy.symbols("x")
sympy.integrate(sympy.exp(-x) * sympy.cos(x), x)
sympy.integrate(sympy.exp(-x**2), (x, -sympy.oo, sympy.oo))
sympy.solve(x**2 - x - 1, x)
sympy.simplify(sympy.sin(x)**2 + sympy.cos(x)**2)
sympy.limit(sympy.sin(x) / x, x, 0)
"""


def warm(is_wanted: Callable[[], bool]) -> None:
    """Load one part after the other until a program is waiting."""
    copy_font_cache()
    for name in MODULES:
        if is_wanted():
            return
        importlib.import_module(name)
    for program in (FIRST_FIGURE, FIRST_FORMULA):
        if not is_wanted():
            exec(program, {"buffer": io.BytesIO()})
    # What is loaded now is shared by every interpreter, as long as no collection touches it.
    gc.collect()
    gc.freeze()


def copy_font_cache() -> None:
    """Give matplotlib the fonts that set-up found, in a folder that it can write to."""
    target = Path(os.environ["MPLCONFIGDIR"])
    target.mkdir(exist_ok=True)
    with contextlib.suppress(OSError):
        for file in Path(os.environ["SANDBOX_FONTS"]).glob("fontlist-*.json"):
            shutil.copy(file, target / file.name)
