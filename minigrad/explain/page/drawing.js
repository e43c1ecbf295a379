// The graph on the screen: boxes, edges and the frames of open modules.

/**
 * @typedef {object} Drawn  a box
 * @property {HTMLButtonElement} element
 * @property {HTMLElement} value
 * @property {HTMLElement} gradient
 * @property {string} painted  what of it is shown
 */

class Drawing {
  /** @type {Map<Box, Drawn>} */
  #boxes = new Map();
  /** @type {Map<string, Element[]>} by what `edgeKey` says */
  #edges = new Map();
  /** @type {{ element: Element, label: Label }[]} */
  #labels = [];
  /** @type {Element[]} */
  #marked = [];

  /** What is laid out, anew. */
  draw() {
    const { boxes, frames, edges, labels, width, height } = state.layout;
    this.#boxes = new Map(boxes.map((box) => [box, build(box)]));
    this.#edges = new Map();
    this.#labels = labels.map((label) => ({ element: makeSvg("text", { x: label.x, y: label.y }), label }));
    for (const drawn of this.#boxes) paint(...drawn); // before it is attached: so the browser lays it out only once
    $("hulls").replaceChildren(...frames.map(hull));
    $("edges").replaceChildren(...edges.map((edge) => this.#edge(edge)), ...this.#labels.map(({ element }) => element));
    $("edges").setAttribute("width", String(width));
    $("edges").setAttribute("height", String(height));
    const buttons = [...this.#boxes].map(([box, { element }]) => ({ at: firstOf(box), element }));
    buttons.push(...frames.map((frame) => ({ at: frame.group.first - 0.5, element: foldButton(frame) })));
    $("boxes").replaceChildren(...buttons.sort((a, b) => a.at - b.at).map(({ element }) => element));
  }

  /** @param {Edge} edge */
  #edge({ path, tip, value, users }) {
    const element = makeSvg("path", { d: path, class: tip ? "tip" : "" });
    for (const o of users) {
      const key = edgeKey(value, o);
      const same = this.#edges.get(key);
      if (same) same.push(element);
      else this.#edges.set(key, [element]);
    }
    return element;
  }

  /** What is known at the position, and the operation at hand with its edges. */
  showPosition() {
    for (const drawn of this.#boxes) paint(...drawn);
    for (const { element, label } of this.#labels) {
      const text = flowingBack(label);
      if (element.textContent !== text) element.textContent = text;
    }
    for (const element of this.#marked) element.classList.remove("lit", "lit-value", "fresh");
    this.#marked = [];
    const step = stepTo(state.position);
    if (!step) return;
    if (step.operation === null) this.#mark(this.#elementOf(step.value), "lit");
    else {
      const { output, inputs } = operations[step.operation];
      const isForward = step.kind === "forward", name = isForward ? "lit-value" : "lit";
      this.#mark(this.#elementOf(output), name);
      for (const value of isForward ? inputs : [step.value]) {
        for (const edge of this.#edges.get(edgeKey(value, step.operation)) ?? []) this.#mark(edge, name);
      }
      if (step.kind === "add") this.#mark(this.#elementOf(step.value), "fresh");
    }
  }

  /** @type {(element: Element | undefined, name: string) => void} */
  #mark(element, name) {
    if (!element) return;
    element.classList.add(name);
    this.#marked.push(element);
  }

  showSelection() {
    const selected = selectedBox();
    for (const [box, { element }] of this.#boxes) {
      const is = state.group ? box.group === state.group : box === selected;
      element.classList.toggle("selected", is);
      element.setAttribute("aria-pressed", String(is));
    }
  }

  /** The ways that the gradient of a value has taken to get there. */
  showTraced() {
    const canvas = $("canvas"), { traced } = state;
    canvas.classList.toggle("tracing", false);
    for (const element of canvas.querySelectorAll(".traced")) element.classList.remove("traced");
    if (!traced || !gradientAt(traced.value, traced.position)) return;
    const found = new Set([traced.value]);
    for (const v of found) { // grows while it is walked
      for (const [o, k] of contributionsTo[v]) {
        if (happens[o][k].add > traced.position) continue;
        found.add(operations[o].output);
        for (const edge of this.#edges.get(edgeKey(v, o)) ?? []) edge.classList.add("traced");
      }
    }
    for (const v of found) this.#elementOf(v)?.classList.add("traced");
    for (const { element, label } of this.#labels) {
      element.classList.toggle("traced", found.has(label.value) && found.has(operations[label.operation].output));
    }
    canvas.classList.add("tracing");
  }

  showZoom() {
    const { zoom, layout: { width, height } } = state;
    const { clientWidth, clientHeight } = $("graph");
    $("canvas").style.transform = `scale(${zoom})`;
    Object.assign($("canvas").style, pixels({
      width, height, marginLeft: Math.max(0, (clientWidth - width * zoom) / 2),
      marginTop: Math.max(0, Math.min(48, (clientHeight - height * zoom) / 2)),
      marginRight: width * (zoom - 1), marginBottom: height * (zoom - 1),
    }));
  }

  /**
   * @param {number} v
   * @returns {HTMLElement | undefined}
   */
  #elementOf(v) {
    const box = state.layout.boxOf[v];
    return box ? this.#boxes.get(box)?.element : undefined;
  }

  /** @param {Box} box */
  focus(box) {
    this.#boxes.get(box)?.element.focus({ preventScroll: true });
  }
}

const drawing = new Drawing();

/** @type {(value: number, user: number) => string} */
const edgeKey = (value, user) => `${value}>${user}`;

/**
 * Where a box stands among those that Tab goes through.
 * @param {Box} box
 */
const firstOf = (box) => (box.group ? box.group.first : values[box.value].operation ?? -1);

// ---- boxes ----------------------------------------------------------------------------------------------------------

/**
 * @param {Box} box
 * @returns {Drawn}
 */
function build(box) {
  const kind = box.group ? "group" : values[box.value].kind;
  const name = make("span", { class: "title" }, make("b", {}, ...box.title.slice(0, -1)), box.title.at(-1));
  const [value, gradient] = box.panes.map((minWidth) => {
    const pane = make("span", { class: "pane" });
    Object.assign(pane.style, pixels({ minWidth }));
    return pane;
  });
  const element = make("button", {
    type: "button", class: `node ${kind}${box.wrong ? " wrong" : ""}`, "data-value": box.value,
    "data-module": box.group?.path, "data-group": box.group?.id,
    click: ({ target, detail }) => press(box, gradient.contains(target) ? target.dataset.at : undefined, detail === 0),
    dblclick: () => box.group && toggle(box.group),
    mouseenter: () => state.trace(box.value), mouseleave: () => state.trace(null),
    focus: (event) => event.target.matches(":focus-visible") && state.trace(box.value), blur: () => state.trace(null),
  }, name, make("span", { class: "panes" }, value, gradient));
  Object.assign(element.style, pixels({ width: box.width, height: box.height, left: box.x, top: box.y }));
  return { element, value, gradient, painted: "" };
}

/**
 * Show in a box what is known by now.
 * @param {Box} box
 * @param {Drawn} drawn
 */
function paint(box, drawn) {
  const { position } = state;
  const isKnown = knownAt[box.value] <= position;
  const gradient = gradientAt(box.value, position);
  const key = `${isKnown} ${gradient?.at}`;
  if (drawn.painted === key) return;
  drawn.painted = key;
  drawn.value.replaceChildren(
    make("span", { class: "caption" }, "value"), ...(isKnown ? inBox(values[box.value].array) : [absent("–")]));
  drawn.gradient.replaceChildren(
    make("span", { class: "caption" }, caption(box.value, gradient)),
    ...(gradient ? inBox(gradient.array) : [absent(absence(box.value))]));
  drawn.gradient.classList.toggle("partial", Boolean(gradient?.waiting));
  drawn.element.setAttribute("aria-label", spoken(box, position));
}

/** @param {Absence} text */
const absent = (text) => make("span", { class: text === "–" ? "absent" : "absent words", title: ABSENCE[text] }, text);

/**
 * An array as it stands in a box.
 * @param {number} a
 */
function inBox(a) {
  const array = arrays[a], { shape } = array;
  const numbers = fewNumbers(array);
  if (numbers) return [table(shape, numbers, (x, at) => make("span", { title: String(x), "data-at": at }, number(x)))];
  const written = make("span", { class: "caption" }, shape.join("×"));
  if (!array.map) return [written];
  const [width, height] = mapSize(array);
  return [make("img", { class: "thumb", src: array.map, width, height, alt: "" }), written];
}

// ---- frames and labels ----------------------------------------------------------------------------------------------

/** @param {Frame} frame */
function hull({ x, y, width, height }) {
  const element = make("div", { class: "hull" });
  Object.assign(element.style, pixels({ left: x, top: y, width, height }));
  return element;
}

/** @param {Frame} frame */
function foldButton({ group, x, y, width }) {
  const button = make("button", {
    type: "button", class: "unfolded", title: "Fold", "aria-expanded": "true",
    "data-module": group.path, "data-group": group.id, click: () => toggle(group),
    "aria-label": `Fold module ${group.path}, ${plural(group.members.length, "operation")}`,
  }, `▾ ${group.path}`);
  Object.assign(button.style, pixels({ left: x + 6, top: y + 4, maxWidth: width - 12 }));
  return button;
}

/**
 * The numbers that have flowed back along an edge by now.
 * @param {Label} label
 */
function flowingBack({ value, operation }) {
  const texts = operations[operation].contributions.flatMap((c, k) => {
    const only = onlyNumber(c.array);
    return c.to === value && happens[operation][k].pull <= state.position && only !== null ? [number(only)] : [];
  });
  return texts.length ? `↑ ${texts.join(" + ")}` : "";
}
