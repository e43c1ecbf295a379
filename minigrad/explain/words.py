"""How names and formulas are written, in the tables, the picture and the page alike."""

from __future__ import annotations

import re
from collections.abc import Mapping


def entry(name: str, index: tuple[int, ...]) -> str:
    """The name with its index: "x.grad[0, 1]"."""
    return f"{name}[{', '.join(map(str, index))}]" if index else name


def cut(text: str, room: int) -> str:
    """The beginning of a text that is too long."""
    return text if len(text) <= room else text[: max(room - 1, 0)] + "…" * (room > 0)


def tail(name: str, room: int) -> str:
    """A long path by its end, which says more than its beginning."""
    return name if len(name) <= room else "…" + name[1 - room :]


def short(formula: str) -> str:
    """A formula without the words after it."""
    return re.split("[:;] |, with |, for ", formula)[0]


def in_names_of(formula: str, names: Mapping[str, str | None]) -> str:
    """The formula of a rule with these names for those of its inputs, and without inputs that are None."""
    known = {p: "None" if name is None else name for p, name in names.items() if p.isidentifier()}
    for parameter, name in names.items():
        if name is None:
            formula = re.sub(rf" \+ {parameter}\b|\b{parameter} · ", "", formula)
    for raised, parameter in (("ˣ", "x"), ("ʸ", "y")):
        if parameter in known:
            formula = formula.replace(raised, f"^{parameter}")
    lines = short(formula)
    words = formula[len(lines) :]  # in which longer names are words as well
    letters = {p: name for p, name in known.items() if len(p) == 1}
    return _renamed(lines, known) + _renamed(words, letters)


def _renamed(formula: str, names: dict[str, str]) -> str:
    if not names:
        return formula
    # a letter within a word, and the article "a", are no names; letters below and above the line may follow one
    alone = rf"\b(?:the )?(?<![^\W_])({'|'.join(names)})(?![A-Za-z0-9_])(?!(?<=\ba) [a-z]{{2}})"
    return re.sub(alone, lambda found: _as_factor(names[found[1]]), formula)


def _as_factor(name: str) -> str:
    return f"({name})" if name.startswith("-") else name


_UNSHOWABLE = re.compile("[^\n\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def legible(text: str) -> str:
    """With � for control characters, and for what is no character: no XML and no UTF-8 file holds these."""
    return _UNSHOWABLE.sub("\ufffd", text.replace("\t", " "))
