"""What the page's script does, run by Node in a stand-in for a browser (dom.js); and what of it can be read without."""

import json
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from minigrad.explain import page
from tests.explain.programs import batch_norm, digits, encoder_layer, expression, network, twice

DOM = Path(__file__).with_name("dom.js")
FOLDER = Path(page.__file__).parent
HTML = (FOLDER / "page.html").read_text(encoding="utf-8")
CSS = (FOLDER / "page.css").read_text(encoding="utf-8")
SCRIPT = page.script()


@cache
def recorded(program):
    with mg.debug():  # so that the modules are known
        return mg.explain(*program())


# ---- read ------------------------------------------------------------------------------------------------------------


def test_every_script_is_part_of_the_page():
    assert {path.name for path in FOLDER.glob("*.js")} == {f"{name}.js" for name in page.SCRIPTS}


def test_only_the_state_changes():
    assert re.findall(r"^(?:let|var) .*", SCRIPT, re.MULTILINE) == []


def test_comments_and_types_stay_with_the_source():
    source = "\n".join((FOLDER / f"{name}.js").read_text(encoding="utf-8") for name in page.SCRIPTS)
    assert "@param" in source
    assert not re.search(r"@param|@typedef|^ *//", SCRIPT, re.MULTILINE)
    lines = source.splitlines()
    assert [line for line in SCRIPT.splitlines() if line not in lines] == []


def test_what_the_script_asks_for_is_in_the_page():
    asked = set(re.findall(r'\$\("([\w-]+)"\)', SCRIPT)) | set(re.findall(r"for \(const id of (\[.*?\])", SCRIPT))
    asked = {name for text in asked for name in (re.findall(r"[\w-]+", text) if "[" in text else [text])}
    there = re.findall(r'\bid="([\w-]+)"', HTML)
    assert len(asked) > 15
    assert asked <= set(there)
    assert len(there) == len(set(there))
    assert {*re.findall(r'href="#([\w-]+)"', HTML), *re.findall(r'aria-labelledby="([\w-]+)"', HTML)} <= set(there)


def test_every_class_that_is_styled_is_given_to_something():
    styled = set(re.findall(r"\.([a-z][\w-]*)(?=[^{};]*\{)", re.sub(r"/\*.*?\*/", "", CSS, flags=re.DOTALL)))
    given = set(re.findall(r"[\w-]+", " ".join(re.findall(r'class="([^"]*)"', HTML))))
    given |= set(re.findall(r"[\w-]+", " ".join(re.findall(r'["`]([^"`]*)["`]', SCRIPT))))
    assert len(styled) > 20
    assert styled <= given | {"leaf", "result", "constant"}  # kinds of values


# ---- run -------------------------------------------------------------------------------------------------------------

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed: apt-get install nodejs")


@pytest.fixture
def run(tmp_path):
    """A function that gives the value of an expression behind the script of an explanation's page."""

    def run_(explanation, script):
        path = tmp_path / "page.html"
        path.write_text(explanation.to_html(), encoding="utf-8")
        done = subprocess.run(
            ["node", DOM, path, script], capture_output=True, text=True, encoding="utf-8", timeout=120
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run_


def as_float(text):
    return float(text.replace("−", "-").replace("∞", "inf"))


def gradients_after(explanation, position):
    """By the number of the value: what has arrived after this many steps."""
    found, numbers = {}, {id(v): i for i, v in enumerate(explanation.values)}
    for step in explanation.steps[:position]:
        if step.kind in ("start", "add", "hook"):
            found[numbers[id(step.value)]] = step.array
    return found


STEPPING = """
[...Array(steps.length + 1).keys()].map((position) => {
    if (position) document.dispatch("keydown", { key: "ArrowRight" });
    return {
        sentence: $("sentence").textContent,
        boxes: $("boxes").querySelectorAll(".node").map((box) => {
            const pane = box.querySelectorAll(".pane")[1];
            return {
                value: Number(box.dataset.value),
                numbers: pane.querySelectorAll("[data-at]").map((x) => [x.title, x.textContent]),
                words: pane.querySelector(".absent")?.textContent ?? null,
                label: box.getAttribute("aria-label"),
            };
        }),
    };
})
"""


@needs_node
@pytest.mark.parametrize("program", [expression, twice, network, batch_norm])
def test_stepping_shows_the_right_gradient_at_each_step(program, run):
    explanation = recorded(program)
    for position, shown in enumerate(run(explanation, STEPPING)):
        assert shown["sentence"].startswith(f"Step {position} of {len(explanation.steps)}")
        arrived = gradients_after(explanation, position)
        assert shown["boxes"]
        for box in shown["boxes"]:
            value, gradient = explanation.values[box["value"]], arrived.get(box["value"])
            if gradient is None:
                assert box["words"] == ("not wanted" if value.kind == "constant" else "–")
                assert box["numbers"] == []
            else:
                assert box["words"] is None
                np.testing.assert_array_equal([as_float(full) for full, _ in box["numbers"]], gradient.ravel())
                np.testing.assert_allclose([as_float(short) for _, short in box["numbers"]], gradient.ravel(), 1e-3)
                rest = sum(s.kind == "add" and s.value is value for s in explanation.steps[position:])
                assert ("gradient" in box["label"], f"waits for {rest} more" in box["label"]) == (True, rest > 0)


WHYS = """
const texts = (element) => element.nodes.flatMap((node) => node.nodes ? texts(node) : [node]);
document.dispatch("keydown", { key: "End" });
values.flatMap((v, value) => (whys[value] ?? []).map((w) => {
    explain({ value, index: w.index });
    return [value, w.index, $("why").hidden, texts($("why")).join(" ")];
}))
"""


@needs_node
@pytest.mark.parametrize("program", [expression, network, batch_norm])
def test_each_why_opens_and_shows_the_gradient(program, run):
    explanation = recorded(program)
    found = run(explanation, WHYS)
    assert len(found) == sum(v.gradient.size for v in explanation.values if v.gradient is not None)
    for value, index, hidden, text in found:
        gradient = explanation.values[value].gradient[tuple(index)]
        assert not hidden
        shown = [as_float(x) for x in re.findall(r"−?\d+(?:\.\d+)?(?:e−?\d+)?", text.replace("\n", " "))]
        assert any(np.isclose(x, gradient, rtol=1e-3, atol=1e-12) for x in shown), (value, index, text)


FOLDING = """
const look = () => state.layout.boxes.map(({ x, y, width, height, group }) => [x, y, width, height, group?.path ?? null]);
const unfolded = look();
foldAll(true);
const folded = look();
foldAll(false);
[unfolded, folded, look(), state.layout.width, state.layout.height]
"""


@needs_node
@pytest.mark.parametrize("program", [network, encoder_layer, digits])
def test_boxes_lie_beside_each_other_folded_or_not(program, run):
    unfolded, folded, again, width, height = run(recorded(program), FOLDING)
    assert again == unfolded
    assert all(group is None for *_, group in unfolded)
    if program is not network:
        assert len(folded) < len(unfolded)
        assert any(group for *_, group in folded)
    for found in (unfolded, folded):
        for i, (x, y, w, h, _) in enumerate(found):
            assert x >= 0
            assert y >= 0
            for x2, y2, w2, h2, _ in found[:i]:
                assert x + w <= x2 or x2 + w2 <= x or y + h <= y2 or y2 + h2 <= y
    assert max(x + w for x, _, w, _, _ in unfolded) <= width
    assert max(y + h for _, y, _, h, _ in unfolded) <= height


CONTROLS = """
const at = () => state.position;
const pressed = (key) => (document.dispatch("keydown", { key }), at());
const found = [pressed("End"), pressed("ArrowLeft"), pressed("Home"), pressed("ArrowLeft"), pressed("ArrowRight")];
$("last").click(); found.push(at());
$("back").click(); found.push(at());
$("slider").dispatch("input", { target: { value: "2" } }); found.push(at());
pressed(" "); found.push(Boolean(state.timer), $("play").getAttribute("aria-label"));
pressed("ArrowRight"); found.push(Boolean(state.timer), at());
pressed("?"); found.push($("keys").open);
found
"""


STATE = """
const told = [];
const aspects = ["position", "selection", "layout", "zoom", "playing", "traced", "theme"];
state.watch(Object.fromEntries(aspects.map((aspect) => [aspect, () => told.push(aspect)])));
const after = (act) => { told.length = 0; const before = state.layout; act(); return [...told, state.layout === before]; };
const [group] = groups.values();
[
    after(() => state.goTo(-1)), after(() => state.goTo(Infinity)), state.position, after(() => state.goTo(2)),
    after(() => state.select({ value: 3 })), after(() => state.select({ group })), [state.value, state.group.id],
    after(() => state.trace(3)), state.traced, after(() => state.goTo(1)), state.traced,
    after(() => state.toggle(group)), [...state.folded], state.traced, after(() => state.toggle(group)), [...state.folded],
    after(() => state.zoomTo(0)), state.zoom, after(() => state.zoomTo(9)), state.zoom,
    after(() => state.measure(9, true)), after(() => state.measure(9, true)), state.isMeasured,
    after(() => state.play(7)), state.timer, after(() => state.setTheme("dark")), state.theme,
]
"""


@needs_node
def test_each_change_of_the_state_tells_its_view(run):
    explanation = recorded(encoder_layer)
    *found, timer, dark, theme = run(explanation, STATE)
    assert (timer, dark, theme) == (7, ["theme", True], "dark")
    assert found[:4] == [[True], ["position", True], len(explanation.steps), ["position", True]]
    selected, other, (value, group) = found[4:7]
    assert (selected, other, value) == (["selection", True], ["selection", True], None)
    assert found[7:11] == [["traced", True], traced := {"value": 3, "position": 2}, ["position", True], traced]
    assert found[11:16] == [["traced", "layout", False], [group], None, ["traced", "layout", False], []]
    assert found[16:20] == [["zoom", True], 0.005, ["zoom", True], 3]
    assert found[20:] == [["traced", "layout", False], [True], True, ["playing", True]]


@needs_node
def test_keys_buttons_and_the_slider_step(run):
    n = len(recorded(expression).steps)
    assert run(recorded(expression), CONTROLS) == [n, n - 1, 0, 0, 1, n, n - 1, 2, True, "Pause", False, 3, True]
