"""What `mg.explain` returns: a recording that can be printed, asked and drawn."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from minigrad import checks
from minigrad.explain.differences import Differences, differences
from minigrad.explain.encoding import to_json
from minigrad.explain.page import notebook, to_html
from minigrad.explain.picture import to_dot, to_svg
from minigrad.explain.recording import Recording, Value, inside
from minigrad.explain.text import text
from minigrad.explain.why import Why, why
from minigrad.tensor import Tensor


class Explanation(Recording):
    """A recorded backward pass: printed, it is a table of the forward pass and one of the backward pass.

    values: all arrays of the graph, leaves and constants first; operations: oldest first; steps: all that happened,
    in order; output: the value that the pass began at. `why(tensor, index)` takes one number apart; `save` draws.
    """

    @classmethod
    def of(cls, recording: Recording) -> Explanation:
        return cls(**vars(recording))

    def why(self, of: Tensor | Value | str, index: int | tuple[int, ...] = (), most: int = 8) -> Why:
        """One entry of a gradient as a sum of terms: each an upstream gradient times a local derivative.

        index: of the entry; () for a scalar. most: how many terms are listed, the largest first; the rest is one sum.
        """
        return why(self.value(of), index, most)

    def inside(self, of: Tensor | Value | str) -> Explanation:
        """What happens inside of the fast kernel that made this value: the lines of its definition, explained.

        Its inputs have their names in this recording, not those that the definition has for them.
        """
        return Explanation.of(inside(self.value(of)))

    def finite_differences(self, most: int = 16) -> Differences:
        """Put the central difference quotient beside the gradients of all values, in float64; the table of these.

        Of each value up to `most` entries are moved, those with the largest gradients; what came of it is in
        `Value.differences`. Each pullback is held to its own rule as well: one that is wrong is marked as the guilty
        one from then on, in text, picture, page and why. A hook that changes a gradient makes it differ, too.
        """
        checks.whole("finite_differences", 1, most=most)
        return differences(self, most)

    def __str__(self) -> str:
        return self.text()

    def text(self, module: str | None = None) -> str:
        """The tables; of the operations of one module and of those inside of it, if its path is given.

        Of a graph of more than 60 operations whose modules are known, without a path, one line for each module.
        """
        return text(self, module)

    def to_json(self, most: int = 4096) -> str:
        """All of it as JSON; of arrays of more than `most` numbers only what `summary` says of them."""
        checks.whole("to_json", most=most)
        return to_json(self, most)

    def to_dot(self, depth: int | None = None) -> str:
        """The graph in the language of Graphviz; depth as that of `to_svg`."""
        return to_dot(self, depth)

    def to_svg(self, depth: int | None = None) -> str:
        """The graph as a picture that needs nothing else.

        depth: operations of one module, whose path is cut after this many names, are one box; 0 draws each operation.
        Unless given, it is the one that shows most in 60 boxes.
        """
        return to_svg(self, depth)

    def to_html(self) -> str:
        """A page to step through, which needs nothing else: play, point at a number, be told why it is what it is."""
        return to_html(self)

    def _repr_html_(self) -> str:
        return notebook(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as the ending of the name says: .html, .svg, .dot, .json or .txt."""
        ways: dict[str, Callable[[], str]] = {
            ".html": self.to_html, ".svg": self.to_svg, ".dot": self.to_dot, ".json": self.to_json, ".txt": self.text
        }  # fmt: skip
        checks.one_of("save", tuple(ways), ending=Path(path).suffix)
        Path(path).write_text(ways[Path(path).suffix]().rstrip("\n") + "\n", encoding="utf-8")
