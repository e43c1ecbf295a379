"""Save and load nested dicts of arrays, numbers and texts as .npz: never pickled, and never half written.

What only a file needs is imported when there is one: it would be a tenth of the time of `import minigrad`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from minigrad.tensor import Tensor


def save(path: str | Path, state: dict[str, Any]) -> None:
    """Write a nested dict with text keys of arrays, Tensors, numbers and texts; a file that is there is replaced whole.

    TypeError for other values; OSError where the path cannot be written, and then what was there is still there.

    >>> import minigrad as mg, tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.npz"
    >>> mg.save(path, {"model": mg.nn.Linear(2, 1).state_dict(), "epoch": 3})
    >>> mg.load(path)["epoch"]
    3
    """
    import secrets
    import zipfile

    path = Path(path)
    flat: dict[str, Any] = {}

    def collect(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            if not value:
                raise TypeError(f"save: {prefix or 'the state'} is an empty dict, which a file cannot hold")
            for key, inner in value.items():
                if not isinstance(key, str) or "/" in key or not key:
                    raise TypeError(f"save: a key must be a text without '/', not {key!r}")
                collect(f"{prefix}/{key}" if prefix else key, inner)
            return
        array = value.data if isinstance(value, Tensor) else np.asarray(value)
        if array.dtype.kind not in "fiubcU":
            raise TypeError(f"save: {prefix} is {type(value).__name__}, only arrays, numbers and texts can be saved")
        flat[prefix] = array

    collect("", state)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with open(temporary, "xb") as file:
            with zipfile.ZipFile(file, "w") as archive:
                for name, array in flat.items():
                    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                        np.lib.format.write_array(member, array, allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def load(path: str | Path) -> dict[str, Any]:
    """The nested dict that was saved; 0-d arrays as Python numbers and texts. ValueError for any other file."""
    import zipfile

    state: dict[str, Any] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                *parents, key = member.removesuffix(".npy").split("/")
                inner = state
                for parent in parents:
                    inner = inner.setdefault(parent, {})
                with archive.open(member) as file:
                    array = np.lib.format.read_array(file, allow_pickle=False)
                inner[key] = array if array.ndim else array.item()
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise ValueError(f"{path} is not a file written by minigrad.save: {error}") from None
    return state
