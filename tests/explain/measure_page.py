"""How long the page of a graph of 500 operations takes to open and to step; run by hand, for no test asserts a time.

python -m tests.explain.measure_page
"""

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

import minigrad as mg
from minigrad.models import SequenceClassifier
from tests.explain.browser import chromium
from tests.explain.programs import leaf


def wide(operations):
    """Numbers that are used again and again: few layers are alike, and many edges are long."""
    rng = np.random.default_rng(0)
    values = [leaf(x) for x in rng.normal(size=8)]
    for _ in range(operations // 2):
        i, j = rng.integers(max(0, len(values) - 12), len(values), 2)
        values.append(np.tanh(values[i] * values[j]))
    return values


def long(operations):
    """A chain, with one number that every second operation needs."""
    w, x = leaf(0.9), leaf(0.5)
    for _ in range(operations // 2):
        x = np.sin(x * w)
    return x


def encoder(layers):
    model = SequenceClassifier(4, 3, 4, layers, 8, 2, 16, rng=np.random.default_rng(0))
    return np.sum(model(np.ones((2, 4, 4), np.float32)))


def drawn(name, output):
    start = time.perf_counter()
    explanation = mg.explain(output)
    recorded = time.perf_counter() - start
    page = explanation.to_html()
    built = time.perf_counter() - start - recorded
    path = Path(tempfile.mkdtemp()) / "page.html"
    path.write_text(page, encoding="utf-8")
    count = len(explanation.operations)
    print(f"{name}, {count} operations: recorded in {recorded:.2f} s, built in {built:.2f} s, {len(page) / 1e3:.0f} kB")
    return path


def main():
    wide_sum = sum(wide(300)[-120:], start=leaf(0.0))
    with mg.debug():
        programs = {"wide": wide_sum, "long": long(500), "48 layers": encoder(48), "60 layers": encoder(60)}
    with chromium() as browser:
        for name, output in programs.items():
            path = drawn(name, output)
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            start = time.perf_counter()
            page.goto(path.as_uri())
            page.wait_for_selector("html[data-ready]", state="attached")
            page.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done)))")
            opened = time.perf_counter() - start
            one = "t = performance.now(); goTo(state.position + 1); document.body.offsetHeight; performance.now() - t"
            forward = [page.evaluate(f"var {one}") for _ in range(60)]
            page.evaluate("goTo(steps.length - 100)")
            backward = [page.evaluate(f"var {one}") for _ in range(60)]
            again = "t = performance.now(); state.fold(state.folded); document.body.offsetHeight; performance.now() - t"
            fold = page.evaluate(f"var {again}")
            times = ", ".join(
                f"a step {way} {statistics.median(t):.1f} ms (most {max(t):.1f})"
                for way, t in (("forward", forward), ("backward", backward))
            )
            print(f"    opens in {opened:.2f} s; {times}; laid out again in {fold:.0f} ms")
            page.close()


if __name__ == "__main__":
    main()
