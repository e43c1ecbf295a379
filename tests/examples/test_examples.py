"""The examples run, and end with what they promise; the main one in a shorter version."""

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg

EXAMPLES = Path(__file__).parents[2] / "examples"
ONE_THREAD = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # the last bits depend on their number


def run(name, *options):
    command = [sys.executable, EXAMPLES / name, *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=ONE_THREAD)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("00_the_engine_in_one_screen.py", "gradients apart by 0.0e+00"),
        ("01_backprop_by_hand.py", "handing on at the first arrival only   dc/da = 2"),
        ("02_worked_numbers.py", "variance 4"),
        ("03_write_a_rule_and_a_layer.py", "(ratio 2)"),
        ("05_gradients_of_gradients.py", "[[802.0, -400.0], [-400.0, 200.0]]"),
    ],
)
def test_the_course(name, words):
    assert words in run(name)


def test_a_training_step_is_explained(tmp_path):
    page = tmp_path / "step.html"
    text = run("06_explain_a_training_step.py", "--page", page)
    assert "model.head.bias.grad[3] = 0.0056" in text
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


@pytest.fixture(scope="module")
def _needs_tqdm():
    pytest.importorskip("tqdm", reason="the main example shows its progress with tqdm: pip install -e '.[examples]'")


@pytest.mark.usefixtures("_needs_tqdm")
def test_what_keeps_gradients_alive(tmp_path):
    pytest.importorskip("matplotlib", reason="--plot draws with matplotlib: pip install -e '.[examples]'")
    picture = tmp_path / "deep.png"
    text = run("04_what_keeps_gradients_alive.py", "--seeds", "1", "--steps", "30", "--plot", picture)
    first = {row[:28].strip(): row[28:].split() for row in text.split("\n\n")[1].splitlines()}
    assert first[""] == ["2", "4", "8", "16", "32", "64"]
    assert len(first) == 12
    assert float(first["plain, no norm"][-1]) < 1e-20  # vanished
    assert float(first["plain, batch norm after"][-1]) > 1e3  # exploded
    assert 0.05 < float(first["residual, layer norm before"][-1]) < 5
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("_needs_tqdm")
def test_masked_language_model():
    text = run("masked_language_model.py", "--steps", "40")
    found = {name: float(value) for name, value in re.findall(r"^   (\w+) +(\d\.\d{3})", text, re.MULTILINE)}
    assert list(found) == ["unigram", "bigram", "trigram", "encoder"]
    assert 4 < found["unigram"] < 5.5
    assert found["unigram"] > found["bigram"] > found["trigram"] > 2
    assert found["encoder"] < found["unigram"] + 0.3  # little is learned in so few steps
    masked, filled, wrong = text.split("(^ is wrong):\n\n")[1].split("\n\n")[0].splitlines()
    assert "_" in masked
    assert "^" in wrong
    assert all(a in ("_", b) for a, b in zip(masked, filled, strict=True))  # what is seen stays as it is


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


# ---- work that is not lost ----

SMALL = (
    "--epochs",
    "4",
    "--d-model",
    "16",
    "--layers",
    "1",
    "--batch-size",
    "256",
    "--norm",
    "batch",
    "--dropout",
    "0.1",
)
POSIX = pytest.mark.skipif(os.name != "posix", reason="signals and limits of a process are POSIX's")


def start(*options, **settings):
    """The main example in a process of its own, on one thread and with what it prints at once, that hears Ctrl-C."""
    command = [sys.executable, "-u", EXAMPLES / "train_encoder.py", *options]
    settings["env"] = ONE_THREAD | settings.get("env", {})
    if os.name == "posix":  # also where these tests run in the background of a shell, which takes SIGINT from them
        settings.setdefault("preexec_fn", lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **settings)


def until_epoch(process, n):
    """Wait for the end of this epoch."""
    while not process.stdout.readline().startswith(f"epoch {n:3d}"):
        assert process.poll() is None, process.stderr.read()


@POSIX
@pytest.mark.usefixtures("_needs_tqdm")
@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_a_run_that_ctrl_c_stopped_goes_on_to_the_last_bit(tmp_path, suffix):
    if suffix == "safetensors":
        pytest.importorskip("safetensors", reason="safetensors is optional: pip install -e '.[safetensors]'")
    whole, parts = tmp_path / f"whole.{suffix}", tmp_path / f"in parts.{suffix}"
    run("train_encoder.py", *SMALL, "--save", whole)

    process = start(*SMALL, "--save", parts)
    until_epoch(process, 2)
    process.send_signal(signal.SIGINT)
    text, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "")
    assert re.search(r"[23] epochs are in .*in parts\.\w+; to go on:$", text, re.MULTILINE)
    assert mg.load(parts)["epoch"] in (2, 3)

    command = shlex.split(text.splitlines()[-1])
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=ONE_THREAD)
    assert done.returncode == 0, done.stderr
    assert "epoch   4" in done.stdout
    assert "epoch   2" not in done.stdout
    expected, found = (mg.load(path) for path in (whole, parts))
    assert found.keys() == {"model", "optimizer", "schedule", "data", "epoch", "best", "history", "options"}
    assert repr(found) == repr(expected)
    for part in ("model", "optimizer"):
        for name, value in expected[part].items():
            assert np.asarray(found[part][name]).tobytes() == np.asarray(value).tobytes(), name
    assert found["history"].tobytes() == expected["history"].tobytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted((whole.name, parts.name))


@POSIX
@pytest.mark.usefixtures("_needs_tqdm")
def test_ctrl_c_says_when_nothing_is_saved():
    process = start(*SMALL, "--epochs", "1000")
    until_epoch(process, 1)
    process.send_signal(signal.SIGINT)
    text, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "")
    assert text.endswith("nothing is saved: there was no --save PATH\n")


@pytest.mark.usefixtures("_needs_tqdm")
def test_a_run_with_other_options_is_not_gone_on_with(tmp_path):
    path = tmp_path / "run.npz"
    run("train_encoder.py", *SMALL, "--epochs", "1", "--save", path)
    before = path.read_bytes()
    process = start(*SMALL, "--epochs", "1", "--norm-first", "--norm", "rms", "--lr", "0.1", "--resume", path)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors == (
        f"error: {path} is a run with other options: --norm was batch, and is now rms; --lr was 0.003, and is now 0.1\n"
    )
    assert path.read_bytes() == before


@pytest.mark.usefixtures("_needs_tqdm")
def test_other_files_are_not_gone_on_with(tmp_path):
    mg.save(tmp_path / "other.npz", {"model": {"weight": np.ones(2)}})
    (tmp_path / "foreign.npz").write_bytes(b"PK")
    for name, words in {
        "other.npz": "holds no run of this program",
        "foreign.npz": "is not a whole file written by minigrad.save",
        "nowhere.npz": "No such file",
    }.items():
        process = start(*SMALL, "--resume", tmp_path / name)
        text, errors = process.communicate(timeout=60)
        assert (process.returncode, text.count("\n")) == (1, 1), text
        assert words in errors
        assert errors.count("\n") == 1
    assert not (tmp_path / "nowhere.npz").exists()


@POSIX
@pytest.mark.usefixtures("_needs_tqdm")
def test_a_full_disk_is_said_before_training(tmp_path):
    import resource

    path = tmp_path / "run.npz"
    path.write_bytes(b"precious")
    full = (20_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    process = start(*SMALL, "--save", path, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, full))
    text, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "epoch" not in text
    assert re.fullmatch(r"error: .*File too large.*\n", errors)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("run.npz", b"precious")]


@POSIX
@pytest.mark.usefixtures("_needs_tqdm")
def test_a_folder_that_is_lost_during_training_does_not_cost_the_model(tmp_path):
    folder, other, temporary = tmp_path / "disk", tmp_path / "lost", tmp_path / "temporary"
    folder.mkdir()
    temporary.mkdir()
    process = start(*SMALL, "--epochs", "8", "--save", folder / "run.npz", env={"TMPDIR": str(temporary)})
    until_epoch(process, 1)
    folder.rename(other)
    text, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "warning: epoch 8 is not saved: " in errors
    assert re.search(r"held-out accuracy 0\.\d{4}", text)
    (saved,) = temporary.glob("minigrad-*/run.npz")
    assert f"the run and its model are in {saved}\n" in text
    assert mg.load(saved)["epoch"] == 8
    assert 1 <= mg.load(other / "run.npz")["epoch"] < 8


KILLS = """
import os, random, re, signal, sys
examples, whole, killed, log = sys.argv[1:5]
sys.path.insert(0, examples)
import minigrad as mg, train_encoder

def child(moment, *options):
    # counts what it calls, and kills itself at this call: a moment that does not depend on how fast the machine is
    number = os.fork()
    if number == 0:
        calls = 0

        def count(*_):
            nonlocal calls
            calls += 1
            if calls == moment:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.argv = ["train_encoder.py", *sys.argv[5:], *options]
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
        sys.stdout.reconfigure(line_buffering=True)
        sys.setprofile(count)
        train_encoder.main()
        sys.setprofile(None)
        print("calls", calls)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])

assert child(None, "--save", whole) == 0
each = int(open(log).read().split()[-1]) // mg.load(whole)["epoch"]
random, kills, saved = random.Random(0), 0, 0
while kills < 50:
    resumed = ["--resume", killed] if os.path.exists(killed) else []
    assert child(random.randrange(1, 3 * each), "--save", killed, *resumed) == -signal.SIGKILL
    kills += 1
    before, saved = saved, mg.load(killed)["epoch"] if os.path.exists(killed) else 0
    said = max([before] + [int(n) for n in re.findall(r"^epoch +(\\d+)", open(log).read(), re.MULTILINE)])
    assert said <= saved <= said + 1, (said, saved)        # nothing but the epoch at hand is lost
assert child(None, "--resume", killed) == 0
print(saved)
"""


@POSIX
@pytest.mark.usefixtures("_needs_tqdm")
def test_a_run_killed_fifty_times_loses_only_epochs_at_hand(tmp_path):
    if not hasattr(os, "fork"):
        pytest.skip("processes are forked to be killed, which this system cannot")
    whole, killed = tmp_path / "whole.npz", tmp_path / "killed.npz"
    arguments = map(str, (EXAMPLES, whole, killed, tmp_path / "log", *SMALL, "--epochs", "40", "--seed", "3"))
    command = [sys.executable, "-c", KILLS, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=ONE_THREAD)
    assert done.returncode == 0, done.stderr
    assert 5 < int(done.stdout) < 40  # it went on between the kills, and was not through before the last
    assert killed.read_bytes() == whole.read_bytes()
