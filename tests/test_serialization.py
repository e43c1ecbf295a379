import numpy as np
import pytest

import minigrad as mg


def test_what_is_saved_is_loaded(tmp_path):
    state = {
        "model": mg.nn.Linear(2, 3).state_dict(),
        "epoch": 3,
        "best": 0.5,
        "name": "digits",
        "deep": {"er": {"x": mg.ones(2), "file": 1, "a.npy": 2, "a": 3}},
    }
    mg.save(tmp_path / "state.npz", state)
    loaded = mg.load(tmp_path / "state.npz")
    np.testing.assert_array_equal(loaded["model"]["weight"], state["model"]["weight"])
    assert (loaded["epoch"], loaded["best"], loaded["name"]) == (3, 0.5, "digits")
    assert loaded["deep"]["er"].pop("x").tolist() == [1, 1]
    assert loaded["deep"]["er"] == {"file": 1, "a.npy": 2, "a": 3}
    with np.load(tmp_path / "state.npz", allow_pickle=False) as file:
        assert file["epoch"] == 3
    assert [p.name for p in tmp_path.iterdir()] == ["state.npz"]


def test_a_failed_save_leaves_what_was_there(tmp_path):
    path = tmp_path / "state.npz"
    mg.save(path, {"x": 1})
    with pytest.raises(TypeError, match="save: y is object, only arrays, numbers and texts"):
        mg.save(path, {"y": object()})
    with pytest.raises(TypeError, match="a key must be a text without '/'"):
        mg.save(path, {"a/b": 1})
    with pytest.raises(TypeError, match="save: y is an empty dict"):
        mg.save(path, {"y": {}})
    assert mg.load(path) == {"x": 1}
    with pytest.raises(OSError):
        mg.save(tmp_path / "nowhere" / "state.npz", {"x": 1})


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "state.npz"
    path.write_bytes(b"not a zip")
    with pytest.raises(ValueError, match=r"is not a file written by minigrad\.save"):
        mg.load(path)
    np.savez(path, x=np.array([object()]))
    with pytest.raises(ValueError, match=r"is not a file written by minigrad\.save"):
        mg.load(path)
    np.save(tmp_path / "array.npy", np.ones(2))
    with pytest.raises(ValueError, match=r"is not a file written by minigrad\.save"):
        mg.load(tmp_path / "array.npy")
    with pytest.raises(FileNotFoundError):
        mg.load(tmp_path / "nowhere.npz")
