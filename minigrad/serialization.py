"""Save and load nested dicts of arrays, numbers and texts: never pickled, and never half written.

Arrays are members of an .npz archive, which `np.load` reads too, or tensors of a .safetensors file; all the rest is one
JSON text beside them. A file is read as if a stranger had written it: what it declares is held against its real size
before anything is allocated, checksums against what was read, and nothing in it is code.

What only a file needs is imported when there is one: it would be a tenth of the time of `import minigrad`.
"""

from __future__ import annotations

import importlib
import math
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from minigrad.tensor import Array, Tensor

_TEXT = 1 << 22  # bytes of JSON, and
_DIRECTORY = 1 << 21  # of the archive's directory, at most: the two grow up to 100 times as large in memory
_DEPTH = 100  # dicts, lists and tuples in each other
_JSON = "state.json"

# What NumPy writes before the numbers of an array, for the dtypes that hold no objects: no other header is needed.
_HEADER = re.compile(
    rb"\{'descr': '([<>|][fiubcU][1-9]\d{0,9})', 'fortran_order': (True|False), "
    rb"'shape': \(((?:\d{1,19}, )*\d{1,19},?|)\), \} *\n"
)


def save(path: str | Path, state: dict[str, Any]) -> None:
    """Write a nested dict whole or not at all: killed at any moment, the path holds the old file or the new one.

    The dict has text keys; in it, and in lists and tuples, may be arrays, Tensors, numbers, texts, truth values and
    None. A path that ends in .safetensors is written in that format (`pip install safetensors`), any other as .npz.
    TypeError for other values; OSError where the path cannot be written, and then what was there is still there. A kill
    may leave a file .minigrad-* of what was not yet finished, which can be deleted.

    >>> import minigrad as mg, tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "run.npz"
    >>> generator = mg.default_generator().bit_generator.state
    >>> mg.save(path, {"model": mg.nn.Linear(2, 1).state_dict(), "epoch": 3, "generator": generator})
    >>> state = mg.load(path)
    >>> state["epoch"], state["generator"] == generator, list(state["model"])
    (3, True, ['weight', 'bias'])
    """
    import secrets

    path = _path("save", path).resolve()  # a link stays a link
    write = _writer(path)
    arrays, text = _encode(state)
    temporary = path.with_name(f".minigrad-{secrets.token_hex(8)}")  # path.name may be as long as a name can be
    try:
        with open(temporary, "xb") as file:
            write(file, arrays, text)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            os.chmod(temporary, path.stat().st_mode & 0o777)  # who may read it stays as it was
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if hasattr(os, "O_DIRECTORY"):  # the new name, too, is on the disk before this returns
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        except OSError:
            pass  # some file systems cannot; the file is in its place
        finally:
            os.close(folder)


def load(path: str | Path) -> dict[str, Any]:
    """The nested dict that was saved. ValueError for a damaged file and for any other; OSError where none can be read.

    Takes as much memory as the file is large, and at most some hundred megabytes more, whatever a hostile one claims;
    holes, which take no place on the disk, are read through before there is an array of them.
    An archive of `np.savez` is a dict of its arrays, nested at each "/", those without axes as numbers and texts; a
    .safetensors file of another program is a dict of its arrays by their names.
    """
    path = _path("load", path)
    read = _reader(path)
    with open(path, "rb") as file:
        try:
            return read(file)
        except (OSError, MemoryError, ImportError):
            raise
        except Exception as error:  # whatever it is that a hostile file leads to
            raise ValueError(f"{path} is not a whole file written by minigrad.save: {error}") from None


def _path(function: str, given: Any) -> Path:
    if not isinstance(given, str | os.PathLike):
        raise TypeError(f"{function}: path must be a text or a Path, not {type(given).__name__}")
    path = Path(given)
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return path
    except OSError as error:  # links that lead to each other, a name that is too long
        raise type(error)(error.errno, f"{function}: {error.strerror}", str(path)) from None
    if not stat.S_ISREG(mode):  # a folder, a device, a pipe that would wait for ever
        raise OSError(f"{function}: {path} is not a regular file")
    return path


def _writer(path: Path) -> Callable[[BinaryIO, dict[str, Array], str], None]:
    return _write_safetensors if path.suffix == ".safetensors" else _write_npz


def _reader(path: Path) -> Callable[[BinaryIO], dict[str, Any]]:
    return _read_safetensors if path.suffix == ".safetensors" else _read_npz


def _has_holes(file: BinaryIO) -> bool:
    """Whether less of the file is on the disk than its size says, which then bounds nothing: verify, then allocate."""
    status = os.fstat(file.fileno())
    there = getattr(status, "st_blocks", status.st_size) * 512
    if 0 < 1000 * there < status.st_size > 1 << 30:  # to read through it would take minutes to days
        raise ValueError(f"of its {status.st_size} bytes only {there} are there, the others are holes")
    return there < status.st_size


def _pieces(file: BinaryIO, start: int, size: int) -> Iterator[bytes]:
    """These bytes of the file, a MiB at a time: to be verified before there is an array of them."""
    file.seek(start)
    while piece := file.read(min(size, 1 << 20)):
        size -= len(piece)
        yield piece


# ---- the state as arrays and a text ----


def _is_key(key: Any) -> bool:
    """Whether this can be a part of the name of an array in a file, and is no marker."""
    return isinstance(key, str) and key.isprintable() and key not in ("", ".", "..") and not {"/", "\\"} & {*key}


def _encode(state: Any) -> tuple[dict[str, Array], str]:
    """The arrays by their paths, and the rest as JSON; a marker, {"/array": path} and the like, for what JSON lacks."""
    import json

    arrays: dict[str, Array] = {}

    def encode(path: str, value: Any) -> Any:
        if path.count("/") > _DEPTH:
            raise ValueError(f"save: {path[:40]}... is nested more than {_DEPTH} deep, or contains itself")
        if isinstance(value, Tensor):
            value = value.data
        if isinstance(value, np.generic) and value.dtype.kind in "fiubcU":
            value = value.item()
        if isinstance(value, int) and value.bit_length() > 64:  # in tens, Python limits the digits
            return {"/int": hex(value)}
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, complex):
            return {"/complex": [value.real, value.imag]}
        if isinstance(value, dict):
            for key in value:
                if not _is_key(key):
                    raise TypeError(f"save: a key must be a printable text without '/' and '\\', not {key!r}")
            return {key: encode(f"{path}/{key}" if path else key, inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            items = [encode(f"{path}/{i}", inner) for i, inner in enumerate(value)]
            return items if isinstance(value, list) else {"/tuple": items}
        if (
            not isinstance(value, np.ndarray)
            or isinstance(value, np.ma.MaskedArray)
            or value.dtype.kind not in "fiubcU"
        ):
            what = f"an array of {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__
            raise TypeError(
                f"save: {path} is {what}: only dicts, lists, tuples, arrays, numbers, texts and None can be saved"
            )
        arrays[path] = value
        return {"/array": path}

    if not isinstance(state, dict):
        raise TypeError(f"save: state must be a dict, not {type(state).__name__}")
    text = json.dumps(encode("", state))
    if len(text) > _TEXT:
        raise ValueError(f"save: {len(text)} bytes of numbers and texts, at most {_TEXT}: make long lists arrays")
    if sum(len(path.encode()) + 80 for path in arrays) > _DIRECTORY or any(len(p.encode()) > 60_000 for p in arrays):
        raise ValueError(f"save: {len(arrays)} arrays with these names are too many, or a name is too long")
    return arrays, text


def _decode(text: str, arrays: dict[str, Array]) -> dict[str, Any]:
    """The state again; every array must stand in it, once."""
    import json

    def decode(pairs: list[tuple[str, Any]]) -> Any:
        match pairs:
            case [("/array", path)]:
                if path not in arrays:
                    raise ValueError(f"the array {path!r} is missing")
                return arrays.pop(path)
            case [("/tuple", [*items])]:
                return tuple(items)
            case [("/int", digits)]:
                return int(digits, 16)
            case [("/complex", [real, imag])]:
                return complex(real, imag)
        state = dict(pairs)
        if len(state) < len(pairs) or not all(map(_is_key, state)):
            raise ValueError(f"keys that are alike, or no keys: {', '.join(state)[:80]!r}")
        return state

    state = json.loads(text, object_pairs_hook=decode)
    if not isinstance(state, dict):
        raise ValueError(f"it holds a {type(state).__name__}, not a dict")
    if arrays:
        raise ValueError(f"its {_JSON} does not say where these belong: {', '.join(arrays)[:80]!r}")
    return state


def _nested(arrays: dict[str, Array]) -> dict[str, Any]:
    """The state from arrays alone, nested by their paths: how files were before they had a JSON text."""
    state: dict[str, Any] = {}
    for name, array in arrays.items():
        *parents, key = path = name.split("/")
        if len(path) > _DEPTH or not {"", ".", ".."}.isdisjoint(path):
            raise ValueError(f"{name[:80]!r} is not a name")
        inner = state
        for parent in parents:
            inner = inner.setdefault(parent, {})
            if not isinstance(inner, dict):
                raise ValueError(f"{name[:80]!r} lies in what is not a dict")
        if key in inner:
            raise ValueError(f"{name[:80]!r} is an array and a dict")
        inner[key] = array if array.ndim else array.item()
    return state


# ---- .npz ----


def _write_npz(file: BinaryIO, arrays: dict[str, Array], text: str) -> None:
    import zipfile

    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(zipfile.ZipInfo(_JSON), text)
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, version=(1, 0), allow_pickle=False)


def _read_npz(file: BinaryIO) -> dict[str, Any]:
    import zipfile

    size = os.fstat(file.fileno()).st_size
    _check_end(file, size)
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
    if not members or not all(0 <= member.header_offset < size for member in members):
        raise ValueError("its members are nowhere in it")
    if sum(member.file_size for member in members) > size:
        raise ValueError("its members claim to be larger than the file")
    if len({member.filename for member in members}) < len(members):
        raise ValueError("two members have one name")
    arrays, text, holes = {}, None, _has_holes(file)
    for member in members:
        if member.filename == _JSON and member.file_size <= _TEXT:
            text = _read_member(file, member, holes).tobytes().decode()
        elif member.filename.endswith(".npy"):
            arrays[member.filename.removesuffix(".npy")] = _array(member.filename, _read_member(file, member, holes))
        else:
            raise ValueError(f"a member {member.filename[:80]!r} of {member.file_size} bytes does not belong there")
    return _nested(arrays) if text is None else _decode(text, arrays)


def _check_end(file: BinaryIO, size: int) -> None:
    """Refuse what does not end as an archive, and a directory that is too large to be looked at."""
    file.seek(-min(size, 98), os.SEEK_END)
    end = file.read().rjust(98, b"\0")  # three records: 56 and 20 bytes, which large archives have, and 22
    if end[76:80] != b"PK\5\6" or end[96:] != b"\0\0":
        raise ValueError("it does not end as one, so it is cut short or something else")
    directory = int.from_bytes(end[88:92], "little")
    if end[56:60] == b"PK\6\7":
        directory = int.from_bytes(end[40:48], "little")
    if directory > min(_DIRECTORY, size):
        raise ValueError(f"its directory claims {directory} bytes, at most {min(_DIRECTORY, size)} are possible")


def _read_member(file: BinaryIO, member: Any, holes: bool) -> Array:
    """The bytes of a member, checked against its checksum."""
    import zlib

    name = member.orig_filename
    if member.compress_type or member.compress_size != member.file_size or member.flag_bits & ~0x800:
        raise ValueError(f"{name[:80]!r} is compressed or encrypted, which np.savez and minigrad.save never do")
    file.seek(member.header_offset)
    header = file.read(30).ljust(30, b"\0")
    length, extra = int.from_bytes(header[26:28], "little"), int.from_bytes(header[28:], "little")
    there = file.read(length).decode("utf-8" if member.flag_bits & 0x800 else "cp437")
    if header[:4] != b"PK\3\4" or there != name:
        raise ValueError(f"{name[:80]!r} is not where the directory says")
    start, crc = file.tell() + extra, 0
    for piece in _pieces(file, start, member.file_size) if holes else ():
        crc = zlib.crc32(piece, crc)
    if not holes or crc == member.CRC:
        file.seek(start)
        data = np.empty(member.file_size, np.uint8)
        if file.readinto(data.data) == data.size and zlib.crc32(data.data) == member.CRC:  # type: ignore[attr-defined]
            return data
    raise ValueError(f"{name[:80]!r} is damaged: its checksum is wrong")


def _array(name: str, data: Array) -> Array:
    """The array whose .npy file these bytes are, in the same memory."""
    start = 10 + int.from_bytes(data[8:10].tobytes(), "little")
    header = _HEADER.fullmatch(data[10:start].tobytes())
    if data[:8].tobytes() != b"\x93NUMPY\1\0" or header is None:
        raise ValueError(f"{name[:80]!r} is not an array of numbers or texts")
    dtype, shape = np.dtype(header[1].decode()), tuple(int(n) for n in header[3].replace(b",", b" ").split())
    if math.prod(shape) * dtype.itemsize != data.size - start:
        raise ValueError(f"{name[:80]!r} claims the shape {shape[:8]} of {dtype}, in {data.size - start} bytes")
    data = data[start:]
    if dtype.kind == "b" and np.any(data > 1):
        raise ValueError(f"{name[:80]!r} has truth values that are neither true nor false")
    if dtype.kind == "U" and np.any(data.view(dtype.byteorder + "u4") > 0x10FFFF):
        raise ValueError(f"{name[:80]!r} has texts of what are no characters")
    array = data.view(dtype)
    return array.reshape(shape[::-1]).T if header[2] == b"True" else array.reshape(shape)


# ---- .safetensors ----


def _safetensors(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise ImportError("a .safetensors file needs that library: pip install safetensors (or save as .npz)") from None


def _checksum(text: str, tensors: Iterable[tuple[str, str, tuple[int, ...], Iterable[Any]]]) -> str:
    """Of all that the file holds: the format itself has none. tensors: name, dtype, shape and bytes, in pieces."""
    import zlib

    crc = zlib.crc32(text.encode())
    for name, dtype, shape, pieces in sorted(tensors, key=lambda tensor: tensor[0]):
        crc = zlib.crc32(f"{name} {dtype} {shape}".encode(), crc)
        for piece in pieces:
            crc = zlib.crc32(piece, crc)
    return f"{crc:08x}"


def _in_memory(arrays: dict[str, Array]) -> Iterator[tuple[str, str, tuple[int, ...], Iterable[Any]]]:
    for name, array in arrays.items():
        yield name, array.dtype.name, array.shape, [array.reshape(-1).view(np.uint8).data]


def _in_file(file: BinaryIO, header: int) -> Iterator[tuple[str, str, tuple[int, ...], Iterable[Any]]]:
    import json

    kinds = {"F": "float", "I": "int", "U": "uint"}
    file.seek(8)
    for name, tensor in json.loads(file.read(header)).items():
        if name != "__metadata__":
            code, (start, end) = tensor["dtype"], tensor["data_offsets"]
            dtype = "bool" if code == "BOOL" else kinds[code[0]] + code[1:]
            yield name, dtype, tuple(tensor["shape"]), _pieces(file, 8 + header + start, end - start)


def _write_safetensors(file: BinaryIO, arrays: dict[str, Array], text: str) -> None:
    for name, array in arrays.items():
        if array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
            raise TypeError(f"save: {name} is an array of {array.dtype}, which .safetensors cannot hold: save as .npz")
    arrays = {name: np.asarray(array, array.dtype.newbyteorder("="), order="C") for name, array in arrays.items()}
    metadata = {"minigrad": text, "crc32": _checksum(text, _in_memory(arrays))}
    file.write(_safetensors("safetensors.numpy").save(arrays, metadata=metadata))


def _read_safetensors(file: BinaryIO) -> dict[str, Any]:
    header = int.from_bytes(file.read(8), "little")
    if header > min(3 * _TEXT, os.fstat(file.fileno()).st_size):
        raise ValueError(f"its header claims {header} bytes")
    holes = _has_holes(file)
    with _safetensors("safetensors").safe_open(file.name, framework="numpy") as tensors:
        metadata = tensors.metadata() or {}
        ours, text = not {"minigrad", "crc32"}.isdisjoint(metadata), metadata.get("minigrad", "")
        if ours and holes and metadata.get("crc32") != _checksum(text, _in_file(file, header)):
            raise ValueError("it is damaged: its checksum is wrong")
        arrays = {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118 (not a dict)
    if ours and metadata.get("crc32") != _checksum(text, _in_memory(arrays)):
        raise ValueError("it is damaged: its checksum is wrong")
    return _decode(text, arrays) if ours else arrays
