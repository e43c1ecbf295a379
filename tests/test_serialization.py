import io
import json
import os
import stat
import struct
import subprocess
import sys
import tracemalloc
import warnings
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg

DAMAGED = r"is not a whole file written by minigrad\.save: .*"
SAFETENSORS = "safetensors is optional: pip install -e '.[safetensors]'"

STATE = {
    "model": {"weight": np.arange(6, dtype=np.float32).reshape(2, 3), "bias": np.array(0.5)},
    "generator": np.random.default_rng(1).bit_generator.state,
    "epoch": 3,
    "best": (0.5, None, True),
    "name": "digits",
}


@pytest.fixture(params=["npz", "safetensors"])
def path(request, tmp_path):
    if request.param == "safetensors":
        pytest.importorskip("safetensors", reason=SAFETENSORS)
    return tmp_path / f"state.{request.param}"


def same(a, b):
    """Equal in every type, order and bit."""
    if isinstance(a, dict):
        return type(b) is dict and list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
    return type(a) is type(b) and (repr(a) == repr(b) if isinstance(a, float | complex) else a == b)


# ---- what is saved is loaded ----


def test_what_is_saved_is_loaded(path):
    state = {
        "model": mg.nn.Linear(2, 3).state_dict(),
        "numbers": [3, -(2**200), 2**20_000, 0.1, float("inf"), float("nan"), -0.0, True, None, 1 - 2j],
        "texts": ("digits", "", "\ud800\0/"),
        "deep": {"er": {"x": np.ones(2), "a.npy": 2, "a": np.array(3, np.int8), "empty": {}, "a b.é": [[], ()]}},
        "shapes": [np.zeros((0, 3)), np.array(True), np.arange(24, dtype=np.int16).reshape(2, 3, 4)[:, ::2]],
        "columns": np.asfortranarray(np.arange(6.0, dtype=np.float16).reshape(2, 3)),
    }
    mg.save(path, state)
    assert same(mg.load(path), state)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_tensors_and_scalars_come_back_as_arrays_and_numbers(path):
    mg.save(path, {"x": mg.ones(2), "mean": np.float32(0.1), "n": np.int64(3), "ok": np.bool_(True), "s": np.str_("a")})
    loaded = {"x": np.ones(2, np.float32), "mean": float(np.float32(0.1)), "n": 3, "ok": True, "s": "a"}
    assert same(mg.load(path), loaded)


def test_npz_holds_every_dtype_and_numpy_reads_its_arrays(tmp_path):
    arrays = [np.ones(3, dtype) for dtype in ("?", *"bBhHiIlLqQefdgFDG", ">f4", ">c8", "<U3", ">U2")]
    mg.save(tmp_path / "state.npz", {"arrays": arrays})
    assert same(mg.load(tmp_path / "state.npz"), {"arrays": arrays})
    with np.load(tmp_path / "state.npz", allow_pickle=False) as file:
        assert all(same(file[f"arrays/{i}"], array) for i, array in enumerate(arrays))


states = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(np.arange(3)),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.sampled_from(["a", "b.c", "é", "x.npy", "state.json", "0"]), inner)
    ),
)


@given(state=states)
def test_any_state_is_loaded_as_it_was(tmp_path_factory, state):
    path = tmp_path_factory.mktemp("state") / "state.npz"
    mg.save(path, {"state": state})
    assert same(mg.load(path), {"state": state})


def test_the_same_state_gives_the_same_bytes(tmp_path):
    path = tmp_path / "state.npz"
    mg.save(path, STATE)
    before = path.read_bytes()
    mg.save(path, mg.load(path))
    assert path.read_bytes() == before


def nested(flat):
    state = {}
    for name, value in flat.items():
        *parents, key = name.split("/")
        inner = state
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[key] = value
    return state


def test_files_from_before_there_was_a_json_text_are_loaded(tmp_path):
    flat = {"model/weight": np.ones((2, 3), np.float32), "model/x.npy": np.ones(1), "epoch": 3, "name": "digits"}
    np.savez(tmp_path / "old.npz", **flat)
    assert same(mg.load(tmp_path / "old.npz"), nested(flat))


def test_safetensors_of_others_are_loaded(tmp_path):
    library = pytest.importorskip("safetensors.numpy", reason=SAFETENSORS)
    arrays = {"a.weight": np.ones((2, 3), np.float32), "b/c": np.array(1)}
    library.save_file(arrays, tmp_path / "other.safetensors")
    loaded = mg.load(tmp_path / "other.safetensors")
    assert same({name: loaded[name] for name in arrays}, arrays)
    mg.save(tmp_path / "ours.safetensors", {"a.weight": arrays["a.weight"], "epoch": 3})
    assert same(library.load_file(tmp_path / "ours.safetensors"), {"a.weight": arrays["a.weight"]})


def test_without_the_safetensors_library_the_error_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(ImportError, match=r"pip install safetensors \(or save as \.npz\)"):
        mg.save(tmp_path / "state.safetensors", STATE)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "state.safetensors").write_bytes(bytes(16))
    with pytest.raises(ImportError, match="pip install safetensors"):
        mg.load(tmp_path / "state.safetensors")


# ---- what cannot be saved ----


def contains_itself():
    state = {}
    state["x"] = [state]
    return state


@pytest.mark.parametrize(
    ("state", "error", "words"),
    [
        ({"y": object()}, TypeError, "save: y is object: only dicts, lists, tuples, arrays, numbers, texts and None"),
        ({"y": {"z": [1, {2}]}}, TypeError, "save: y/z/1 is set"),
        ({"y": np.array([None])}, TypeError, "save: y is an array of object"),
        ({"y": np.datetime64("2020", "ns")}, TypeError, "save: y is datetime64"),
        ({"a/b": 1}, TypeError, "a key must be a printable text without '/' and '.', not 'a/b'"),
        ({"a": {"": 1}}, TypeError, "a key must be a printable text"),
        ({"a": {"..": 1}}, TypeError, "not '..'"),
        ({"a": {3: 1}}, TypeError, "not 3"),
        ({"a\0": 1}, TypeError, "a key must be a printable text"),
        ([1], TypeError, "save: state must be a dict, not list"),
        (contains_itself(), ValueError, "is nested more than 100 deep, or contains itself"),
        ({"losses": [0.123456789] * 10**6}, ValueError, "make long lists arrays"),
        ({"a": [np.ones(1)] * 30_000}, ValueError, "30000 arrays with these names are too many"),
        ({"a" * 70_000: np.ones(1)}, ValueError, "a name is too long"),
    ],
)
def test_what_cannot_be_saved_is_refused_and_leaves_what_was_there(tmp_path, state, error, words):
    path = tmp_path / "state.npz"
    mg.save(path, {"x": 1})
    with pytest.raises(error, match=words):
        mg.save(path, state)
    assert mg.load(path) == {"x": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["state.npz"]


def nest(depth, value):
    return {"a": nest(depth - 1, value)} if depth else value


def test_what_is_just_within_the_bounds_is_saved_and_loaded_and_no_more(tmp_path, monkeypatch):
    path = tmp_path / "state.npz"

    def fits(state):
        mg.save(path, state)
        return same(mg.load(path), state)

    assert fits(nest(101, 1.0))
    with pytest.raises(ValueError, match="nested more than 100 deep"):
        mg.save(path, nest(102, 1.0))
    assert fits({"n" * 60_000: np.ones(1)})
    with pytest.raises(ValueError, match="too many, or a name is too long"):
        mg.save(path, {"n" * 60_001: np.ones(1)})
    names = [f"{i:04}" + "n" * 59_916 for i in range(34)]  # 34 names of 60,000 bytes with what stands beside them
    assert fits({**dict.fromkeys(names, 0.0), **{name: np.ones(1) for name in names}, "x" * 57_072: np.ones(1)})
    with pytest.raises(ValueError, match="too many, or a name is too long"):
        mg.save(path, {**{name: np.ones(1) for name in names}, "x" * 57_073: np.ones(1)})
    text = (1 << 22) - len('{"a": ""}')
    assert fits({"a": "x" * text})
    with pytest.raises(ValueError, match="4194305 bytes of numbers and texts, at most 4194304"):
        mg.save(path, {"a": "x" * (text + 1)})
    monkeypatch.setattr("minigrad.serialization._TEXT", (1 << 22) - 1)
    with pytest.raises(ValueError, match=r"'state.json' of 4194304 bytes does not belong there"):
        mg.load(path)


def test_an_archive_of_others_is_nested_to_a_depth(tmp_path):
    path = tmp_path / "others.npz"
    np.savez(path, **{"/".join("a" * 100): 1.0})
    assert mg.load(path) == nest(100, 1.0)
    np.savez(path, **{"/".join("a" * 101): 1.0})
    with pytest.raises(ValueError, match="is not a name"):
        mg.load(path)


def test_safetensors_refuses_the_dtypes_that_it_lacks(tmp_path):
    pytest.importorskip("safetensors", reason=SAFETENSORS)
    for array in (np.ones(1, "c8"), np.array(["a"]), np.ones(1, np.longdouble)):
        with pytest.raises(TypeError, match=r"save: x is an array of .*, which \.safetensors cannot hold: save as"):
            mg.save(tmp_path / "state.safetensors", {"x": array})
    assert list(tmp_path.iterdir()) == []


def test_paths_that_are_no_files_are_refused(tmp_path):
    for function in (mg.load, lambda path: mg.save(path, {"x": 1})):
        for bad in (tmp_path, os.devnull):
            with pytest.raises(OSError, match="is not a regular file"):
                function(bad)
        with pytest.raises(FileNotFoundError):
            function(tmp_path / "nowhere" / "state.npz")
        with pytest.raises(TypeError, match="path must be a text or a Path, not int"):
            function(3)
    assert list(tmp_path.iterdir()) == []


def test_a_link_that_leads_back_to_itself_is_refused(tmp_path):
    one, other = tmp_path / "one.npz", tmp_path / "other.npz"
    one.symlink_to(other)
    other.symlink_to(one)
    for name, function in (("save", lambda path: mg.save(path, {"x": 1})), ("load", mg.load)):
        with pytest.raises(OSError, match=rf"{name}: .*symbolic links.*one\.npz"):
            function(one)
    assert one.is_symlink()
    assert other.is_symlink()


@pytest.mark.parametrize("length", [237, 246, 255])
def test_a_name_may_be_as_long_as_the_file_system_lets_it_be(tmp_path, length):
    path = tmp_path / ("n" * (length - 4) + ".npz")
    try:
        path.touch()
    except OSError:
        pytest.skip("this file system has shorter names")
    for x in (1, 2):
        mg.save(path, {"x": x})
    assert mg.load(path) == {"x": 2}
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(OSError, match="save: .*too long"):
        mg.save(tmp_path / ("n" * 300), {"x": 1})


# ---- never half written ----


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    link = tmp_path / "state.npz"
    link.symlink_to(tmp_path / "disk" / "real.npz")
    mg.save(link, {"x": 1})
    assert link.is_symlink()
    assert mg.load(tmp_path / "disk" / "real.npz") == {"x": 1}


def test_the_file_is_on_the_disk_before_it_gets_its_name_and_the_name_before_save_returns(path, monkeypatch):
    done = []
    fsync, replace = os.fsync, os.replace

    def recording_fsync(number):
        done.append("folder" if stat.S_ISDIR(os.fstat(number).st_mode) else os.fstat(number).st_size)
        fsync(number)

    monkeypatch.setattr(os, "fsync", recording_fsync)
    monkeypatch.setattr(os, "replace", lambda *names: (done.append("name"), replace(*names)))
    mg.save(path, STATE)
    assert done == [path.stat().st_size, "name"] + ["folder"] * hasattr(os, "O_DIRECTORY")


def test_a_full_disk_leaves_the_old_file_and_nothing_else(path):
    resource = pytest.importorskip("resource", reason="limits of a process are POSIX's")
    mg.save(path, {"x": np.zeros(10)})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (0, 1, 100, 300, 5_000, 40_000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        try:
            with pytest.raises(OSError, match="too large"):
                mg.save(path, {"x": np.ones(10_000)})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert same(mg.load(path), {"x": np.zeros(10)})
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def forked(script, *arguments, timeout=120):
    """Run a script that forks processes and kills them, on one thread; gives what it prints."""
    if not hasattr(os, "fork"):
        pytest.skip("processes are forked to be killed, which this system cannot")
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        capture_output=True, text=True, timeout=timeout, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


KILL_SAVING = """
import os, signal, sys
import numpy as np, minigrad as mg
path = sys.argv[1]

def save(n, moment):
    # counts what it calls, and kills itself at this call: a moment that does not depend on how fast the machine is
    calls = 0

    def count(*_):
        nonlocal calls
        calls += 1
        if calls == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(count)
    mg.save(path, {"n": n, "x": np.full(100_000, float(n))})
    sys.setprofile(None)
    return calls

save(0, None)
calls = save(0, None)
late = calls - 50                                           # soon the file is whole, and gets its name
moments = [*(1 + i * late // 30 for i in range(30)), *range(late + 1, calls + 1)]
for moment in moments:
    child = os.fork()
    if child == 0:
        save(moment, moment)
        os._exit(0)                                         # not killed
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL, moment
    state = mg.load(path)                                   # whole, the old one or the new
    assert np.all(state["x"] == state["n"]), (moment, state)
    print(moment, state["n"])
    save(0, None)
"""


def test_a_process_killed_at_any_call_while_it_saves_leaves_a_whole_file(tmp_path):
    lines = forked(KILL_SAVING, tmp_path / "state.npz").splitlines()
    killed = [tuple(map(int, line.split())) for line in lines]
    old = [moment for moment, n in killed if n == 0]
    new = [moment for moment, n in killed if n == moment]
    assert len(old) + len(new) == len(killed) == 80
    assert 30 < len(old) < 80
    assert max(old) < min(new)  # until it gets its name the old one is there, and then the new one


# ---- hostile files ----


def members(path):
    with zipfile.ZipFile(path) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def archive(path, contents, compression=zipfile.ZIP_STORED):
    """An archive of these members, (name, bytes) each, with right checksums."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a name may stand there twice: that is the point
        with zipfile.ZipFile(path, "w", compression) as file:
            for name, content in contents:
                file.writestr(name, content)


def npy(
    header=b"{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }\n", content=bytes(16), magic=b"\x93NUMPY\1\0"
):
    return magic + struct.pack("<H", len(header)) + header + content


def shaped(shape, descr="<f8", content=bytes(16)):
    return npy(f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n".encode(), content)


def pickled():
    file = io.BytesIO()
    np.save(file, np.array([print]), allow_pickle=True)
    return file.getvalue()


def text(content):
    return [("state.json", content)]


HOSTILE = {
    "pickled": [("x.npy", pickled())],
    "pickled in place of a number array": [("x.npy", npy(b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n"))],
    "structured": [("x.npy", npy(b"{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (2,), }\n"))],
    "bytes": [("x.npy", shaped("(16,)", "|S1"))],
    "dates": [("x.npy", shaped("(2,)", "<M8[ns]"))],
    "void": [("x.npy", shaped("(1,)", "|V16"))],
    "no such dtype": [("x.npy", shaped("(2,)", "<f7"))],
    "code in the header": [("x.npy", npy(b"{'descr': __import__('os').getcwd(), 'fortran_order': False, 'shape': (2,), }\n"))],
    "brackets in the header": [("x.npy", npy(b"(" * 30_000 + b"\n"))],
    "another version": [("x.npy", npy(magic=b"\x93NUMPY\2\0"))],
    "a header longer than the member": [("x.npy", b"\x93NUMPY\1\0\xff\xff{'descr'")],
    "an empty member": [("x.npy", b"")],
    "a huge shape": [("x.npy", shaped("(1000000000, 1000000000)"))],
    "a huge shape that overflows to the right size": [("x.npy", shaped(f"({2**63}, {2**62}, 2)"))],
    "a huge shape without numbers": [("x.npy", shaped(f"(0, {2**63})", content=b""))],
    "a negative shape": [("x.npy", shaped("(-2,)"))],
    "a shape of NaN": [("x.npy", shaped("(nan,)"))],
    "a shape of texts": [("x.npy", shaped("('2',)"))],
    "a fractional shape": [("x.npy", shaped("(2.0,)"))],
    "digits without end": [("x.npy", shaped(f"({'9' * 60_000},)"))],
    "too many axes": [("x.npy", shaped("(" + "1, " * 100 + "2)"))],
    "too little in it": [("x.npy", shaped("(3,)"))],
    "too much in it": [("x.npy", shaped("(1,)"))],
    "texts of no width": [("x.npy", shaped("(1000000000,)", "<U0", b""))],
    "texts of huge width": [("x.npy", shaped("(2,)", "<U9999999999"))],
    "no characters": [("x.npy", shaped("(4,)", "<U1", b"\xff" * 16))],
    "neither true nor false": [("x.npy", shaped("(16,)", "|b1", b"\2" * 16))],
    "a folder above": [("../x.npy", npy())],
    "an absolute name": [("/etc/x.npy", npy())],
    "no name": [(".npy", npy())],
    "a name twice": [("x.npy", npy()), ("x.npy", npy())],
    "an array and a dict": [("x.npy", npy()), ("x/y.npy", npy())],
    "a dict and an array": [("x/y.npy", npy()), ("x.npy", npy())],
    "deep names": [("a/" * 20_000 + "x.npy", npy())],
    "a program": [("x.py", b"print()")],
    "an array that is not in the text": [*text(b"{}"), ("x.npy", npy())],
    "an array that is only in the text": text(b'{"x": {"/array": "x"}}'),
    "an array twice in the text": [*text(b'{"x": {"/array": "x"}, "y": {"/array": "x"}}'), ("x.npy", npy())],
    "an array called a list": text(b'{"x": {"/array": []}}'),
    "two texts": [*text(b"{}"), *text(b"{}")],
    "an empty text": text(b""),
    "no dict": text(b"[]"),
    "a number": text(b"1"),
    "no JSON": text(b"{'x': 1}"),
    "no text": text(b"\xff\xfe"),
    "a key twice": text(b'{"x": 1, "x": 2}'),
    "a key and a marker": text(b'{"/array": "x", "y": 1}'),
    "no such marker": text(b'{"x": {"/call": "os.system"}}'),
    "a tuple of nothing": text(b'{"x": {"/tuple": 1}}'),
    "a complex text": text(b'{"x": {"/complex": ["1", {}]}}'),
    "a whole number of letters": text(b'{"x": {"/int": "one"}}'),
    "a whole number of a fraction": text(b'{"x": {"/int": 1.5}}'),
    "digits without end in the text": text(b'{"x": ' + b"9" * 1_000_000 + b"}"),
    "deep lists": text(b'{"x": ' + b"[" * 1_000_000),
    "deep dicts": text(b'{"x":' * 1_000_000),
    "a long text": text(b'{"x": "' + b" " * 5_000_000 + b'"}'),
    "brackets without end": text(b'{"x": [' + b"{}," * 100_000 + b"]"),
}  # fmt: skip


def bounded(load, most_bytes):
    """Run it in no more memory than this."""
    tracemalloc.start()
    try:
        return load()
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < most_bytes


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archives_are_refused(tmp_path, name):
    path = tmp_path / "hostile.npz"
    archive(path, HOSTILE[name])
    with pytest.raises(ValueError, match=DAMAGED):
        bounded(lambda: mg.load(path), 1e6 + 40 * path.stat().st_size)


def changed(content, **fields):
    """The archive with these fields of its first directory entry or its end record overwritten."""
    entry, end = content.rindex(b"PK\1\2"), content.rindex(b"PK\5\6")
    places = {"flags": (entry + 8, "<H"), "method": (entry + 10, "<H"), "packed": (entry + 20, "<I"),
              "size": (entry + 24, "<I"), "offset": (entry + 42, "<I"), "name_length": (entry + 28, "<H"),
              "count": (end + 8, "<HH"), "directory": (end + 12, "<I"), "start": (end + 16, "<I"),
              "comment": (end + 20, "<H")}  # fmt: skip
    content = bytearray(content)
    for field, value in fields.items():
        place, form = places[field]
        struct.pack_into(form, content, place, *([value] * (len(form) - 1)))
    return bytes(content)


@pytest.mark.parametrize(
    "fields",
    [
        {"packed": 2**32 - 2, "size": 2**32 - 2}, {"packed": 2**32 - 1, "size": 2**32 - 1}, {"size": 10}, {"packed": 10},
        {"flags": 1}, {"flags": 8}, {"method": 8}, {"method": 99}, {"offset": 1}, {"offset": 2**32 - 2},
        {"offset": 2**32 - 1}, {"name_length": 0}, {"directory": 2**32 - 1},
        {"directory": 10}, {"directory": 0}, {"start": 2**32 - 1}, {"start": 2**31}, {"comment": 3},
        {"packed": 0, "size": 0},
    ],
    ids=str,
)  # fmt: skip
def test_false_declarations_are_refused(tmp_path, fields):
    path = tmp_path / "hostile.npz"
    archive(path, [("x.npy", npy())])
    path.write_bytes(changed(path.read_bytes(), **fields))
    with pytest.raises(ValueError, match=DAMAGED):
        bounded(lambda: mg.load(path), 1e6)


def test_zip_bombs_are_refused(tmp_path):
    path = tmp_path / "bomb.npz"
    archive(path, [("x.npy", shaped("(5000000,)", content=bytes(40_000_000)))], zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match="is compressed or encrypted|claim to be larger than the file"):
        bounded(lambda: mg.load(path), 1e6)

    archive(path, [("00000.npy", shaped("(10000,)", content=bytes(80_000)))])  # a thousand entries share it
    one = path.read_bytes()
    entry = one.index(b"PK\1\2")
    entries = b"".join(one[entry : entry + 46] + b"%05d.npy" % i for i in range(1000))
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1000, 1000, len(entries), entry, 0)
    path.write_bytes(one[:entry] + entries + end)
    with pytest.raises(ValueError, match="its members claim to be larger than the file"):
        bounded(lambda: mg.load(path), 5e6)


def test_millions_of_members_are_refused_before_they_are_looked_at(tmp_path):
    path = tmp_path / "members.npz"
    archive(path, [("x.npy", npy())])
    one = path.read_bytes()
    entry, end = one.index(b"PK\1\2"), one.index(b"PK\5\6")
    count = 2_000_000
    size = count * (end - entry)
    large = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, entry)
    large += struct.pack("<4sIQI", b"PK\6\7", 0, entry + size, 1)
    with open(path, "wb") as file:
        file.write(one[:entry])
        for _ in range(2000):
            file.write(one[entry:end] * (count // 2000))
        file.write(large + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 65535, 65535, size, entry, 0))
    with pytest.raises(ValueError, match=r"its directory claims \d+ bytes, at most 2097152 are possible"):
        bounded(lambda: mg.load(path), 1e6)


def with_a_hole(path, size):
    """A file of a kilobyte on the disk that claims one array of this size, with a wrong checksum."""
    if path.suffix == ".safetensors":
        tensor = {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}
        header = json.dumps({"__metadata__": {"minigrad": "{}", "crc32": "0"}, "x": tensor}).encode()
        start, end = struct.pack("<Q", len(header)) + header, b""
    else:
        archive(path, [("x.npy", shaped(f"({size},)", "|u1", b""))])
        content = path.read_bytes()
        place = content.index(b"PK\1\2")
        whole = size + place - content.index(b"\x93NUMPY")
        content = content[:18] + struct.pack("<II", whole, whole) + content[26:]
        content = changed(content, packed=whole, size=whole, start=place + size)
        start, end = content[:place], content[place:]
    with open(path, "wb") as file:
        file.write(start)
        file.truncate(len(start) + size)
        file.seek(0, os.SEEK_END)
        file.write(end)


def test_holes_take_no_memory_before_they_are_verified(path):
    with_a_hole(path, 1 << 26)
    with pytest.raises(ValueError, match="its checksum is wrong"):
        bounded(lambda: mg.load(path), 4e6)


def test_nothing_but_holes_is_refused_without_being_read(path):
    with_a_hole(path, (1 << 32) - 300)
    if not 0 < path.stat().st_blocks < 1000:
        pytest.skip("this file system has no holes")
    with pytest.raises(ValueError, match=r"of its \d+ bytes only \d+ are there, the others are holes"):
        bounded(lambda: mg.load(path), 1e6)


def test_a_file_whose_zeros_became_holes_is_loaded(path):
    state = {"x": np.zeros((1000, 300)), "y": np.arange(3), "ok": np.array(True), "half": np.ones(2, np.float16)}
    mg.save(path, state)
    content = path.read_bytes()
    path.unlink()
    with open(path, "wb") as file:
        for start in range(0, len(content), 4096):
            page = content[start : start + 4096]
            file.seek(start)
            if any(page):
                file.write(page)
        file.truncate(len(content))
    if path.stat().st_blocks * 512 >= len(content):
        pytest.skip("this file system has no holes")
    assert same(mg.load(path), state)


@pytest.mark.parametrize(
    "content",
    [b"", b"not a zip", b"PK\5\6", b"PK\5\6" + bytes(18), b"PK\3\4" + bytes(100), b"\x80\x04N.", bytes(1000), npy()],
)
def test_foreign_files_are_refused(path, content):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=DAMAGED):
        bounded(lambda: mg.load(path), 1e6)


def test_a_file_cut_short_anywhere_is_refused(path):
    mg.save(path, STATE)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=DAMAGED):
            mg.load(path)


def loaded_or_refused(path):
    """What load gives, or None where it says that the file is damaged."""
    try:
        return bounded(lambda: mg.load(path), 1e6)
    except ValueError as error:
        if "is not a whole file written by minigrad.save: " not in str(error):
            raise


def test_a_flipped_bit_is_refused_or_does_not_matter(path, rng):
    mg.save(path, STATE)
    whole = path.read_bytes()
    for place, bit in enumerate(rng.integers(8, size=len(whole)).tolist()):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << bit
        path.write_bytes(damaged)
        loaded = loaded_or_refused(path)
        assert loaded is None or same(loaded, STATE)


changes = st.lists(
    st.tuples(st.floats(0, 1), st.sampled_from(["write", "insert", "remove", "repeat"]), st.binary(min_size=1, max_size=9)),
    min_size=1,
    max_size=4,
)  # fmt: skip


def mutated(content, changes):
    for share, how, new in changes:
        place = int(share * len(content))
        left, right = content[:place], content[place:]
        match how:
            case "write":
                content = left + new + right[len(new) :]
            case "insert":
                content = left + new + right
            case "remove":
                content = left + right[len(new) :]
            case "repeat":
                content = left + right[: len(new) * 8] + right
    return content


def test_an_array_does_not_take_the_name_of_another(tmp_path):
    path = tmp_path / "old.npz"
    np.savez(path, a=np.ones(1))
    content = path.read_bytes()
    path.write_bytes(content.replace(b"a.npy", b"b.npy", 1))  # in one of the two places where it stands
    with pytest.raises(ValueError, match=DAMAGED + "'a.npy' is not where the directory says"):
        mg.load(path)


@given(changes=changes)
def test_a_damaged_file_is_refused_or_loaded_as_it_was(tmp_path_factory, changes):
    path = tmp_path_factory.mktemp("state") / "state.npz"
    mg.save(path, STATE)
    path.write_bytes(mutated(path.read_bytes(), changes))
    loaded = loaded_or_refused(path)
    assert loaded is None or same(loaded, STATE)


@given(changes=changes, member=st.integers(0, 2))
def test_a_forged_file_with_right_checksums_is_a_dict_or_refused(tmp_path_factory, changes, member):
    path = tmp_path_factory.mktemp("state") / "state.npz"
    mg.save(path, STATE)
    contents = list(members(path).items())
    name, content = contents[member]
    contents[member] = name, mutated(content, changes)
    archive(path, contents)
    assert type(loaded_or_refused(path)) in (dict, type(None))


def test_a_damaged_safetensors_file_is_refused(tmp_path):
    library = pytest.importorskip("safetensors.numpy", reason=SAFETENSORS)
    path = tmp_path / "state.safetensors"
    mg.save(path, STATE)
    whole = path.read_bytes()
    path.write_bytes(struct.pack("<Q", 2**40) + whole[8:])
    with pytest.raises(ValueError, match=DAMAGED + "its header claims 1099511627776 bytes"):
        mg.load(path)
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ValueError, match=DAMAGED + "its checksum is wrong"):
        mg.load(path)
    library.save_file({"x": np.ones(2)}, path, metadata={"minigrad": json.dumps({"x": 1})})
    with pytest.raises(ValueError, match=DAMAGED + "its checksum is wrong"):
        mg.load(path)


def training():
    """All that a run consists of."""
    model = mg.nn.Sequential(mg.nn.Linear(3, 4), mg.nn.BatchNorm1d(4), mg.nn.Dropout(0.5), mg.nn.Linear(4, 2))
    optimizer = mg.optim.AdamW(model.parameters(), lr=0.1)
    schedule = mg.optim.WarmupCosine(optimizer, warmup_steps=3, total_steps=50)
    x = np.random.default_rng(5).standard_normal((20, 3)).astype(np.float32)
    data = mg.data.DataLoader(x, np.arange(20) % 2, batch_size=4)
    return {"model": model, "optimizer": optimizer, "schedule": schedule, "data": data}


def steps(parts):
    """Train for ever, a step each time that it is asked."""
    while True:
        for x, labels in parts["data"]:
            parts["optimizer"].zero_grad()
            mg.functional.cross_entropy(parts["model"](x), labels).backward()
            parts["optimizer"].step()
            parts["schedule"].step()
            yield


def state_of(parts):
    return {name: part.state_dict() for name, part in parts.items()}


@pytest.mark.parametrize("before", [5, 7], ids=["between passes", "within a pass"])
def test_a_resumed_run_equals_one_that_went_on_to_the_last_bit(path, before):
    whole = training()
    run = steps(whole)
    for _ in range(before):
        next(run)
    mg.save(path, state_of(whole))
    for _ in range(13):
        next(run)
    whole = state_of(whole)

    resumed = training()  # from other random numbers
    for name, state in mg.load(path).items():
        resumed[name].load_state_dict(state)
    run = steps(resumed)
    for _ in range(13):
        next(run)
    assert same(state_of(resumed), whole)


def test_a_file_that_is_refused_changes_nothing_in_the_model(path):
    model = mg.nn.Linear(3, 2)
    mg.save(path, {"model": model.state_dict()})
    before = model.state_dict()
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ValueError, match=DAMAGED):
        model.load_state_dict(mg.load(path)["model"])
    assert same(model.state_dict(), before)


@pytest.mark.parametrize("part", ["model", "optimizer", "schedule", "data"])
def test_a_state_that_does_not_fit_changes_nothing(part):
    parts = training()
    run = steps(parts)
    next(run)
    part = parts[part]
    before = part.state_dict()
    other = {
        name: value + 1 if isinstance(value, np.ndarray | float | int) else value for name, value in before.items()
    }
    for name in before:
        for bad in ("no", None, [1.0, "no"], np.array(["no"]), 1j, np.full((1, 7, 3), 0.5)):
            with pytest.raises(ValueError, match=f"this state does not fit {type(part).__name__}"):
                part.load_state_dict(other | {name: bad})
        with pytest.raises(ValueError, match="does not fit"):
            part.load_state_dict({key: value for key, value in other.items() if key != name})
    with pytest.raises(ValueError, match="does not fit"):
        part.load_state_dict(other | {"more": 1})
    assert same(part.state_dict(), before)
