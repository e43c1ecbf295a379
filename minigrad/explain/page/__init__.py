"""A recording as a page to step through: one HTML file that needs nothing else.

page.html, page.css and the scripts are the page; here they are put together, with the recording as JSON (data.py). What
the JSON says is only ever shown as text, and the page's own policy forbids every other script and every request.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html import escape
from importlib.resources import files

from minigrad.explain.page.data import data
from minigrad.explain.recording import Recording
from minigrad.explain.words import legible

SCRIPTS = ("recording", "elements", "boxes", "layout", "routes", "state", "drawing", "panel", "controls")
HEIGHT = 720  # of the page in a notebook


def to_html(recording: Recording) -> str:
    """The page, in one text."""
    page, style, script_ = _text("page.html"), _text("page.css"), script()
    json_ = json.dumps(data(recording), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    filled = {
        "title": escape(f"Backprop of {recording.output.name}"),
        "policy": f"default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src '{_hash(style)}'; script-src '{_hash(script_)}'",
        "style": style,
        "script": script_,
        "data": json_.replace("<", "\\u003c"),  # no name can end the element
    }
    return legible(re.sub(r"\{\{(\w+)\}\}", lambda found: filled[found[1]], page))


def script() -> str:
    """The scripts as one; their types and comments, a third of them, are for those who read the source."""
    source = "\n".join(_text(f"{name}.js") for name in SCRIPTS)
    return re.sub(r"^ *(?:/\*\*.*?\*/|//[^\n]*)\n", "", source, flags=re.MULTILINE | re.DOTALL)


def _text(name: str) -> str:
    return files("minigrad.explain.page").joinpath(name).read_text("utf-8")


def notebook(recording: Recording) -> str:
    """The page in a frame of its own, which cannot touch the notebook."""
    return (
        f'<iframe title="{escape(repr(recording)[1:-1])}" sandbox="allow-scripts" width="100%" height="{HEIGHT}" '
        f'frameborder="0" srcdoc="{escape(to_html(recording))}"></iframe>'
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
