"""A run that loses nothing: written to a file after each epoch, and gone on with from there."""

import shlex
import sys
import tempfile
from pathlib import Path

import numpy as np
from tqdm import tqdm

import minigrad as mg


class Checkpoint:
    """All that a run needs to go on, as it was after the last whole epoch: in memory, and in a file if there is a path.

    options: what must be the same when the run goes on.
    """

    def __init__(self, path, resumed_from, options):
        self.path = path
        self.resumed_from = resumed_from
        self.options = options
        self.state = None  # of the last whole epoch
        self.written = False

    def begin(self, **parts):
        """Go on from the file, if there is one to go on from, and see that one can be written; returns the history.

        parts: what has state_dict and load_state_dict.
        """
        self.parts = parts
        history = []
        try:
            if self.resumed_from:
                history = self.load()
            if self.path:  # better now than after the first epoch: write as much as will be written, and remove it
                trial = self.path.with_name(f".trial-{self.path.name}")
                mg.save(trial, self.take(history))
                trial.unlink()
        except (OSError, ValueError, ImportError) as error:
            sys.exit(f"error: {error}")
        if history and self.path:
            self.state, self.written = self.take(history), self.path == self.resumed_from
        return history

    def load(self):
        state = mg.load(self.resumed_from)
        there = state.get("options")
        known = all(isinstance(state.get(name), dict) for name in ("options", *self.parts))
        if not known or np.shape(state.get("history"))[1:] != (4,):
            raise ValueError(f"{self.resumed_from} holds no run of this program")
        differ = [
            f"--{name.replace('_', '-')} was {there.get(name)}, and is now {self.options.get(name)}"
            for name in self.options | there
            if there.get(name) != self.options.get(name)
        ]
        if differ:
            raise ValueError(f"{self.resumed_from} is a run with other options: {'; '.join(differ)}")
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
        return [tuple(epoch) for epoch in state["history"].tolist()]

    def take(self, history):
        """The state of the run as it is now."""
        parts = {name: part.state_dict() for name, part in self.parts.items()}
        best = max((accuracy for *_, accuracy in history), default=0.0)
        return parts | {"epoch": len(history), "best": best, "history": np.array(history), "options": self.options}

    def keep(self, history):
        """Remember this epoch and write it; where that fails, the older file stays, and the run goes on."""
        if self.path:
            self.state, self.written = self.take(history), False
            self.write()

    def write(self, elsewhere=False):
        try:
            if elsewhere:
                self.path = Path(tempfile.mkdtemp(prefix="minigrad-")) / self.path.name
            mg.save(self.path, self.state)
            self.written = True
        except OSError as error:
            tqdm.write(f"warning: epoch {self.state['epoch']} is not saved: {error}", file=sys.stderr)

    def finish(self):
        """Write what is not yet written, in the folder for temporary files if need be; returns where, or None."""
        for elsewhere in (False, True):
            if self.state and not self.written:
                self.write(elsewhere)
        return self.path if self.written else None

    def how_to_go_on(self):
        """What to tell somebody who has stopped the run."""
        path = self.finish()
        if path is None:
            return "nothing is saved: " + ("no epoch was whole" if self.path else "there was no --save PATH")
        command = [sys.executable, *sys.argv] + [f"--resume={path}"] * (path != self.resumed_from)
        return f"{self.state['epoch']} epochs are in {path}; to go on:\n\n    {shlex.join(command)}"
