"""The page: what it holds, and what a browser shows of it."""

import json
import re
import sys
from functools import cache
from html import unescape

import numpy as np
import pytest

import minigrad as mg
from minigrad.explain.__main__ import main
from minigrad.models import SequenceClassifier
from tests.explain.browser import chromium, missing
from tests.explain.programs import PROGRAMS, batch_norm, expression, guilty, leaf, network, twice


@cache
def recorded(program):
    return mg.explain(*program())


@cache
def page_of(explanation):
    return explanation.to_html()


def data_of(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])


def data(explanation):
    return data_of(explanation.to_html())


def numbers(found, array):
    array = found["arrays"][array]
    plain = [float(x) if isinstance(x, str) else x for x in array["numbers"]]
    return np.array(plain).reshape(array["shape"])


# ---- without a browser -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_page_holds_the_recording_and_asks_for_nothing(program):
    explanation = recorded(program)
    page = page_of(explanation)
    found = data_of(page)
    assert "http" not in re.sub(r"http://www.w3.org/2000/svg|http-equiv", "", page)
    assert "{{" not in page
    assert len(found["operations"]) == len(explanation.operations)
    assert [step["kind"] for step in found["steps"]] == [step.kind for step in explanation.steps]
    for v, value in zip(explanation.values, found["values"], strict=True):
        for real, array in ((v.array, value["array"]), (v.gradient, value["gradient"])):
            if real is not None and real.size <= 64:
                np.testing.assert_array_equal(numbers(found, array).astype(real.dtype), real)


@pytest.mark.parametrize("program", PROGRAMS)
def test_each_why_of_a_page_adds_up_to_the_gradient(program):
    explanation = recorded(program)
    found = data_of(page_of(explanation))
    assert found["whys"]
    for v, parts in found["whys"].items():
        gradient = explanation.values[int(v)].gradient
        assert len(parts) == gradient.size if gradient.size <= 3 else len(parts) >= 3
        for part in parts:
            total = sum(term["value"] for term in part["terms"]) + part["rest"]
            assert part["real"] == gradient[tuple(part["index"])]
            np.testing.assert_allclose(total, part["real"], rtol=1e-5, atol=1e-7)
            assert part["addsUp"]


def test_an_array_is_there_once():
    x, y = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    found = data(mg.explain(np.sum(x + y), {"x": x, "y": y}))
    assert len(found["arrays"]) == 9  # 4 values; 1 and one gradient for t1, x and y; 3 local derivatives
    gradients = [v["gradient"] for v in found["values"]]
    assert gradients[0] == gradients[1] == gradients[2]
    for o in found["operations"]:
        for c in o["contributions"]:
            assert c["pulled"] == c["array"] == c["total"] == gradients[c["to"]]


def test_local_derivatives_take_the_smallest_shape_that_holds_them():
    w, x = leaf([[1.0, 2.0], [3.0, 4.0]]), leaf([5.0, 6.0])
    y = w * x  # each entry of y depends on one of x
    z = np.sum(y, axis=0)  # each entry of y is in one of z
    p = mg.functional.softmax(z)
    found = data(mg.explain(np.sum(p * np.array([1.0, 2.0]))))
    local = {o["rule"]: o["contributions"][-1]["local"] for o in found["operations"][:3]}
    assert {rule: part["per"] for rule, part in local.items()} == {
        "multiply": "output", "sum": "input", "softmax": "both"
    }  # fmt: skip
    np.testing.assert_array_equal(numbers(found, local["multiply"]["array"]), w.data)
    assert local["multiply"]["name"] == "w"
    np.testing.assert_array_equal(numbers(found, local["sum"]["array"]), np.ones((2, 2)))
    q = p.data
    np.testing.assert_allclose(numbers(found, local["softmax"]["array"]), np.diag(q) - np.outer(q, q))


HOSTILE = ["</script><script>alert(1)</script>", "<!--", '"><img src=x onerror=alert(1)>', "{{script}}", "a\u2028b'\\"]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_cannot_break_out_of_the_page(name):
    x = leaf(1.0)
    explanation = mg.explain(np.exp(x), {name: x})
    explanation.output.name = name
    page = explanation.to_html()
    assert page.count("<script") == 2
    assert "<img" not in page
    assert "<!--" not in page.partition("<body>")[2]
    assert data_of(page)["values"][0]["name"] == name
    assert page.count('"use strict"') == 1


@pytest.mark.parametrize(
    "array",
    [
        np.array([np.nan, np.inf, -np.inf, 0.0, -0.0]),
        np.array(3.0),
        np.zeros((0, 3)),
        np.zeros((2, 0)),
        np.array([1.0, 2.5], np.float16),
        np.array([0.1], np.float32),
        np.full(100, np.nan),
        np.where(np.arange(100) % 2, 1e300, np.nan),
    ],
    ids=["not finite", "0-d", "empty", "empty rows", "float16", "float32", "large", "huge"],
)
def test_any_array_can_be_shown(array):
    x = mg.tensor(array, requires_grad=True)
    found = data(mg.explain(x * 2.0, gradient=np.ones_like(array)))
    value = found["values"][0]
    if array.size <= 64:
        np.testing.assert_array_equal(numbers(found, value["array"]).astype(array.dtype), array)
    else:
        assert found["arrays"][value["array"]]["summary"]["non_finite"] == np.mean(np.isnan(array))
        assert found["arrays"][value["array"]]["map"].startswith("data:image/png")
    assert found["arrays"][value["array"]]["dtype"] == array.dtype.name


def test_a_number_has_the_digits_of_its_dtype():
    found = data(mg.explain(mg.tensor(np.array([0.1], np.float32), requires_grad=True) * 1.0))
    assert found["arrays"][found["values"][0]["array"]]["numbers"] == [0.1]


def test_an_integer_array_keeps_its_integers():
    mask = np.array([1, 0, 1])
    found = data(mg.explain(leaf([1.0, 2.0, 3.0]) * mask, gradient=np.ones(3)))
    constant = next(v for v in found["values"] if v["kind"] == "constant")
    assert found["arrays"][constant["array"]]["numbers"] == [1, 0, 1]


def test_a_leaf_alone_is_a_page_of_one_step():
    found = data(mg.explain(leaf(2.0)))
    assert [step["kind"] for step in found["steps"]] == ["start"]
    assert found["operations"] == []


def test_hooks_are_steps_with_what_was_before():
    x = leaf(1.0)
    y = np.exp(x)
    y.register_hook(lambda g: g * 3)
    found = data(mg.explain(y * 2.0))
    hook = next(step for step in found["steps"] if step["kind"] == "hook")
    assert [numbers(found, hook[key]) for key in ("before", "array")] == [2.0, 6.0]


def test_finite_differences_stand_beside_the_gradient():
    found = data(mg.explain(expression()[0], finite_differences=True))
    parts = [part for v in found["values"] for part in v["differences"]]
    assert len(parts) == 6
    assert all(abs(part["gradient"] - part["difference"]) < 1e-8 for part in parts)


def test_a_rule_that_cannot_be_taken_apart_does_no_harm():
    @mg.rule()
    def flipped(x, /):
        return np.flip(np.array(x)), (lambda g: np.flip(np.array(g)),)

    x = leaf(np.ones(5000))
    found = data(mg.explain(np.sum(flipped(x) * np.arange(1.0, 5001.0))))
    names = [v["name"] for v in found["values"]]
    assert {names[int(v)] for v in found["whys"]} == {"t1", "t2", "t3"}


def test_what_is_taken_apart_is_bounded(monkeypatch):
    model = SequenceClassifier(16, 10, 4, 3, 32, 4, 64, rng=np.random.default_rng(0))
    found = data(mg.explain(np.sum(model(np.ones((64, 4, 16), np.float32)))))
    assert 100 < sum(len(parts) for parts in found["whys"].values()) <= 1000
    explanation = mg.explain(network()[0])
    monkeypatch.setattr(sys.modules["minigrad.explain.page.data"], "MOST_WORK", 20_000)
    found = data(explanation)
    assert 0 < sum(len(parts) for parts in found["whys"].values()) < 10
    local = [c["local"] for o in found["operations"] for c in o["contributions"]]
    assert 0 < sum(part is not None for part in local) < len(local)


def test_a_notebook_shows_the_page_in_a_frame_that_can_touch_nothing():
    explanation = mg.explain(expression()[0])
    frame = explanation._repr_html_()
    assert 'sandbox="allow-scripts"' in frame
    assert unescape(re.search(r'srcdoc="([^"]*)"', frame)[1]) == explanation.to_html()
    assert not hasattr(explanation, "_repr_svg_")  # a notebook shows one of the two


def test_the_command_writes_the_page(tmp_path, capsys):
    one, two = tmp_path / "one.html", tmp_path / "two.html"
    assert main(["tanh(w * x + b)", "w=0.5", "x=2", "b=-0.3", "--html", str(one), "--save", str(two)]) == 0
    assert one.read_text(encoding="utf-8") == two.read_text(encoding="utf-8")
    assert [v["name"] for v in data_of(one.read_text(encoding="utf-8"))["values"][:3]] == ["w", "x", "b"]
    assert main(["w * 1", "w=1", "--html", str(tmp_path / "none" / "one.html")]) == 1
    assert "No such file" in capsys.readouterr().err


# ---- in a browser ----------------------------------------------------------------------------------------------------

needs_browser = pytest.mark.skipif(bool(missing()), reason=missing())


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@cache
def encoder():
    model = SequenceClassifier(4, 3, 4, 2, 8, 2, 16, rng=np.random.default_rng(0))
    with mg.debug():
        return mg.explain(np.sum(model(np.ones((2, 4, 4), np.float32))))


@pytest.fixture(scope="module")
def window(browser):
    """A function that gives a page with these settings, and what its console and the network have seen."""

    @cache  # each costs a process
    def window_(width, height, options):
        size = {"width": width, "height": height}
        page = browser.new_context(viewport=size, reduced_motion="reduce", **dict(options)).new_page()
        page.set_default_timeout(10_000)
        faults = []
        page.on("console", lambda message: faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda r: r.url.startswith(("file:", "data:")) or faults.append(r.url))
        return page, faults

    return window_


@pytest.fixture
def opened(window, tmp_path):
    """A function that opens the page of an explanation; whatever the console or the network saw fails the test."""
    seen = []

    def open_(explanation, width=1280, height=800, **options):
        path = tmp_path / f"{len(seen)}.html"
        path.write_text(page_of(explanation), encoding="utf-8")
        page, faults = window(width, height, tuple(options.items()))
        seen.append(faults)
        page.mouse.move(0, 0)
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready]", state="attached")
        return page

    yield open_
    found = [fault for faults in seen for fault in faults]
    for faults in seen:
        faults.clear()
    assert found == []


def shown_gradients(page):
    """Of each box by the number of its value: its gradient as it can be read, and its label."""
    return page.evaluate(
        """() => Object.fromEntries([...document.querySelectorAll(".node:not(.group)")].map(box => {
            const pane = box.querySelector(".pane:nth-of-type(2)");
            return [box.dataset.value, {
                numbers: [...pane.querySelectorAll("[data-at]")].map(x => [x.title, x.textContent]),
                words: pane.querySelector(".absent")?.textContent ?? null,
                label: box.getAttribute("aria-label"),
            }];
        }))"""
    )


def as_float(text):
    return float(text.replace("−", "-").replace("∞", "inf"))


def gradients_after(explanation, position):
    """By the number of the value: what has arrived after this many steps."""
    found, numbers = {}, {id(v): i for i, v in enumerate(explanation.values)}
    for step in explanation.steps[:position]:
        if step.kind in ("start", "add", "hook"):
            found[numbers[id(step.value)]] = step.array
    return found


@needs_browser
@pytest.mark.parametrize("program", [expression, twice, network, batch_norm])
def test_stepping_shows_the_right_gradient_at_each_step(program, opened):
    explanation = mg.explain(program()[0])
    page = opened(explanation)
    for position in range(len(explanation.steps) + 1):
        assert page.locator("#sentence").inner_text().startswith(f"Step {position} of {len(explanation.steps)}")
        arrived = gradients_after(explanation, position)
        for number, box in shown_gradients(page).items():
            value, gradient = explanation.values[int(number)], arrived.get(int(number))
            if gradient is None:
                constant = value.kind == "constant"
                assert box["words"] == ("not wanted" if constant else "–")
                assert ("no gradient is wanted" if constant else "gradient not computed yet") in box["label"]
                assert box["numbers"] == []
            else:
                assert box["words"] is None
                np.testing.assert_array_equal([as_float(full) for full, _ in box["numbers"]], gradient.ravel())
                np.testing.assert_allclose(
                    [as_float(short) for _, short in box["numbers"]], gradient.ravel(), rtol=1e-3
                )
        page.keyboard.press("ArrowRight")
    final = {int(n): box for n, box in shown_gradients(page).items()}
    for i, value in enumerate(explanation.values):
        if value.gradient is not None:
            np.testing.assert_array_equal([as_float(x) for x, _ in final[i]["numbers"]], value.gradient.ravel())


@needs_browser
def test_values_come_with_the_forward_pass_and_go_on_the_way_back(opened):
    explanation = mg.explain(*expression())
    page = opened(explanation)
    result = page.locator('.node[data-value="5"] .pane').first
    assert result.inner_text().split() == ["value", "–"]
    for _ in explanation.operations:
        page.keyboard.press("ArrowRight")
    assert as_float(result.locator("[data-at]").get_attribute("title")) == explanation.output.array
    page.keyboard.press("ArrowLeft")
    assert result.inner_text().split() == ["value", "–"]


@needs_browser
def test_who_opens_a_box_by_a_key_goes_on_in_its_details_and_comes_back(opened):
    page = opened(mg.explain(*expression()))
    page.keyboard.press("End")
    box = page.locator(".node.leaf").first
    box.focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "details"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('section').id") == "details"
    page.keyboard.press("Escape")
    assert box.evaluate("element => element === document.activeElement")


@needs_browser
def test_the_whole_graph_is_shown_however_tall(opened):
    x = leaf(1.0)
    y = x
    for _ in range(300):
        y = y * 1.01
    page = opened(mg.explain(y))
    page.keyboard.press("0")
    last, graph = page.locator(".node").last.bounding_box(), page.locator("#graph").bounding_box()
    assert last["y"] + last["height"] <= graph["y"] + graph["height"]


@needs_browser
def test_the_list_of_modules_closes_where_one_presses_beside_it(opened):
    page = opened(encoder())
    page.locator("#modules summary").click()
    assert page.locator("#outline").is_visible()
    page.locator("#graph").click(position={"x": 5, "y": 600})
    assert not page.locator("#outline").is_visible()


@needs_browser
def test_keys_step_play_and_open(opened):
    explanation = mg.explain(*expression())
    page = opened(explanation)
    count = len(explanation.steps)

    def position():
        return int(page.locator("#slider").input_value())

    page.keyboard.press("End")
    assert position() == count
    page.keyboard.press("ArrowLeft")
    assert position() == count - 1
    page.keyboard.press("Home")
    assert position() == 0
    page.keyboard.press("Space")
    assert page.locator("#play").get_attribute("aria-label") == "Pause"
    page.locator("#back[aria-disabled=false]").wait_for()
    page.keyboard.press("Space")
    assert page.locator("#play").get_attribute("aria-label") == "Play"
    page.locator(".node").first.click()
    page.keyboard.press("Space")  # on a box, too
    assert page.locator("#play").get_attribute("aria-label") == "Pause"
    page.keyboard.press("Space")
    page.keyboard.press("?")
    assert page.locator("dialog#keys").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("dialog#keys").is_visible()
    page.locator(".node").nth(3).focus()
    page.keyboard.press("Enter")
    assert page.locator("#details h2").inner_text() == "t1 = multiply(w, x)"
    page.keyboard.press("Escape")
    assert not page.locator("#details").is_visible()
    page.locator("#slider").focus()
    page.keyboard.press("End")
    assert position() == count
    page.locator("#back").focus()
    page.keyboard.press("Space")  # presses it
    assert position() == count - 1
    assert page.locator("#play").get_attribute("aria-label") == "Play"


@needs_browser
def test_tab_reaches_every_control_and_each_has_a_name(opened):
    page = opened(encoder())
    page.evaluate("foldAll(true)")
    page.keyboard.press("End")
    page.locator(".node").nth(2).click()
    page.evaluate("explain({value: 0, index: [0, 0]})")
    page.locator("#modules summary").click()
    focusable = "a[href], button, input, summary"
    everything = page.evaluate(
        "q => [...document.querySelectorAll(q)].filter(x => x.checkVisibility() && !x.closest('dialog')).length",
        focusable,
    )
    page.evaluate("document.activeElement.blur()")
    page.evaluate("() => { window.met = new Set(); addEventListener('focusin', event => met.add(event.target)); }")
    for _ in range(everything + 5):
        page.keyboard.press("Tab")
    assert page.evaluate("q => [...met].filter(x => x.matches(q)).length", focusable) == everything
    nameless = page.evaluate(
        """q => [...document.querySelectorAll(q)].filter(x => !/[a-z]{2}/i.test(x.getAttribute("aria-label") || x.textContent))
            .map(x => x.outerHTML)""",
        focusable,
    )
    assert nameless == []
    assert page.locator("[role=status][aria-live]").count() == 1


@needs_browser
@pytest.mark.parametrize("program", [expression, twice, network, batch_norm])
def test_each_number_opens_a_why_whose_terms_add_up(program, opened):
    explanation = mg.explain(program()[0])
    page = opened(explanation)
    page.keyboard.press("End")
    found = page.evaluate(
        """() => [...document.querySelectorAll(".node")].flatMap(box => {
            box.click();
            return [...document.querySelectorAll("#details button.number")].map((_, at) => {
                document.querySelectorAll("#details button.number")[at].click();
                const terms = document.querySelector("#why .terms");
                const parts = [...terms.querySelectorAll("[data-value]")].map(x => Number(x.dataset.value));
                return [Number(box.dataset.value), at, parts, Number(terms.dataset.real), terms.textContent];
            });
        })"""
    )
    for i, at, parts, real, text in found:
        assert real == explanation.values[i].gradient.ravel()[at]
        np.testing.assert_allclose(sum(parts), real, rtol=1e-9, atol=1e-12)
        assert "the terms add up to the gradient" in text
    assert len(found) == sum(v.gradient.size for v in explanation.values if v.gradient is not None)


@needs_browser
def test_the_smaller_terms_of_a_why_are_one_line(opened):
    x = leaf(1.0)
    page = opened(mg.explain(np.sum(x * np.arange(1.0, 21.0))))
    page.keyboard.press("End")
    page.locator('.node[data-value="0"] .pane').last.locator("[data-at]").click()
    parts = page.locator("#why [data-value]").evaluate_all("all => all.map(x => Number(x.dataset.value))")
    assert parts == [20, 19, 18, 17, 16, 15, 14, 13, 78]
    assert "in 12 smaller terms" in page.locator("#why").inner_text()


@needs_browser
def test_a_why_leads_on_to_the_consumer_and_to_the_next_why(opened):
    page = opened(mg.explain(*expression()))
    page.keyboard.press("End")
    page.locator('.node[data-value="0"] [data-at]').last.click()  # a number in the box itself
    assert page.locator("#why h2").inner_text() == "w.grad = 1.269"
    page.locator("#why .terms .link", has_text="t1.grad").click()
    assert page.locator("#why h2").inner_text() == "t1.grad = 0.6347"
    page.locator("#why .terms .link", has_text="add").click()
    assert page.locator("#details h2").inner_text() == "t2 = add(t1, b)"
    assert not page.locator("#why").is_visible()


@needs_browser
def test_an_entry_that_is_not_in_the_file_says_how_to_ask_for_it(opened):
    x = leaf(np.ones((10, 10)))
    page = opened(mg.explain(np.sum(x**2)))
    page.keyboard.press("End")
    page.evaluate("explain({value: 0, index: [9, 9]})")
    assert 'explanation.why("x", (9, 9))' in page.locator("#why").inner_text()


@needs_browser
def test_accumulation_and_the_sum_over_a_broadcast_are_steps_of_their_own(opened):
    page = opened(mg.explain(*twice()))
    said = []
    for _ in range(11):
        page.keyboard.press("ArrowRight")
        said.append(page.locator("#now").inner_text())
    assert any("waits for 1 more" in text for text in said)
    assert (
        " ".join(said[-1].split())
        == "Backward the last share arrives at a a + a had arrived 2 + joins 2 = gradient of a 4"
    )
    b = leaf([2.0])
    page = opened(mg.explain(np.sum(np.ones((3, 1)) * b)))
    texts = []
    for _ in range(8):
        page.keyboard.press("ArrowRight")
        texts.append(page.locator("#now").inner_text())
    assert any("summed over axis 0: 1" in text and "3 × 1, as broadcast" in text for text in texts)
    page.locator(".node", has_text="multiply").click()
    details = page.locator("#details").inner_text()
    assert "3 × 1, as broadcast" in details
    assert "= c1" in details  # the local derivative


@needs_browser
def test_the_operation_at_hand_its_edges_and_its_line_are_shown(opened):
    w, x = leaf(0.5), leaf(2.0)
    with mg.debug():
        y = np.tanh(w * x)  # this line
    page = opened(mg.explain(y))
    page.keyboard.press("ArrowRight")
    assert page.locator(".node.lit-value").get_attribute("data-value") == "2"
    assert page.locator("#edges path.lit-value:not(.tip)").count() == 2
    assert "y = np.tanh(w * x)  # this line" in page.locator("#now pre").inner_text()
    assert "test_page.py:" in page.locator("#now .source").inner_text()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    assert page.locator("#sentence").inner_text().endswith("t1 has its gradient")
    assert page.locator("#edges path.lit:not(.tip)").count() == 1


@needs_browser
def test_what_happens_is_always_in_view(opened):
    page = opened(encoder())
    hidden = page.evaluate(
        """() => steps.map((_, i) => i + 1).filter(i => i % 3 === 0).filter(position => {
            goTo(position);
            const what = steps[position - 1].kind === "add" ? ".fresh" : ":is(.lit, .lit-value)";
            const [graph, box] = ["#graph", `.node${what}`].map(x => document.querySelector(x).getBoundingClientRect());
            return box.left < graph.left || box.right > graph.right || box.top < graph.top || box.bottom > graph.bottom;
        })"""
    )
    assert hidden == []


@needs_browser
def test_pointing_at_a_value_lights_the_ways_its_gradient_took(opened):
    page = opened(mg.explain(*network()))
    page.locator('.node[data-value="0"]').hover()
    assert page.locator(".tracing").count() == 0  # nothing has arrived yet
    page.keyboard.press("End")
    names = page.evaluate("values.map(v => v.name)")
    page.locator(f'.node[data-value="{names.index("w")}"]').hover()
    lit = {names[int(n)] for n in page.locator(".node.traced").evaluate_all("all => all.map(x => x.dataset.value)")}
    assert lit == {"w", "t4", "t5", "t6", "t7", "t8"}
    page.mouse.move(5, 400)
    assert page.locator(".traced").count() == 0


@needs_browser
def test_a_way_that_no_gradient_has_gone_yet_stays_dark(opened):
    x = leaf(1.0)
    y, z = np.exp(x), np.sin(x)
    explanation = mg.explain(y * z)
    page = opened(explanation)
    first = next(i for i, step in enumerate(explanation.steps, 1) if step.kind == "add" and step.waiting)
    page.evaluate(f"goTo({first})")
    page.locator('.node[data-value="0"]').hover()
    assert page.locator(".node.traced b").all_inner_texts() == ["x", "z", "t1"]
    page.keyboard.press("End")
    page.locator('.node[data-value="1"]').hover()
    page.locator('.node[data-value="0"]').hover()
    assert page.locator(".node.traced b").all_inner_texts() == ["x", "y", "z", "t1"]


@needs_browser
def test_modules_fold_and_unfold_at_any_level(opened):
    explanation = encoder()
    page = opened(explanation)
    everything = page.locator(".node").count()
    page.locator('.unfolded[data-module="encoder.layers.0.attention"]').click()
    folded = page.locator('.node.group[data-module="encoder.layers.0.attention"]')
    inside = [o for o in explanation.operations if o.module.startswith("encoder.layers.0.attention")]
    assert f"{len(inside)} operations" in folded.inner_text()
    assert page.locator(".node").count() < everything
    page.keyboard.press("End")
    folded.click()
    assert page.locator("#details .members button").count() == len(inside)
    page.keyboard.press("f")
    assert page.locator(".node").count() == everything
    page.locator("#modules summary").click()
    page.locator("#outline button", has_text="Fold all").click()
    assert page.locator(".unfolded").count() == 0
    page.locator("#outline button[aria-expanded=false]", has_text="encoder").first.click()
    assert page.locator(".unfolded").all_inner_texts() == ["▾ encoder"]
    page.locator("#outline button", has_text="Unfold all").click()
    assert page.locator(".node").count() == everything


@needs_browser
def test_boxes_and_modules_do_not_cover_one_another(opened):
    page = opened(encoder())
    boxes = page.evaluate(
        "[...document.querySelectorAll('.node')].map(x => [x.offsetLeft, x.offsetTop, x.offsetWidth, x.offsetHeight])"
    )
    hulls = page.evaluate(
        "[...document.querySelectorAll('.hull')].map(x => [x.offsetLeft, x.offsetTop, x.offsetWidth, x.offsetHeight])"
    )

    def apart(a, b):
        return a[0] + a[2] <= b[0] or b[0] + b[2] <= a[0] or a[1] + a[3] <= b[1] or b[1] + b[3] <= a[1]

    def within(a, b):
        return b[0] <= a[0] and b[1] <= a[1] and a[0] + a[2] <= b[0] + b[2] and a[1] + a[3] <= b[1] + b[3]

    assert len(boxes) > 40
    assert all(apart(a, b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert all(apart(a, b) or within(a, b) for a in boxes for b in hulls)
    assert all(apart(a, b) or within(a, b) or within(b, a) for i, a in enumerate(hulls) for b in hulls[:i])


class Sines(mg.nn.Module):
    def __init__(self, times):
        self.times = times

    def forward(self, x):
        for _ in range(self.times):
            x = np.sin(x)
        return x


@needs_browser
@pytest.mark.parametrize(("times", "boxes"), [(240, 481), (260, 2)])
def test_beyond_500_operations_modules_start_folded(times, boxes, opened):
    with mg.debug():
        y = mg.nn.Sequential(Sines(times), Sines(times))(leaf(1.0))
    page = opened(mg.explain(y))
    assert page.locator(".node").count() == boxes
    page.evaluate("foldAll(false)")
    assert page.locator(".node").count() == 2 * times + 1
    page.keyboard.press("End")
    assert "gradient not computed yet" not in page.locator(".node").first.get_attribute("aria-label")


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("explained", [lambda: mg.explain(network()[0]), lambda: encoder()], ids=["network", "encoder"])
def test_on_a_phone_nothing_is_wider_than_the_screen(explained, scheme, opened):
    page = opened(explained(), 390, 844, color_scheme=scheme, has_touch=True)
    page.keyboard.press("End")
    page.evaluate("select({value: operations.at(-2).output})")
    page.evaluate("explain({value: Number(Object.keys(whys)[0]), index: Object.values(whys)[0][0].index})")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for selector in ("header button", "footer button", "summary", "#slider", "button.number"):
        for box in page.locator(selector).evaluate_all("all => all.map(x => x.getBoundingClientRect().toJSON())"):
            assert box["width"] == 0 or min(box["width"], box["height"]) >= 40, (selector, box)
    footer = page.locator("footer").bounding_box()
    assert footer["y"] + footer["height"] == pytest.approx(844)


CONTRAST = """() => {
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const rgba = color => {
        canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
        return canvas.getImageData(0, 0, 1, 1).data;
    };
    const light = ([r, g, b]) => [r, g, b].map(x => x / 255).map(x => x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4)
        .reduce((sum, x, i) => sum + x * [0.2126, 0.7152, 0.0722][i], 0);
    const ground = element => {
        for (let e = element; e; e = e.parentElement) {
            const color = rgba(getComputedStyle(e).backgroundColor);
            if (color[3] === 255) return color;
        }
    };
    return [...document.querySelectorAll("body *")].filter(e => e.checkVisibility()
            && !["SCRIPT", "STYLE"].includes(e.tagName)
            && [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())).map(e => {
        const [a, b] = [light(rgba(getComputedStyle(e).color)), light(ground(e))].sort((x, y) => y - x);
        return [(a + 0.05) / (b + 0.05), e.className || e.tagName, e.textContent.slice(0, 30)];
    }).filter(([contrast]) => contrast < 4.5);
}"""


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read_in_light_and_dark(scheme, opened):
    page = opened(encoder(), color_scheme=scheme)
    for keys in ("Home", "End"):
        page.keyboard.press(keys)
        page.evaluate("select({value: operations.at(-2).output})")
        assert page.evaluate(CONTRAST) == []
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.locator("#theme").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before
    assert page.evaluate(CONTRAST) == []


@needs_browser
def test_a_hostile_name_is_only_text(opened):
    leaves = {name: leaf(1.0) for name in HOSTILE}
    page = opened(mg.explain(sum(leaves.values(), start=leaf(0.0)), leaves))
    boxes = page.locator(".node.leaf")
    shown = {}
    for i in range(boxes.count()):
        boxes.nth(i).evaluate("box => box.click()")
        shown[page.locator("#details h2").text_content()] = boxes.nth(i).locator("b").text_content()
    assert shown.keys() >= set(HOSTILE)
    assert all(name.endswith(text) for name, text in shown.items())
    assert page.locator("img").count() == 0


@needs_browser
@pytest.mark.parametrize(
    "array",
    [
        np.array([np.nan, np.inf, -np.inf]),
        np.array(3.0),
        np.zeros((0, 3)),
        np.arange(6, dtype=np.float16),
        np.ones((9, 9)),
    ],
    ids=["not finite", "0-d", "empty", "float16", "large"],
)
def test_any_array_is_shown_in_the_browser(array, opened):
    x = mg.tensor(array, requires_grad=True)
    with np.errstate(all="ignore"):
        page = opened(mg.explain(x * 2.0, gradient=np.ones_like(array)))
    for _ in range(4):
        page.keyboard.press("ArrowRight")
        page.locator('.node[data-value="0"]').click()
    text = page.locator("#details").inner_text()
    expected = {3: "NaN", 1: "3", 0: "empty, 0 × 3", 6: "0", 81: "norm"}[array.size]
    assert expected in text


@needs_browser
def test_a_leaf_alone_has_its_page(opened):
    page = opened(mg.explain(leaf(2.0)))
    page.keyboard.press("ArrowRight")
    assert page.locator(".node").get_attribute("aria-label") == "leaf1, leaf, value 2, gradient 1"


@needs_browser
def test_finite_differences_are_shown_beside_the_gradient(opened):
    page = opened(mg.explain(expression()[0], finite_differences=True))
    page.keyboard.press("End")
    page.locator('.node[data-value="0"]').click()
    cells = page.locator("#details td").evaluate_all("all => all.map(x => x.title)")
    assert float(cells[1]) == pytest.approx(float(cells[2]), abs=1e-8)


CLIPPED = """() => [...document.querySelectorAll(".node .title, .node .caption")].filter(text => {
    const range = document.createRange();
    range.selectNodeContents(text);
    const pad = parseFloat(getComputedStyle(text.closest(".node")).paddingRight);
    return range.getBoundingClientRect().right > text.closest(".node").getBoundingClientRect().right - pad / 2;
}).map(text => text.textContent)"""


@needs_browser
def test_the_guilty_operation_is_marked_and_told(opened):
    output, leaves = guilty()
    page = opened(mg.explain(output, {name: leaves[name] for name in "wxuh"}, finite_differences=True))
    accusation = "✗ wrong: wrong_cube gives h 0.79398, by finite differences 2.3819"
    for _ in range(30):
        assert page.evaluate(CLIPPED) == []
        page.keyboard.press("ArrowRight")
    (wrong,) = page.locator(".node.wrong").all()
    assert wrong.locator("b").text_content() == "✗ t1"
    assert "gives its inputs a wrong gradient" in wrong.get_attribute("aria-label")
    captions = page.locator(".node .caption").all_text_contents()
    assert captions.count("gradient, wrong") == 3
    wrong.locator(".title").click()
    assert accusation in page.locator("#details").inner_text()
    page.locator('.node[data-value="0"] .pane:nth-of-type(2) [data-at]').click()
    assert accusation in page.locator("#why").inner_text()
    assert page.locator("#details tr.warning").count() == 1
    assert page.evaluate(CONTRAST) == []
    page.evaluate("select({value: 2})")  # u, whose gradient is right
    assert "✗" not in page.locator("#side").inner_text()


@needs_browser
def test_a_zero_is_told_why(opened):
    x = leaf(-2.0)
    page = opened(mg.explain(mg.functional.relu(x) * 3.0, {"x": x}))
    page.keyboard.press("End")
    page.locator('.node[data-value="0"] .pane:nth-of-type(2) [data-at]').click()
    assert "relu's gate at t1 is shut" in page.locator("#why").inner_text()


@needs_browser
@pytest.mark.parametrize("hidden", ["display: none", "width: 0"])
def test_in_a_frame_that_was_hidden_boxes_have_their_right_width(hidden, browser):
    explanation = mg.explain(expression()[0])
    widths = "() => [...document.querySelectorAll('.node')].map(box => box.offsetWidth)"
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    faults = []
    page.on("console", lambda message: faults.append(message.text))
    found = []
    for style in ("", hidden):
        page.set_content(f'<div id="cell" style="{style}">{explanation._repr_html_()}</div>')
        frame = page.frames[-1]
        frame.wait_for_selector("html[data-ready]", state="attached")
        page.evaluate("document.getElementById('cell').style = ''")
        frame.wait_for_selector(".node", state="visible")
        frame.wait_for_function("document.getElementById('graph').clientWidth > 500")
        page.wait_for_timeout(300)
        found.append((frame.evaluate(widths), frame.evaluate("state.zoom")))
        assert frame.evaluate(CLIPPED) == []
    assert found[0][0] == found[1][0]
    assert found[0][1] == pytest.approx(found[1][1], rel=0.05)
    page.close()
    assert faults == []


@needs_browser
def test_the_frame_of_a_notebook_works(browser):
    page = browser.new_page()
    faults = []
    page.on("console", lambda message: faults.append(message.text))
    page.set_content(mg.explain(expression()[0])._repr_html_())
    frame = page.frame_locator("iframe")
    frame.locator("#last").click()
    assert "1.269" in frame.locator('.node[data-value="0"]').inner_text()
    page.close()
    assert faults == []
