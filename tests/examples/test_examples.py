"""The examples run, and end with what they promise; the main one in a shorter version."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name, *options):
    done = subprocess.run([sys.executable, EXAMPLES / name, *options], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_worked_numbers():
    assert "variance 4" in run("worked_numbers.py")


@pytest.fixture(scope="module")
def _needs_tqdm():
    pytest.importorskip("tqdm", reason="the main example shows its progress with tqdm: pip install -e '.[examples]'")


@pytest.mark.usefixtures("_needs_tqdm")
def test_train_encoder(tmp_path):
    options = ("--epochs", "8", "--seed", "1", "--norm", "rms", "--no-norm-first", "--dropout", "0.05")
    text = run("train_encoder.py", *options, "--save", tmp_path / "model.npz")
    accuracy, right = re.search(r"held-out accuracy (\d\.\d{4}) \((\d+)/360\) in \d+\.\d s\n$", text).groups()
    assert float(accuracy) == pytest.approx(int(right) / 360, abs=1e-4)
    assert float(accuracy) > 0.8
    assert text.count("held out: loss") == 8
    with np.load(tmp_path / "model.npz") as file:
        assert "model/head.weight" in file.files


@pytest.mark.usefixtures("_needs_tqdm")
def test_the_picture(tmp_path):
    pytest.importorskip("matplotlib", reason="--plot draws with matplotlib: pip install -e '.[examples]'")
    run("train_encoder.py", "--epochs", "1", "--no-residual", "--norm", "batch", "--plot", tmp_path / "digits.png")
    assert (tmp_path / "digits.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("_needs_tqdm")
@pytest.mark.parametrize(
    ("options", "words"),
    [(("--epochs", "0"), "--epochs must be at least 1"), (("--save", "nowhere/model.npz"), "there is no folder")],
)
def test_bad_options_are_refused_before_training(options, words):
    done = subprocess.run(
        [sys.executable, EXAMPLES / "train_encoder.py", *options], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert words in done.stderr
