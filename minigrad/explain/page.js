"use strict";
// The page: what is known at each position of the timeline, the layout of the graph, its boxes, what is said beside it,
// and the controls. All text of the recording becomes text nodes, never markup.

const { values, operations, steps, arrays, whys, output } = JSON.parse(document.getElementById("data").textContent);
const MOST_UNFOLDED = 500; // operations; beyond that modules start folded
const MOST_BOXES = 60; // that are then shown
const BEAT = 1100; // milliseconds of a step while playing

const $ = (id) => document.getElementById(id);
const state = { position: 0, value: null, group: null, why: null, folded: new Set(), zoom: 1, playing: 0 };

// ---- small tools ----------------------------------------------------------------------------------------------------

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== false && value != null) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child != null && child !== false));
  return element;
}

function drawn(tag, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

const WORDS = new Map([["nan", "NaN"], ["inf", "∞"], ["-inf", "−∞"]]);

/** A number to four digits. */
function number(x) {
  if (typeof x !== "number") return WORDS.get(x) ?? String(x);
  const size = Math.abs(x);
  const short = Number.isInteger(x) && size < 1e6 ? String(x)
    : size >= 1e-4 && size < 1e6 ? String(Number(x.toPrecision(4)))
    : x.toExponential(3).replace(/\.?0+e/, "e").replace("e+", "e");
  return short.replaceAll("-", "−");
}

const shapeOf = (array) => (array.shape.length ? array.shape.join(" × ") : "a number");
const entry = (name, index) => (index.length ? `${name}[${index.join(", ")}]` : name);
const tail = (text, room) => (text.length <= room ? text : "…" + text.slice(1 - room));
const cut = (text, room) => (text.length <= room ? text : text.slice(0, room - 1) + "…");
/** Of a parameter's path its end; the modules around it are to be seen. */
const brief = (name) => tail(name.split(".").slice(-2).join("."), 34);
const plural = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;

/** Where the entry with this number lies in an array of this shape. */
function indexOf(at, shape) {
  const index = [];
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    index.unshift(at % shape[axis]);
    at = Math.floor(at / shape[axis]);
  }
  return index;
}

// ---- what is known when ---------------------------------------------------------------------------------------------

const knownAt = values.map((v) => (v.operation === null ? 0 : Infinity)); // the position from which a value is known
const arrivals = values.map(() => []); // of gradients: {at, array, waiting}
const happens = operations.map((o) => o.contributions.map(() => ({}))); // when each share is pulled, summed, added
const given = values.map(() => []); // the contributions that each value gets: [operation, number]
const uses = values.map(() => []); // the operations that use each value, once for each input

function readTimeline() {
  operations.forEach((o, i) => {
    for (const input of o.inputs) uses[input.value].push(i);
  });
  steps.forEach((step, i) => {
    const at = i + 1;
    if (step.kind === "forward") knownAt[step.value] = at;
    else if (step.kind === "start" || step.kind === "hook") {
      arrivals[step.value].push({ at, array: step.array, waiting: 0 });
    } else {
      const c = operations[step.operation].contributions[step.contribution];
      happens[step.operation][step.contribution][step.kind] = at;
      if (step.kind === "add") {
        arrivals[step.value].push({ at, array: c.total, waiting: c.waiting });
        given[step.value].push([step.operation, step.contribution]);
      }
    }
  });
}

/** The gradient as it is at this position: {array, waiting}, or null where none has arrived. */
function gradientOf(v, position = state.position) {
  return arrivals[v].findLast((arrival) => arrival.at <= position) ?? null;
}

const isKnown = (v, position = state.position) => knownAt[v] <= position;

/** Why there is no gradient to be seen. */
function absence(v) {
  if (values[v].kind === "constant") return "not wanted";
  return arrivals[v].length ? "–" : "none comes";
}

const ABSENCE = {
  "–": "not computed yet", "not wanted": "no gradient is wanted", "none comes": "no gradient comes here",
};

// ---- modules --------------------------------------------------------------------------------------------------------

/** The tree of the modules: runs of operations, for a module that is called twice has two boxes. */
function moduleTree() {
  const root = { path: "", id: "", children: [], start: 0 };
  const open = [root];
  operations.forEach((o, i) => {
    const names = o.module ? o.module.split(".") : [];
    let shared = 0;
    while (shared < names.length && open[shared + 1]?.name === names[shared]) shared++;
    open.length = shared + 1;
    for (const name of names.slice(shared)) {
      const parent = open.at(-1);
      const path = parent.path ? `${parent.path}.${name}` : name;
      const group = { name, path, id: `${path}@${i}`, children: [], start: i };
      parent.children.push(group);
      open.push(group);
    }
    open.at(-1).children.push(i);
  });
  return pruned(root);
}

/** Without modules of one operation, and without those that hold nothing but one other. */
function pruned(group) {
  group.children = group.children.flatMap((child) => {
    if (typeof child === "number") return [child];
    const kept = pruned(child);
    return kept.children.length > 1 ? [kept] : kept.children;
  });
  group.members = group.children.flatMap((child) => (typeof child === "number" ? [child] : child.members));
  return group;
}

let root = null;
const groups = new Map(); // by id
const chains = operations.map(() => []); // of each operation, the modules around it, outermost first

function readModules(group, chain) {
  if (group !== root) groups.set(group.id, group);
  for (const child of group.children) {
    if (typeof child === "number") chains[child] = chain;
    else readModules(child, [...chain, child]);
  }
}

/** Of a large graph, unfold the outer modules as long as the boxes are few. */
function foldAtFirst() {
  state.folded = new Set(groups.keys());
  let boxes = root.children.length;
  const level = [root];
  for (const group of level) { // grows while it is walked
    if (group !== root && boxes + group.children.length - 1 > MOST_BOXES) continue;
    if (group !== root) boxes += group.children.length - 1;
    state.folded.delete(group.id);
    level.push(...group.children.filter((child) => typeof child !== "number"));
  }
}

const foldedAround = (o) => chains[o].find((group) => state.folded.has(group.id)) ?? null;

// ---- the text in a box ----------------------------------------------------------------------------------------------

let letter = 7.2; // the width of one

const isFew = (array) => array.numbers !== undefined && array.numbers.length <= 12 && (array.shape.at(-1) ?? 1) <= 4;

/** How an array is drawn in a box: its size, with room for every text that will stand there. */
function room(versions) {
  const array = arrays[versions[0]];
  if (!isFew(array)) return { width: 78, height: thumbSize(array)[1] + 19 };
  const columns = array.shape.at(-1) ?? 1;
  const rows = columns ? array.numbers.length / columns : 1;
  let width = 0;
  for (let column = 0; column < columns; column++) {
    const texts = versions.flatMap((a) => arrays[a].numbers.filter((_, i) => i % columns === column));
    width += Math.max(...texts.map((x) => number(x).length), 1) * letter + 10;
  }
  return { width: Math.max(width - 10, 36), height: Math.max(rows, 1) * 17 };
}

function thumbSize(array) {
  const columns = array.shape.at(-1) ?? 1;
  const rows = columns ? array.shape.reduce((a, b) => a * b, 1) / columns : 1;
  return columns >= rows ? [72, Math.max(10, Math.min(44, Math.round((72 * rows) / columns)))]
    : [Math.max(26, Math.round((44 * columns) / rows)), 44]; // a very long one would be too thin to be seen
}

/** The array as it stands in a box. */
function small(a) {
  const array = arrays[a];
  if (!isFew(array) && array.map) {
    const [width, height] = thumbSize(array);
    const image = make("img", { class: "thumb", src: array.map, width, height, alt: "" });
    return [image, make("span", { class: "caption" }, array.shape.join("×"))];
  }
  if (!isFew(array)) return [make("span", { class: "caption" }, array.shape.join("×"))];
  return [table(array, (x, at) => make("span", { title: String(x), "data-at": at }, number(x)))];
}

/** Numbers in rows and columns, with space between matrices; a long vector in several rows. */
function table(array, cell) {
  const columns = array.shape.length === 1 ? Math.min(array.shape[0], 4) : (array.shape.at(-1) ?? 1);
  const grid = make("span", { class: "grid" });
  grid.style.gridTemplateColumns = `repeat(${Math.max(columns, 1)}, auto)`;
  const matrix = array.shape.length > 2 ? array.shape.at(-1) * array.shape.at(-2) : Infinity;
  array.numbers.forEach((x, at) => {
    const element = cell(x, at);
    if (at >= matrix && at % matrix < columns) element.classList.add("apart");
    grid.append(element);
  });
  return grid;
}

// ---- boxes ----------------------------------------------------------------------------------------------------------

/** A box shows one value, of a folded module the last one: {value, group, title, element, width, height}. */
function newBox(value, group) {
  const v = values[value];
  const called = v.operation === null ? "" : ` = ${operations[v.operation].call}`;
  const title = group ? [tail(group.path, 36), `  ${plural(group.members.length, "operation")}`]
    : [brief(v.name), cut(called, Math.max(38 - v.name.length, 14))];
  const parts = [room([v.array]), room(arrivals[value].length ? arrivals[value].map((a) => a.array) : [v.array])];
  if (!arrivals[value].length) parts[1] = { width: 62, height: 17 };
  const width = Math.max(title.join("").length * letter, parts[0].width + parts[1].width + 18, 96);
  return {
    value, group, title, pull: v.operation === null ? 0.1 : 1,
    width: Math.ceil(width) + 22, height: Math.max(parts[0].height, parts[1].height) + 52, panes: parts,
  };
}

function build(box) {
  const kind = box.group ? "group" : values[box.value].kind;
  const name = make("span", { class: "title" }, make("b", {}, box.title[0]), box.title[1]);
  box.shown = make("span", { class: "pane" });
  box.gradient = make("span", { class: "pane" });
  box.element = make("button", {
    type: "button", class: `node ${kind}`, "data-value": box.value,
    "data-module": box.group?.path, "data-group": box.group?.id,
    click: (event) => press(box, event.target),
    dblclick: () => box.group && toggle(box.group),
    mouseenter: () => trace(box.value), mouseleave: () => trace(null),
    focus: (event) => event.target.matches(":focus-visible") && trace(box.value), blur: () => trace(null),
  }, name, make("span", { class: "panes" }, box.shown, box.gradient));
  Object.assign(box.element.style, { width: `${box.width}px`, height: `${box.height}px` });
  [box.shown, box.gradient].forEach((pane, i) => (pane.style.minWidth = `${box.panes[i].width}px`));
  box.painted = null;
  return box.element;
}

/** A box opens its details, a number of a finished gradient in it its why. */
function press(box, target) {
  const gradient = gradientOf(box.value);
  if (box.group) select({ group: box.group });
  else if (target.dataset.at && box.gradient.contains(target) && !gradient.waiting) {
    select({ why: { value: box.value, index: indexOf(Number(target.dataset.at), arrays[gradient.array].shape) } });
  } else select({ value: box.value });
}

/** Show in a box what is known by now. */
function paint(box) {
  const known = isKnown(box.value);
  const gradient = gradientOf(box.value);
  const key = `${known} ${gradient?.at}`;
  if (box.painted === key) return;
  box.painted = key;
  const none = absence(box.value);
  const missing = (text) =>
    make("span", { class: text === "–" ? "absent" : "absent words", title: ABSENCE[text] }, text);
  box.shown.replaceChildren(
    make("span", { class: "caption" }, "value"), ...(known ? small(values[box.value].array) : [missing("–")]));
  const caption = gradient?.waiting ? `gradient, waits for ${gradient.waiting}` : "gradient";
  box.gradient.replaceChildren(
    make("span", { class: "caption" }, caption), ...(gradient ? small(gradient.array) : [missing(none)]));
  box.gradient.classList.toggle("partial", Boolean(gradient?.waiting));
  box.element.setAttribute("aria-label", spoken(box, known, gradient, none));
}

const said = (array) =>
  array.numbers?.length === 1 ? number(array.numbers[0]) : `${array.shape.join(" by ")} numbers`;

function spoken(box, known, gradient, none) {
  const v = values[box.value];
  const made = v.operation === null ? v.kind : `${operations[v.operation].rule} of `
    + operations[v.operation].inputs.map((input) => values[input.value].name).join(" and ");
  const parts = box.group ? [`module ${box.group.path}, folded, ${plural(box.group.members.length, "operation")}`]
    : [`${v.name}, ${made}`];
  parts.push(known ? `value ${said(arrays[v.array])}` : "value not computed yet");
  if (gradient) parts.push(`gradient ${said(arrays[gradient.array])}`);
  else parts.push(none === "–" ? "gradient not computed yet" : ABSENCE[none]);
  if (gradient?.waiting) parts.push(`waits for ${gradient.waiting} more`);
  return parts.join(", ");
}

// ---- layout ---------------------------------------------------------------------------------------------------------
// Sugiyama's, for each open module on its own: inside it cells stand in layers, each below all that it depends on, and
// an edge from or to the outside passes through a port. In the layout around it the module is one cell.

const GAP = 30, BETWEEN = 46, PORT_GAP = 18, HEAD = 32, PAD = 16;

let boxes = new Map(); // by what they show: a value's number, or a module's id
let boxOf = []; // of each value the box that shows it, if any

function chooseBoxes() {
  boxes = new Map();
  boxOf = values.map(() => null);
  const add = (key, box) => (boxes.has(key) || boxes.set(key, box()), boxes.get(key));
  operations.forEach((o, i) => {
    const fold = foldedAround(i);
    const box = fold ? add(fold.id, () => newBox(operations[fold.members.at(-1)].output, fold))
      : add(o.output, () => newBox(o.output, null));
    for (const input of o.inputs) addStart(input.value, fold, add);
    boxOf[o.output] = box;
  });
  if (!operations.length) boxOf[output] = add(output, () => newBox(output, null));
}

/** Box a leaf or an array of constants, unless it is a parameter that only a folded module uses. */
function addStart(v, fold, add) {
  if (boxOf[v] || values[v].operation !== null) return;
  if (values[v].kind === "constant" && !arrays[values[v].array].shape.length) return;
  const inside = fold && values[v].kind === "leaf" && uses[v].every((o) => foldedAround(o) === fold);
  boxOf[v] = inside ? boxes.get(fold.id) : add(v, () => newBox(v, null));
}

/** The innermost open module that holds all uses of a leaf. */
function homeOf(v) {
  const around = uses[v].map((o) => {
    const fold = foldedAround(o);
    return fold ? chains[o].slice(0, chains[o].indexOf(fold)) : chains[o];
  });
  let depth = 0;
  while (around[0]?.[depth] && around.every((chain) => chain[depth] === around[0][depth])) depth++;
  return around[0]?.[depth - 1] ?? root;
}

function layOut(group, homes) {
  const level = { group, cells: [], nets: new Map(), cellOf: new Map() };
  const newCell = (of) => {
    const cell = { x: 0, y: 0, layer: 0, up: [], down: [], pull: 1, ...of };
    level.cells.push(cell);
    return cell;
  };
  for (const child of group.children) addChild(level, child, newCell, homes);
  connect(level, newCell);
  return place(level);
}

function addChild(level, child, newCell, homes) {
  const members = typeof child === "number" ? [child] : child.members;
  for (const o of members) {
    for (const { value } of operations[o].inputs) {
      if (homes.get(value) !== level.group || level.cellOf.has(`v${value}`)) continue;
      const box = boxOf[value];
      level.cellOf.set(`v${value}`, newCell({ box, width: box.width, height: box.height, pull: 0.1 }));
    }
  }
  const open = typeof child !== "number" && !state.folded.has(child.id);
  const inner = open ? layOut(child, homes) : null;
  const box = inner ? null : boxOf[operations[members[0]].output];
  const cell = newCell({ box, inner, width: (inner ?? box).width, height: (inner ?? box).height });
  for (const o of members) level.cellOf.set(o, cell);
}

/** The nets of a level: of each value the cell that it comes from and those that it goes to. */
function connect(level, newCell) {
  const members = level.group.members;
  const inside = new Set(members);
  const ends = [];
  for (const o of members) {
    const to = level.cellOf.get(o);
    for (const { value } of operations[o].inputs) {
      const from = sourceOf(level, value, inside, newCell);
      if (!from || from === to) continue;
      const net = netOf(level, value, from);
      if (!net.to.has(to)) net.to.set(to, { cell: to, slots: [], operations: new Set() });
      const target = net.to.get(to);
      target.operations.add(o);
      if (to.box && !to.box.group) target.slots.push(o);
      else target.slots = [o];
    }
    const made = operations[o].output;
    const leaves = uses[made].filter((user) => !inside.has(user));
    if (leaves.length) ends.push([made, to, leaves]);
  }
  for (const [made, from, leaves] of ends) {
    const port = newCell({ port: "exit", value: made, width: 12, height: 0 });
    netOf(level, made, from).to.set(port, { cell: port, slots: [leaves[0]], operations: new Set(leaves) });
  }
}

function netOf(level, value, from) {
  if (!level.nets.has(value)) level.nets.set(value, { value, from, to: new Map() });
  return level.nets.get(value);
}

function sourceOf(level, value, inside, newCell) {
  const made = values[value].operation;
  if (made !== null && inside.has(made)) return level.cellOf.get(made);
  if (level.cellOf.has(`v${value}`)) return level.cellOf.get(`v${value}`);
  const box = boxOf[value];
  if (!box || (made === null && box.group) || level.group === root) return null;
  if (made === null && homesInside(level.group, value)) return null;
  const port = newCell({ port: "entry", value, width: 12, height: 0 });
  level.cellOf.set(`v${value}`, port);
  return port;
}

/** Whether the leaf stands in a module within this one. */
const homesInside = (group, value) => group.members.length >= uses[value].length
  && uses[value].every((o) => chains[o].includes(group));

const offset = (cell, side, value) => (cell.inner ? cell.inner[side].get(value) - cell.width / 2 : 0);

function place(level) {
  assignLayers(level);
  const layers = lead(level);
  order(layers);
  return measure(level, layers);
}

function assignLayers(level) {
  const into = new Map(level.cells.map((cell) => [cell, []]));
  const out = new Map(level.cells.map((cell) => [cell, []]));
  for (const net of level.nets.values()) {
    for (const { cell } of net.to.values()) {
      into.get(cell).push(net.from);
      out.get(net.from).push(cell);
    }
  }
  const sorted = [...level.cells].sort((a, b) => (b.port === "entry") - (a.port === "entry"));
  const entries = level.cells.some((cell) => cell.port === "entry") ? 1 : 0;
  for (const cell of sorted) {
    cell.layer = Math.max(cell.port === "entry" ? 0 : entries, ...into.get(cell).map((above) => above.layer + 1));
  }
  for (const cell of [...sorted].reverse()) {
    if (!cell.port && !into.get(cell).length && out.get(cell).length) {
      cell.layer = Math.min(...out.get(cell).map((below) => below.layer)) - 1;
    }
  }
  const last = Math.max(...level.cells.map((cell) => (cell.port === "exit" ? 0 : cell.layer)));
  for (const cell of level.cells) if (cell.port === "exit") cell.layer = last + 1;
}

/** Lead long edges through the layers between, one way for all edges of a value; returns the layers. */
function lead(level) {
  const layers = Array.from({ length: Math.max(...level.cells.map((cell) => cell.layer), 0) + 1 }, () => []);
  for (const cell of level.cells) layers[cell.layer].push(cell);
  for (const net of level.nets.values()) {
    const deepest = Math.max(...[...net.to.values()].map((target) => target.cell.layer));
    net.way = [net.from];
    for (let layer = net.from.layer + 1; layer < deepest; layer++) {
      const bend = { bend: true, x: 0, y: 0, width: 12, height: 0, layer, up: [], down: [], pull: 0.2 };
      link(net.way.at(-1), bend, net.value);
      net.way.push(bend);
      layers[layer].push(bend);
    }
    for (const { cell } of net.to.values()) link(net.way[cell.layer - net.from.layer - 1], cell, net.value);
  }
  return layers;
}

function link(above, below, value) {
  const shift = offset(above, "exit", value) - offset(below, "entry", value);
  below.up.push([above, shift]);
  above.down.push([below, -shift]);
}

function order(layers) {
  layers.forEach(spread);
  for (let sweep = 0; sweep < 12; sweep++) {
    const near = sweep % 2 ? "down" : "up";
    for (const layer of sweep % 2 ? [...layers].reverse() : layers) {
      for (const cell of layer) {
        const weight = cell[near].reduce((all, [other]) => all + other.pull, 0);
        const moment = cell[near].reduce((all, [other, shift]) => all + other.pull * (other.x + shift), 0);
        if (weight) cell.x = moment / weight;
      }
      if (sweep < 8) layer.sort((a, b) => a.x - b.x);
      spread(layer);
    }
  }
}

/** Move apart what overlaps, in this order; the one that pulls strongest stays where it is. */
function spread(layer) {
  const apart = (i) => {
    const [a, b] = [layer[i - 1], layer[i]];
    return (a.width + b.width) / 2 + (a.bend && b.bend ? 6 : GAP);
  };
  let middle = 0;
  layer.forEach((cell, i) => (middle = cell.pull > layer[middle].pull ? i : middle));
  for (let i = middle + 1; i < layer.length; i++) layer[i].x = Math.max(layer[i].x, layer[i - 1].x + apart(i));
  for (let i = middle; i > 0; i--) layer[i - 1].x = Math.min(layer[i - 1].x, layer[i].x - apart(i));
}

/** Heights and sides; returns the level as what stands around it needs it. */
function measure(level, layers) {
  const all = layers.flat();
  const left = Math.min(...all.map((cell) => cell.x - cell.width / 2));
  const label = level.group === root ? 0 : level.group.path.length * 7.2 + 40;
  const inner = Math.max(...all.map((cell) => cell.x + cell.width / 2)) - left;
  const width = Math.max(inner + 2 * PAD, label);
  let y = level.group === root ? PAD : HEAD;
  const bands = layers.map((layer) => {
    const height = Math.max(...layer.map((cell) => cell.height));
    const band = { top: y, bottom: y + height };
    y += height + (height ? BETWEEN : PORT_GAP);
    return band;
  });
  const bottom = bands.at(-1).bottom;
  for (const cell of all) {
    cell.x += (width - inner) / 2 - left;
    cell.y = (bands[cell.layer].top + bands[cell.layer].bottom) / 2;
  }
  const ports = (kind) => new Map(level.cells.filter((cell) => cell.port === kind).map((cell) => [cell.value, cell.x]));
  return { level, bands, width, height: bottom + PAD, entry: ports("entry"), exit: ports("exit") };
}

// ---- drawing the layout ---------------------------------------------------------------------------------------------

let edges = new Map(); // "value>operation" to what is drawn of that edge
let labels = []; // of the numbers that flow back: {element, value, operation}

function drawLevel(placed, x, y, into) {
  const { level, bands } = placed;
  if (level.group !== root) into.hulls.push(hull(level.group, placed, x, y));
  const arriving = arrivalsOf(level);
  for (const cell of level.cells) {
    if (cell.inner) drawLevel(cell.inner, x + cell.x - cell.width / 2, y + cell.y - cell.height / 2, into);
    else if (cell.box) {
      cell.box.x = x + cell.x - cell.width / 2;
      cell.box.y = y + cell.y - cell.height / 2;
      const element = build(cell.box);
      paint(cell.box); // before it is attached, so that the browser has to lay it out once only
      Object.assign(element.style, { left: `${cell.box.x}px`, top: `${cell.box.y}px` });
      into.boxes.push([cell.box.group ? cell.box.group.start : values[cell.box.value].operation, element]);
    }
  }
  for (const net of level.nets.values()) drawNet(net, placed, bands, arriving, x, y, into);
}

function hull(group, placed, x, y) {
  const element = make("div", { class: "hull" });
  const { width, height } = placed;
  Object.assign(element.style, { left: `${x}px`, top: `${y}px`, width: `${width}px`, height: `${height}px` });
  const button = make("button", {
    type: "button", class: "unfolded", title: "Fold", "aria-expanded": "true",
    "data-module": group.path, "data-group": group.id, click: () => toggle(group),
    "aria-label": `Fold module ${group.path}, ${plural(group.members.length, "operation")}`,
  }, `▾ ${group.path}`);
  Object.assign(button.style, { left: `${x + 6}px`, top: `${y + 4}px`, maxWidth: `${width - 12}px` });
  return { element, button, start: group.start };
}

/** Where along the top of each cell the edges arrive: from left to right as they come. */
function arrivalsOf(level) {
  const found = new Map(level.cells.map((cell) => [cell, []]));
  for (const net of level.nets.values()) {
    for (const target of net.to.values()) {
      const before = net.way[target.cell.layer - net.from.layer - 1];
      for (let slot = 0; slot < target.slots.length; slot++) {
        found.get(target.cell).push({ net, slot, from: before.x + offset(before, "exit", net.value) });
      }
    }
  }
  for (const list of found.values()) list.sort((a, b) => a.from - b.from);
  return found;
}

function drawNet(net, placed, bands, arriving, x, y, into) {
  const through = net.way.map(() => new Set());
  for (const target of net.to.values()) {
    for (let i = 1; i < target.cell.layer - net.from.layer; i++) target.operations.forEach((o) => through[i].add(o));
  }
  for (let i = 1; i < net.way.length; i++) {
    addEdge(net, wayTo(net, i, net.way[i].x, bands, x, y) + `V${y + bands[net.way[i].layer].bottom}`, through[i], into);
  }
  for (const target of net.to.values()) {
    const list = arriving.get(target.cell);
    const step = Math.min(34, (target.cell.width - 30) / Math.max(list.length, 1));
    list.forEach((arrival, i) => {
      if (arrival.net !== net) return;
      const aside = target.cell.inner ? offset(target.cell, "entry", net.value)
        : target.cell.port ? 0 : step * (i - (list.length - 1) / 2);
      arrive(net, target, target.cell.x + aside, bands, placed, x, y, into);
    });
    if (target.cell.box && !target.cell.box.group) addLabel(net, target, bands, x, y, into);
  }
}

/** The path from what comes before the i-th layer of a net, straight past its own layer and then over to x. */
function wayTo(net, i, toX, bands, x, y) {
  const before = net.way[i - 1];
  const fromX = x + before.x + offset(before, "exit", net.value);
  const start = before.port ? y : y + before.y + before.height / 2;
  const bottom = y + bands[before.layer].bottom;
  const top = y + bands[net.from.layer + i].top;
  const middle = (bottom + top) / 2;
  const from = before.bend ? bottom : start;
  return `M${fromX} ${from}V${bottom}C${fromX} ${middle} ${x + toX} ${middle} ${x + toX} ${top}`;
}

function arrive(net, target, toX, bands, placed, x, y, into) {
  const cell = target.cell;
  const end = cell.port ? y + placed.height : y + cell.y - cell.height / 2;
  addEdge(net, wayTo(net, cell.layer - net.from.layer, toX, bands, x, y) + `V${end}`, target.operations, into);
  if (!cell.port && !cell.inner) {
    addEdge(net, `M${x + toX} ${end}l-4 -7h8z`, target.operations, into, "tip");
  }
}

function addEdge(net, d, users, into, kind = "") {
  const element = drawn("path", { d, class: kind });
  into.edges.push(element);
  for (const o of users) {
    const key = `${net.value}>${o}`;
    if (!edges.has(key)) edges.set(key, []);
    edges.get(key).push(element);
  }
}

/** Room for the numbers that flow back along an edge, where there is one number each. */
function addLabel(net, target, bands, x, y, into) {
  const [o] = target.operations;
  const all = operations[o].contributions.filter((c) => c.to === net.value);
  if (!all.length || all.some((c) => arrays[c.array].numbers?.length !== 1)) return;
  const before = net.way[target.cell.layer - net.from.layer - 1];
  const middle = (bands[target.cell.layer - 1].bottom + bands[target.cell.layer].top) / 2;
  const fromX = before.x + offset(before, "exit", net.value);
  const element = drawn("text", { x: x + (fromX * 0.6 + target.cell.x * 0.4), y: y + middle + 4 });
  labels.push({ element, value: net.value, operation: o });
  into.labels.push(element);
}

let size = { width: 0, height: 0 };

function draw() {
  chooseBoxes();
  edges = new Map();
  labels = [];
  const homes = new Map();
  values.forEach((v, i) => v.operation === null && boxOf[i] && !boxOf[i].group && homes.set(i, homeOf(i)));
  const into = { hulls: [], edges: [], labels: [], boxes: [] };
  if (operations.length) {
    const placed = layOut(root, homes);
    size = { width: placed.width, height: placed.height };
    drawLevel(placed, 0, 0, into);
  } else drawAlone(into);
  $("hulls").replaceChildren(...into.hulls.map((h) => h.element));
  $("edges").replaceChildren(...into.edges, ...into.labels);
  for (const [name, value] of Object.entries(size)) $("edges").setAttribute(name, value);
  const inOrder = [...into.boxes, ...into.hulls.map((h) => [h.start - 0.5, h.button])];
  $("boxes").replaceChildren(...inOrder.sort((a, b) => (a[0] ?? -1) - (b[0] ?? -1)).map(([, element]) => element));
  outline();
  zoomTo(state.zoom);
}

function drawAlone(into) {
  const box = boxOf[output];
  const element = build(box);
  Object.assign(element.style, { left: `${PAD}px`, top: `${PAD}px` });
  size = { width: box.width + 2 * PAD, height: box.height + 2 * PAD };
  into.boxes.push([0, element]);
  Object.assign(box, { x: PAD, y: PAD });
}

// ---- showing a position ---------------------------------------------------------------------------------------------

function show() {
  for (const box of boxes.values()) paint(box);
  for (const label of labels) paintLabel(label);
  light();
  showPlayer();
  showNow();
  showDetails();
  showWhy();
}

/** Write along an edge the numbers that have flowed back by now. */
function paintLabel({ element, value, operation }) {
  const texts = operations[operation].contributions.flatMap((c, k) =>
    c.to === value && happens[operation][k].pull <= state.position ? [number(arrays[c.array].numbers[0])] : []);
  const text = texts.length ? `↑ ${texts.join(" + ")}` : "";
  if (element.textContent !== text) element.textContent = text;
}

const stepAt = (position) => (position ? steps[position - 1] : null);
let lit = [];

/** Mark the operation at hand, and its edges. */
function light() {
  for (const element of lit) element.classList.remove("lit", "lit-value", "fresh");
  lit = [];
  const mark = (element, name) => element && (element.classList.add(name), lit.push(element));
  const step = stepAt(state.position);
  if (!step) return;
  const o = operations[step.operation];
  if (step.kind === "forward") {
    mark(boxOf[o.output]?.element, "lit-value");
    for (const { value } of o.inputs) {
      for (const e of edges.get(`${value}>${step.operation}`) ?? []) mark(e, "lit-value");
    }
  } else if (o) {
    mark(boxOf[o.output]?.element, "lit");
    for (const e of edges.get(`${step.value}>${step.operation}`) ?? []) mark(e, "lit");
    if (step.kind === "add") mark(boxOf[step.value]?.element, "fresh");
  } else mark(boxOf[step.value]?.element, "lit");
}

/** What happens in a step, in a few words. */
function words(step) {
  if (!step) return "nothing has been computed yet";
  const name = brief(values[step.value].name);
  const o = operations[step.operation];
  const c = o?.contributions?.[step.contribution];
  switch (step.kind) {
    case "forward": return `${o.rule} gives ${name}`;
    case "start": return `the gradient of ${name} is given`;
    case "pull": return `${o.rule} gives ${name} its share`;
    case "sum": return `the share of ${name} is summed over ${axes(c)}`;
    case "hook": return `hooks change the gradient of ${name}`;
    default: return arriving(name, c, given[step.value].length);
  }
}

function arriving(name, c, parts) {
  if (parts === 1) return `${name} has its gradient`;
  if (!c.waiting) return `the last share arrives at ${name}`;
  return `a share arrives at ${name}, which waits for ${c.waiting} more`;
}

const axes = (c) => `${c.axes.length > 1 ? "axes" : "axis"} ${c.axes.join(", ")}`;

function showPlayer() {
  const step = stepAt(state.position);
  const phase = step ? (step.kind === "forward" ? "forward" : "backward") : "start";
  const count = `Step ${state.position} of ${steps.length} · ${phase}: `;
  $("sentence").replaceChildren(make("span", { class: "count" }, count), words(step));
  $("sentence").title = words(step);
  $("slider").value = state.position;
  $("slider").setAttribute("aria-valuetext", count + words(step));
  for (const id of ["first", "back"]) $(id).setAttribute("aria-disabled", state.position === 0);
  for (const id of ["forward", "last"]) $(id).setAttribute("aria-disabled", state.position === steps.length);
}

// ---- arrays, at length ----------------------------------------------------------------------------------------------

/** A gradient with a label; of: as below. */
const gradientShown = (a, label, of = null) => shown(a, label, { gradient: true, of });

/** An array with a label. of: the value whose finished gradient it is, so that its numbers open their why. */
function shown(a, label, { gradient = false, of = null } = {}) {
  const array = arrays[a];
  const wide = array.shape.length > 1 && array.shape.at(-1) > 5;
  const element = make("div", { class: ["array", gradient && "gradient", wide && "wide"].filter(Boolean).join(" ") });
  element.append(array.numbers ? numbersOf(array, of) : picture(array, of));
  return make("div", { class: "term" }, make("span", { class: "label" }, label), element);
}

function numbersOf(array, of) {
  if (!array.numbers.length) return make("span", { class: "absent" }, `empty, ${shapeOf(array)}`);
  return table(array, (x, at) => {
    if (of === null) return make("span", { class: "number", title: String(x) }, number(x));
    const index = indexOf(at, array.shape);
    return make("button", {
      type: "button", class: "number", title: `${x}: why?`, "data-index": index.join(","),
      "aria-label": `why is ${entry(`${values[of].name}.grad`, index)} ${number(x)}`,
      click: () => select({ why: { value: of, index } }),
    }, number(x));
  });
}

function picture(array, of) {
  const [width, height] = thumbSize(array);
  const { min, mean, max, norm, zeros, non_finite } = array.summary;
  const share = (x) => (x ? `${number(100 * x)} %` : "none");
  const rows = { min, mean, max, norm, "zeros": share(zeros), "not finite": share(non_finite) };
  return make("figure", {},
    make("img", {
      class: "thumb", src: array.map, width: width * 2, height: height * 2, alt: `heat map, ${shapeOf(array)}`,
    }),
    make("dl", { class: "stats" }, ...Object.entries(rows).filter(([, x]) => x !== undefined).map(([name, x]) =>
      make("div", {}, make("dt", {}, name), make("dd", { title: String(x) }, typeof x === "number" ? number(x) : x)))),
    of !== null && whys[of] && make("div", {}, make("span", { class: "label" }, "its largest entries"),
      ...whys[of].map((w) => make("div", {}, make("button", {
        type: "button", class: "link", click: () => select({ why: { value: of, index: w.index } }),
      }, `${entry("", w.index)} = ${number(w.real)}`)))));
}

const missing = (label, text = "–") => make("div", { class: "term" }, make("span", { class: "label" }, label),
  make("span", { class: "absent", title: ABSENCE[text] }, text === "–" ? "– not yet" : text));
const sign = (text) => make("span", { class: "sign", "aria-hidden": "true" }, text);
const sum = (...parts) => make("div", { class: "sum" }, ...parts);
const toValue = (v, text = values[v].name) =>
  make("button", { type: "button", class: "link", click: () => select({ value: v }) }, text);
const toClose = (what, act) =>
  make("button", { type: "button", class: "close", "aria-label": `Close ${what}`, click: act }, "✕");

function source(o) {
  if (!o.source && !o.module) return null;
  return make("div", { class: "source" },
    o.code && make("pre", {}, o.code), make("p", {}, [o.source, o.module].filter(Boolean).join(" · ")));
}

// ---- what happens now -----------------------------------------------------------------------------------------------

function showNow() {
  const step = stepAt(state.position);
  const o = step && operations[step.operation];
  const head = make("h2", {}, words(step));
  const when = !step ? "Before the first step" : step.kind === "forward" ? "Forward" : "Backward";
  const more = step ? happening(step, o) : [
    make("p", {}, "Leaves and constants are there; all else is still to come. → makes a step, space plays."),
  ];
  $("now").replaceChildren(...[
    make("p", { class: "kicker" }, when), head, o && make("p", { class: "formula" }, o.formula), ...more,
    o && source(o),
  ].filter(Boolean));
}

function happening(step, o) {
  const c = o?.contributions?.[step.contribution];
  const name = values[step.value].name;
  switch (step.kind) {
    case "forward":
      return [sum(...o.inputs.map(({ value }) => shown(values[value].array, brief(values[value].name))), sign("→"),
        shown(step.array, name))];
    case "start": return [sum(gradientShown(step.array, `gradient of ${name}`))];
    case "hook": return [sum(gradientShown(step.before, "before"), sign("→"), gradientShown(step.array, "after"))];
    case "pull": return [product(o, c)];
    case "sum": return [summed(c)];
    default: return [joined(step, c)];
  }
}

/** upstream × local derivative → contribution. */
function product(o, c) {
  const up = gradientShown(gradientOf(o.output, Infinity).array, `upstream, gradient of ${values[o.output].name}`);
  const local = c.local ? [sign("×"), shown(c.local.array, localLabel(o, c))] : [];
  return sum(up, ...local, sign("→"), gradientShown(c.pulled, `share of ${brief(values[c.to].name)}`));
}

function localLabel(o, c) {
  const ratio = `∂${values[o.output].name} / ∂${brief(values[c.to].name)}`;
  if (c.local.name) return `local derivative ${ratio} = ${c.local.name}`;
  return `local derivative ${ratio}${c.local.per === "both" ? ", a row for each entry of the output" : ""}`;
}

function summed(c) {
  const from = arrays[c.pulled], to = arrays[c.array];
  return sum(gradientShown(c.pulled, `${shapeOf(from)}, as broadcast`), sign("→"),
    gradientShown(c.array, `summed over ${axes(c)}: ${shapeOf(to)}`));
}

function joined(step, c) {
  const had = gradientOf(step.value, state.position - 1);
  const name = values[step.value].name;
  const total = c.waiting ? gradientShown(c.total, "so far")
    : gradientShown(c.total, `gradient of ${brief(name)}`, step.value);
  const waits = c.waiting ? make("p", { class: "formula" }, `waits for ${c.waiting} more`) : null;
  const before = had
    ? [gradientShown(had.array, "had arrived"), sign("+"), gradientShown(c.array, "joins"), sign("=")] : [];
  return make("div", {}, sum(...before, total), waits);
}

// ---- details of what is selected ------------------------------------------------------------------------------------

function showDetails() {
  const section = $("details");
  section.hidden = state.value === null && state.group === null;
  for (const box of boxes.values()) {
    const is = state.group ? box.group === state.group : state.value !== null && box === boxOf[state.value];
    box.element.classList.toggle("selected", is);
    box.element.setAttribute("aria-pressed", is);
  }
  if (section.hidden) return;
  const close = toClose("the details", () => select({}));
  const parts = state.group ? moduleDetails(state.group, close) : valueDetails(state.value, close);
  section.replaceChildren(...parts.filter(Boolean));
}

function moduleDetails(group, close) {
  const isFolded = state.folded.has(group.id);
  return [
    make("p", { class: "kicker" }, "Module", close),
    make("h2", {}, group.path),
    make("p", {}, plural(group.members.length, "operation")),
    make("button", { type: "button", class: "button", click: () => toggle(group) },
      isFolded ? "Unfold (f)" : "Fold (f)"),
    make("div", { class: "members" }, ...group.members.map((o) =>
      make("div", {}, toValue(operations[o].output, `${values[operations[o].output].name} = ${operations[o].call}`)))),
  ];
}

function valueDetails(v, close) {
  const value = values[v], o = operations[value.operation];
  const array = arrays[value.array];
  const kind = { leaf: "Leaf", constant: "Constant", result: "Result" }[value.kind];
  return [
    make("p", { class: "kicker" }, `${kind} · ${array.dtype} · ${shapeOf(array)}`, close),
    make("h2", {}, o ? `${value.name} = ${o.call}` : value.name),
    o && make("p", { class: "formula" }, `${o.rule}: ${o.formula}`),
    o && source(o),
    ...(o ? inputsOf(o) : []),
    make("h3", {}, o ? "Output" : "Value"),
    isKnown(v) ? shown(value.array, value.name) : missing(value.name),
    make("h3", {}, o ? "Upstream gradient" : "Gradient"), ...gradientDetails(v),
    ...(o ? sharesOf(value.operation) : []),
    ...differencesOf(v),
  ];
}

function inputsOf(o) {
  return [make("h3", {}, "Inputs"), sum(...o.inputs.map(({ parameter, value }) => {
    const label = make("span", {}, `${parameter}: `, toValue(value));
    return isKnown(value) ? shown(values[value].array, label) : missing(label);
  }))];
}

/** The gradient by now, and the contributions that made it. */
function gradientDetails(v) {
  const gradient = gradientOf(v), name = `${values[v].name}.grad`;
  if (!gradient) return [missing(name, absence(v))];
  const parts = [gradient.waiting
    ? gradientShown(gradient.array, `${name} so far, waits for ${gradient.waiting} more`)
    : gradientShown(gradient.array, `${name}: select a number to see why`, v)];
  if (given[v].length > 1) {
    parts.push(make("h3", {}, "Came from"), ...given[v].map(([o, k]) => {
      const c = operations[o].contributions[k];
      const from = make("span", {}, `${operations[o].rule}, `, toValue(operations[o].output));
      return happens[o][k].add <= state.position ? gradientShown(c.array, from) : missing(from);
    }));
  }
  return parts;
}

/** What the operation gives its inputs, as far as it has happened. */
function sharesOf(at) {
  const o = operations[at];
  if (!o.contributions.length) return [];
  return [make("h3", {}, "Gives its inputs"), ...o.contributions.map((c, k) => {
    const when = happens[at][k];
    const parts = [make("span", { class: "label" }, `${c.parameter}: `, toValue(c.to))];
    if (!(when.pull <= state.position)) parts.push(make("span", { class: "absent" }, "– not yet"));
    else parts.push(product(o, c));
    if (when.sum <= state.position) parts.push(summed(c));
    return make("div", { class: "given" }, ...parts);
  })];
}

function differencesOf(v) {
  if (!values[v].differences.length || !gradientOf(v)) return [];
  const cell = (x) => make("td", { title: String(x) }, number(x));
  return [make("h3", {}, "Finite differences"), make("table", {},
    make("tr", {}, ...["entry", "gradient", "difference", "apart"].map((text) => make("th", {}, text))),
    ...values[v].differences.map(({ index, gradient, difference }) => make("tr", {},
      make("td", {}, entry("grad", index)), cell(gradient), cell(difference), cell(Math.abs(gradient - difference)))))];
}

// ---- why ------------------------------------------------------------------------------------------------------------

function showWhy() {
  const section = $("why");
  const gradient = state.why && gradientOf(state.why.value);
  section.hidden = !gradient || gradient.waiting > 0;
  if (section.hidden) return;
  const { value, index } = state.why;
  const found = whys[value]?.find((w) => w.index.join() === index.join());
  const close = toClose("this why", () => select({ why: null }));
  section.replaceChildren(make("p", { class: "kicker" }, "Why is this gradient this number?", close),
    ...(found ? sumOf(value, found) : notHere(value, index)));
}

function notHere(value, index) {
  const name = values[value].name;
  const at = index.length === 0 ? "" : index.length === 1 ? `, ${index[0]}` : `, (${index.join(", ")})`;
  return [make("h2", {}, entry(`${name}.grad`, index)),
    make("p", {}, "This entry is not taken apart in this file. In Python it is:"),
    make("p", { class: "formula" }, `explanation.why(${JSON.stringify(name)}${at})`)];
}

function sumOf(value, w) {
  const row = (x, i, words) => make("li", { "data-value": x }, amount(x, i), words);
  const rows = w.terms.map((term, i) => row(term.value, i, termWords(term)));
  if (w.others) rows.push(row(w.rest, rows.length, make("p", {}, `in ${plural(w.others, "smaller term")}`)));
  if (!rows.length) rows.push(row(0, 0, make("p", {}, "no term differs from 0")));
  const check = w.addsUp ? "the terms add up to the gradient"
    : "the terms do not add up to the gradient: the rule is wrong, or not linear in g";
  const total = make("span", { class: "amount total", title: String(w.total) }, number(w.total));
  rows.push(make("li", {}, total, make("p", { class: w.addsUp ? "" : "warning" }, check)));
  if (w.hooked !== null) rows.push(make("li", {}, amount(w.hooked, 0), make("p", {}, "is what hooks made of it")));
  return [make("h2", {}, `${entry(`${values[value].name}.grad`, w.index)} = ${number(w.real)}`),
    make("ul", { class: "terms", "data-real": w.real }, ...rows)];
}

function amount(x, i) {
  const signed = i ? (x < 0 ? `− ${number(Math.abs(x))}` : `+ ${number(x)}`) : number(x);
  return make("span", { class: "amount", title: String(x) }, signed);
}

function termWords(term) {
  if (term.operation === null) return make("p", {}, "the gradient that the pass began with");
  const o = operations[term.operation];
  const up = make("button", {
    type: "button", class: "link", title: String(term.upstream),
    click: () => select({ why: { value: term.output, index: term.index }, value: term.output }),
  }, `${entry(`${values[term.output].name}.grad`, term.index)} ${number(term.upstream)}`);
  const local = term.name ? `${term.name} ${number(term.local)}` : `local derivative ${number(term.local)}`;
  const through = ["through ", toValue(term.output, o.rule), o.source ? `, ${o.source}` : ""];
  return make("p", {}, ...through, make("br"), "upstream ", up, make("br"),
    make("span", { title: String(term.local) }, `× ${local}`));
}

// ---- acting ---------------------------------------------------------------------------------------------------------

function goTo(position) {
  const moved = Math.max(0, Math.min(steps.length, position));
  if (moved === state.position) return;
  state.position = moved;
  show();
  const step = stepAt(moved);
  if (!step) return;
  const shown = [boxOf[operations[step.operation]?.output], boxOf[step.value]];
  follow(...(step.kind === "add" ? shown.reverse() : shown));
}

/** Select a value, a module or an entry to be explained; nothing selects nothing. */
function select({ value, group, why }) {
  if (why === undefined) Object.assign(state, { value: value ?? null, group: group ?? null, why: null });
  else {
    state.why = why;
    if (why) Object.assign(state, { value: value ?? why.value, group: null });
  }
  showDetails();
  showWhy();
  follow(state.value === null ? null : boxOf[state.value]);
  if (why || value !== undefined || group) $(why ? "why" : "details").scrollIntoView({ block: "nearest" });
}

function toggle(group) {
  if (!state.folded.delete(group.id)) state.folded.add(group.id);
  redraw();
  const element = $("boxes").querySelector(`[data-group=${CSS.escape(group.id)}]`);
  element?.focus({ preventScroll: true });
}

function redraw() {
  trace(null);
  draw();
  show();
}

/** Fold or unfold what is selected, or the module around it. */
function foldSelected() {
  const group = state.group ?? (state.value === null ? null : chains[values[state.value].operation]?.at(-1));
  if (!group) return;
  if (!state.folded.has(group.id)) Object.assign(state, { group, value: null, why: null });
  toggle(group);
}

/** Light the ways that the gradient of a value has taken to get there. */
function trace(v) {
  const canvas = $("canvas");
  canvas.classList.toggle("tracing", false);
  for (const element of canvas.querySelectorAll(".traced")) element.classList.remove("traced");
  if (v === null || !gradientOf(v)) return;
  const found = new Set([v]);
  for (const w of found) { // grows while it is walked
    for (const [o, k] of given[w]) {
      if (happens[o][k].add > state.position) continue;
      found.add(operations[o].output);
      for (const element of edges.get(`${w}>${o}`) ?? []) element.classList.add("traced");
    }
  }
  for (const w of found) boxOf[w]?.element.classList.add("traced");
  for (const { element, value, operation } of labels) {
    element.classList.toggle("traced", found.has(value) && found.has(operations[operation].output));
  }
  canvas.classList.add("tracing");
}

function play(on = !state.playing) {
  clearInterval(state.playing);
  if (on && state.position === steps.length) goTo(0);
  const next = () => (state.position < steps.length ? goTo(state.position + 1) : play(false));
  state.playing = on ? setInterval(next, BEAT) : 0;
  document.body.classList.toggle("is-playing", on);
  $("play").setAttribute("aria-label", on ? "Pause" : "Play");
}

// ---- the outline ----------------------------------------------------------------------------------------------------

function outline() {
  $("modules").hidden = groups.size === 0;
  const all = make("button", { type: "button", click: () => foldAll(state.folded.size === 0) },
    make("span", {}, state.folded.size ? "Unfold all" : "Fold all"));
  const focused = document.activeElement?.closest("#outline") && document.activeElement.dataset.group;
  $("outline").replaceChildren(all, listOf(root));
  if (focused) $("outline").querySelector(`[data-group=${CSS.escape(focused)}]`)?.focus();
}

function listOf(group) {
  return make("ul", {}, ...group.children.filter((child) => typeof child !== "number").map((child) => {
    const isFolded = state.folded.has(child.id);
    const name = group.path ? child.path.slice(group.path.length + 1) : child.path;
    return make("li", {}, make("button", {
      type: "button", "aria-expanded": String(!isFolded), "data-group": child.id, click: () => toggleFromOutline(child),
      "aria-label": `Module ${child.path}, ${plural(child.members.length, "operation")}`,
    }, make("span", { class: "turn", "aria-hidden": "true" }, isFolded ? "▸" : "▾"), make("span", {}, name),
    make("span", {}, String(child.members.length))), listOf(child));
  }));
}

function toggleFromOutline(group) {
  if (!state.folded.delete(group.id)) state.folded.add(group.id);
  redraw();
}

function foldAll(fold) {
  state.folded = new Set(fold ? groups.keys() : []);
  redraw();
}

// ---- looking around -------------------------------------------------------------------------------------------------

function zoomTo(zoom) {
  const graph = $("graph"), canvas = $("canvas");
  const x = (graph.scrollLeft + graph.clientWidth / 2) / state.zoom;
  const y = (graph.scrollTop + graph.clientHeight / 2) / state.zoom;
  state.zoom = Math.max(0.1, Math.min(3, zoom));
  canvas.style.transform = `scale(${state.zoom})`;
  const side = Math.max(0, (graph.clientWidth - size.width * state.zoom) / 2);
  const top = Math.max(0, Math.min(48, (graph.clientHeight - size.height * state.zoom) / 2));
  Object.assign(canvas.style, {
    width: `${size.width}px`, height: `${size.height}px`, marginLeft: `${side}px`, marginTop: `${top}px`,
    marginRight: `${size.width * (state.zoom - 1)}px`, marginBottom: `${size.height * (state.zoom - 1)}px`,
  });
  graph.scrollTo({
    left: x * state.zoom - graph.clientWidth / 2, top: y * state.zoom - graph.clientHeight / 2, behavior: "instant",
  });
}

/** The whole graph, or as much of it as can still be read. */
function fit(least = 0.1) {
  const { clientWidth, clientHeight } = $("graph");
  zoomTo(Math.max(least, Math.min(1.4, (clientWidth - 16) / size.width, (clientHeight - 16) / size.height)));
}

function lookAtTheBeginning() {
  const first = boxOf[operations[0]?.output ?? output];
  const middle = (first.x + first.width / 2) * state.zoom + parseFloat($("canvas").style.marginLeft);
  $("graph").scrollTo({ left: middle - $("graph").clientWidth / 2, top: 0, behavior: "instant" });
}

/** Bring these boxes into view; the first alone where they are too far apart. */
function follow(...wanted) {
  const found = wanted.filter(Boolean);
  if (!found.length) return;
  const graph = $("graph"), around = surrounding(found);
  const fits = around.right - around.left <= graph.clientWidth && around.bottom - around.top <= graph.clientHeight;
  if (!fits && found.length > 1) return follow(found[0]);
  const { left, top, right, bottom } = around;
  const inside = left >= graph.scrollLeft && right <= graph.scrollLeft + graph.clientWidth
    && top >= graph.scrollTop && bottom <= graph.scrollTop + graph.clientHeight;
  if (inside) return;
  const behavior = matchMedia("(prefers-reduced-motion: reduce)").matches ? "instant" : "smooth";
  graph.scrollTo({
    left: (left + right - graph.clientWidth) / 2, top: (top + bottom - graph.clientHeight) / 2, behavior,
  });
}

/** Where these boxes lie in what can be scrolled over, with a margin. */
function surrounding(found) {
  const style = $("canvas").style, margin = 12;
  const sideways = parseFloat(style.marginLeft), down = parseFloat(style.marginTop);
  return {
    left: Math.min(...found.map((box) => box.x)) * state.zoom + sideways - margin,
    top: Math.min(...found.map((box) => box.y)) * state.zoom + down - margin,
    right: Math.max(...found.map((box) => box.x + box.width)) * state.zoom + sideways + margin,
    bottom: Math.max(...found.map((box) => box.y + box.height)) * state.zoom + down + margin,
  };
}

function drag() {
  const graph = $("graph");
  let from = null;
  graph.addEventListener("pointerdown", (event) => {
    if (event.pointerType !== "mouse" || event.button || event.target.closest("button")) return;
    from = { x: event.clientX + graph.scrollLeft, y: event.clientY + graph.scrollTop };
    graph.classList.add("dragged");
  });
  addEventListener("pointermove", (event) => {
    if (from) graph.scrollTo({ left: from.x - event.clientX, top: from.y - event.clientY, behavior: "instant" });
  });
  addEventListener("pointerup", () => {
    from = null;
    graph.classList.remove("dragged");
  });
  graph.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    zoomTo(state.zoom * Math.exp(-event.deltaY / 300));
  }, { passive: false });
}

function changeTheme() {
  const dark = document.documentElement.dataset.theme
    ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "light" : "dark";
}

// ---- keys and controls ----------------------------------------------------------------------------------------------

const KEYS = {
  ArrowRight: () => step(1), ArrowLeft: () => step(-1), Home: () => step(-Infinity), End: () => step(Infinity),
  " ": () => play(),
  f: foldSelected, "+": () => zoomTo(state.zoom * 1.2), "-": () => zoomTo(state.zoom / 1.2), 0: () => fit(),
  "?": () => $("keys").showModal(), Escape: closeOne,
};

function step(by) {
  play(false);
  goTo(state.position + by);
}

function closeOne() {
  if ($("modules").open) $("modules").open = false;
  else if (state.why) select({ why: null });
  else select({});
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || $("keys").open || !(event.key in KEYS)) return;
  if (event.key === " " && event.target.closest("button, summary")) return; // it is pressed
  event.preventDefault();
  KEYS[event.key]();
}

function listen() {
  const clicks = {
    first: KEYS.Home, back: KEYS.ArrowLeft, play: KEYS[" "], forward: KEYS.ArrowRight, last: KEYS.End,
    smaller: KEYS["-"], larger: KEYS["+"], fit: KEYS[0], theme: changeTheme, help: KEYS["?"],
  };
  for (const [id, act] of Object.entries(clicks)) $(id).addEventListener("click", act);
  $("slider").addEventListener("input", (event) => step(Number(event.target.value) - state.position));
  document.addEventListener("keydown", onKey);
  addEventListener("resize", () => zoomTo(state.zoom));
  drag();
}

/** The width of a letter in the boxes, whatever font there is. */
function measureLetter() {
  const probe = make("span", { class: "node" }, "0".repeat(100));
  Object.assign(probe.style, {
    padding: 0, border: 0, visibility: "hidden", contain: "none", contentVisibility: "visible",
  });
  document.body.append(probe);
  letter = probe.getBoundingClientRect().width / 100;
  probe.remove();
}

function start() {
  readTimeline();
  root = moduleTree();
  readModules(root, []);
  if (operations.length > MOST_UNFOLDED) foldAtFirst();
  $("counts").textContent = `${plural(operations.length, "operation")}, ${plural(values.length, "value")}`;
  $("slider").max = steps.length;
  const split = `${(100 * operations.length) / steps.length}%`;
  for (const id of ["slider", "marks"]) $(id).style.setProperty("--split", split);
  measureLetter();
  draw();
  fit(0.85);
  lookAtTheBeginning();
  show();
  listen();
  document.documentElement.dataset.ready = "true";
}

start();
