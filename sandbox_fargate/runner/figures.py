"""Catches matplotlib's figures as SVG: shown, saved under any name, or left open at the end.

Laws: each figure once, in order; the same program gives the same bytes; a figure with an image in
it, too large, or one too many is refused with a sentence that says what to do instead.
"""

import io
import sys
import weakref
from collections.abc import Callable
from typing import Any

# Dates and random ids would make every drawing of the same figure different.
DETERMINISTIC = {"svg.hashsalt": "sandbox", "svg.fonttype": "none"}
METADATA = {"Date": None}

# What decides how a saved figure looks; the rest of savefig's options is about the file.
LOOKS = ("facecolor", "edgecolor", "bbox_inches", "pad_inches", "bbox_extra_artists", "orientation")

IMAGE_MARK = b"<image"


class FigureCatcher:
    """The figures of one program after the other."""

    def __init__(
        self,
        send: Callable[[bytes], None],
        refuse: Callable[[str, str], None],
        caps: dict[str, Any],
    ) -> None:
        """`send` takes an SVG, `refuse` a limit's name and what to tell the model."""
        self._send = send
        self._refuse = refuse
        self._caps = caps
        self._count = 0
        self._drawn: weakref.WeakSet[Any] = weakref.WeakSet()
        self._print_figure: Callable[..., Any] | None = None

    def install(self) -> None:
        """Hook matplotlib once it is loaded; harmless when called again."""
        pyplot = sys.modules.get("matplotlib.pyplot")
        if pyplot is None or self._print_figure is not None:
            return
        bases = sys.modules["matplotlib.backend_bases"]
        canvas, figure = bases.FigureCanvasBase, sys.modules["matplotlib.figure"].Figure
        self._print_figure = canvas.print_figure
        catcher = self

        def print_figure(canvas: Any, filename: Any, *args: Any, **options: Any) -> Any:
            """Stands for FigureCanvasBase.print_figure, under savefig."""
            return catcher.save(canvas, filename, args, options)

        def show(*_args: Any, **_options: Any) -> None:
            """Stands for pyplot.show."""
            catcher.flush()

        def show_one(figure: Any, *_args: Any, **_options: Any) -> None:
            """Stands for Figure.show."""
            catcher.catch(figure, {})

        for owner, name, stand_in in (
            (canvas, "print_figure", print_figure),
            (pyplot, "show", show),
            (figure, "show", show_one),
        ):
            setattr(owner, name, stand_in)
        # A colour bar of 50 colours or more would hide an image in the SVG.
        sys.modules["matplotlib.colorbar"].Colorbar.n_rasterize = sys.maxsize

    def begin(self) -> None:
        """A new program starts: it may have its own number of figures."""
        self._count = 0
        self._drawn = weakref.WeakSet()

    def save(self, canvas: Any, filename: Any, args: Any, options: dict[str, Any]) -> Any:
        """Catch the figure, then write the file that the program asked for."""
        if self._print_figure is None:
            raise RuntimeError("figures are not hooked")
        self.catch(canvas.figure, {name: options[name] for name in LOOKS if name in options})
        try:
            return self._print_figure(canvas, filename, *args, **options)
        finally:
            # Saving sets colours back, which marks the figure as changed.
            canvas.figure.stale = False

    def flush(self) -> None:
        """Catch every open figure and close it."""
        pyplot = sys.modules.get("matplotlib.pyplot")
        if pyplot is None or self._print_figure is None:
            return
        try:
            for number in pyplot.get_fignums():
                self.catch(pyplot.figure(number), {})
        finally:
            pyplot.close("all")

    def catch(self, figure: Any, looks: dict[str, Any]) -> None:
        """Take a figure, unless it was taken and has not changed since."""
        if figure in self._drawn and not figure.stale:
            return
        if self._count >= self._caps["figures"]:
            self._refuse(
                "figures",
                f"a program may show {self._caps['figures']} figures; this one is left out: "
                "put several plots into one figure with plt.subplots",
            )
            return
        svg = self._draw(figure, looks)
        figure.stale = False
        self._drawn.add(figure)
        problem = problem_of(svg, self._caps["figure_bytes"], "pcolormesh or contourf")
        if problem is not None:
            self._refuse(*problem)
            return
        self._count += 1
        self._send(svg)

    def _draw(self, figure: Any, looks: dict[str, Any]) -> bytes:
        matplotlib = sys.modules["matplotlib"]
        buffer = io.BytesIO()
        print_figure: Any = self._print_figure
        with matplotlib.rc_context(DETERMINISTIC):
            print_figure(figure.canvas, buffer, format="svg", metadata=METADATA, **looks)
        return buffer.getvalue()


def problem_of(svg: bytes, bytes_max: int, instead: str) -> tuple[str, str] | None:
    """Why an SVG is refused, as a limit's name and a sentence, or None."""
    if IMAGE_MARK in svg:
        return (
            "raster",
            "the figure holds an embedded image (from imshow, rasterized=True or a raster layer), "
            f"which is not allowed; use {instead} so that it is drawn as vectors",
        )
    if len(svg) > bytes_max:
        return (
            "figure_bytes",
            f"the figure has {len(svg)} bytes of SVG, more than {bytes_max}; plot fewer points "
            "(sample, bin, or draw a histogram)",
        )
    return None
