"use strict";
// What was recorded: the numbers, what is known at each position of the timeline, and the tree of the modules. All text
// of the recording becomes text nodes, never markup. The files are one script, in the order that __init__.py says.

const { values, operations, steps, arrays, whys, output } = JSON.parse(document.getElementById("data").textContent);
const MOST_UNFOLDED = 500; // operations; beyond that modules start folded
const MOST_BOXES = 60; // that are then shown
const LEAST_ZOOM = 0.005;
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
    for (const v of o.inputs) uses[v].push(i);
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
