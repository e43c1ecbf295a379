import os

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

import minigrad as mg

for profile, examples in {"quick": 10, "daily": 60, "thorough": 500}.items():
    settings.register_profile(
        profile,
        max_examples=examples,
        derandomize=profile == "quick",  # the same cases in every run; others are for the two others to find
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(autouse=True)
def seeded():
    mg.seed(0)
