"use strict";
// What was recorded, and what follows from that alone: what is known at each position of the timeline, and the tree of
// the modules. All text of the recording becomes text nodes, never markup. The files are one script, in the order that
// __init__.py says.

/**
 * The recording, as `_data` in __init__.py writes it. Values, operations and arrays are named by their number in it,
 * a contribution by that of its operation and its own there.
 *
 * @typedef {object} Recording
 * @property {number} output  the value at which the backward pass began
 * @property {Value[]} values
 * @property {Operation[]} operations
 * @property {Step[]} steps
 * @property {Partial<Record<number, Why[]>>} whys  by the value: entries of its gradient, taken apart
 * @property {RecordedArray[]} arrays
 *
 * @typedef {number | boolean | string} Scalar  text where JSON has no number: "nan", "inf", "-inf", other dtypes
 *
 * @typedef {object} Value
 * @property {string} name
 * @property {"leaf" | "constant" | "result"} kind
 * @property {number} array
 * @property {number | null} gradient  an array
 * @property {number | null} operation  that made it
 * @property {{ index: number[], gradient: Scalar, difference: Scalar, apart: boolean }[]} differences  finite ones
 * @property {string[]} faults  in words, of the pullbacks that made its gradient wrong
 *
 * @typedef {object} Operation
 * @property {string} rule
 * @property {string} formula
 * @property {string} call
 * @property {number[]} inputs  values
 * @property {number} output  a value
 * @property {string} source  file and line
 * @property {string} code  that line
 * @property {string} module  its path
 * @property {Contribution[]} contributions
 *
 * @typedef {object} Contribution  of an operation to the gradient of one of its inputs
 * @property {number} to  a value
 * @property {{ per: "output" | "input" | "both", array: number, name: string } | null} local  derivatives
 * @property {number} pulled  the array that the pullback gave
 * @property {number[]} axes  over which it was summed, for along them the input was broadcast
 * @property {number} array  what came of that
 * @property {number} total  the gradient when it had joined
 * @property {number} waiting  contributions that were still to come then
 * @property {string} fault  in words
 *
 * @typedef {{ kind: "forward", operation: number, value: number, array: number }} Forward
 * @typedef {{ kind: "start", operation: null, value: number, array: number }} Start
 * @typedef {{ kind: "hook", operation: null, value: number, array: number, before: number }} Hook
 * @typedef {{ kind: "pull" | "sum" | "add", operation: number, value: number, contribution: number }} Backward
 * @typedef {Forward | Start | Hook | Backward} Step
 *
 * @typedef {object} Why  one entry of a gradient as the sum that made it
 * @property {number[]} index
 * @property {Term[]} terms  the largest
 * @property {Scalar} rest  the sum of the others
 * @property {number} others
 * @property {Scalar} total
 * @property {Scalar} real  what the pass gave
 * @property {boolean} addsUp
 * @property {string[]} zero  why it is 0
 * @property {Scalar | null} hooked  what hooks made of it
 *
 * @typedef {{ index: number[], upstream: Scalar, local: Scalar, name: string, value: Scalar }} Product
 * @typedef {Product & ({ operation: number, output: number } | { operation: null, output: null })} Term
 *
 * @typedef {{ min?: number, mean?: number, max?: number, norm?: number | "inf" }} Measures  of the finite numbers
 * @typedef {Measures & { zeros: number, non_finite: number }} Summary  with the fractions of these
 * @typedef {{ numbers: Scalar[], map?: string, summary?: undefined }} Few  numbers, one by one
 * @typedef {{ summary: Summary, map: string, numbers?: undefined }} Many  of which there is a heat map
 * @typedef {{ shape: number[], dtype: string } & (Few | Many)} RecordedArray
 */

/** @type {Recording} */
const recording = JSON.parse(/** @type {HTMLElement} */ (document.getElementById("data")).textContent ?? "");
const { values, operations, steps, arrays, whys, output } = recording;

// ---- what is known when ---------------------------------------------------------------------------------------------

/**
 * @typedef {{ at: number, array: number, waiting: number }} Arrival  of a gradient, at this position of the timeline
 * @typedef {{ pull: number, sum: number, add: number }} Positions  at which that happens to a contribution
 */

const { knownAt, arrivals, happens, contributionsTo, usersOf } = readTimeline();

/**
 * By the value: the position from which it is known, how its gradient arrives, the contributions to it (operation,
 * number) and the operations that use it, once for each input; by operation and number: when a contribution happens.
 */
function readTimeline() {
  const knownAt = values.map((v) => (v.operation === null ? 0 : Infinity));
  const arrivals = values.map(() => /** @type {Arrival[]} */ ([]));
  const contributionsTo = values.map(() => /** @type {[number, number][]} */ ([]));
  const usersOf = values.map(() => /** @type {number[]} */ ([]));
  /** @type {Positions[][]} */
  const happens = operations.map((o) => o.contributions.map(() => ({ pull: Infinity, sum: Infinity, add: Infinity })));
  operations.forEach((o, i) => {
    for (const v of o.inputs) usersOf[v].push(i);
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
        contributionsTo[step.value].push([step.operation, step.contribution]);
      }
    }
  });
  return { knownAt, arrivals, happens, contributionsTo, usersOf };
}

/**
 * The gradient as it is at this position, or null where none has arrived.
 * @param {number} v
 * @param {number} position
 */
function gradientAt(v, position) {
  return arrivals[v].findLast((arrival) => arrival.at <= position) ?? null;
}

/** @typedef {"–" | "not wanted" | "none comes"} Absence */

/**
 * Why there is no gradient to be seen.
 * @param {number} v
 * @returns {Absence}
 */
function absence(v) {
  if (values[v].kind === "constant") return "not wanted";
  return arrivals[v].length ? "–" : "none comes";
}

/** @type {Record<Absence, string>} */
const ABSENCE = {
  "–": "not computed yet", "not wanted": "no gradient is wanted", "none comes": "no gradient comes here",
};

/**
 * What happens in the step that leads to this position; null at the beginning.
 * @param {number} position
 */
const stepTo = (position) => (position ? steps[position - 1] : null);

/**
 * Whether an operation gives one of its inputs a gradient that the finite differences contradict.
 * @param {number} o
 */
const isWrong = (o) => operations[o].contributions.some((c) => c.fault);

// ---- modules --------------------------------------------------------------------------------------------------------

/**
 * @typedef {object} Group  the operations of one call of a module: one that is called twice is two groups
 * @property {string} name  the last part of its path
 * @property {string} path
 * @property {string} id
 * @property {number} first  its first operation
 * @property {(number | Group)[]} children  operations and groups
 * @property {number[]} members  all operations in it
 */

const root = pruned(groupTree());
/** @type {Map<string, Group>} by the id */
const groups = new Map();
/** @type {Group[][]} of each operation, the groups around it, outermost first */
const around = operations.map(() => []);
readGroup(root, []);

/**
 * @param {string} name
 * @param {string} path
 * @param {number} first
 * @returns {Group}
 */
function newGroup(name, path, first) {
  return { name, path, id: `${path}@${first}`, first, children: [], members: [] };
}

function groupTree() {
  const tree = newGroup("", "", 0);
  const open = [tree];
  operations.forEach((o, i) => {
    const names = o.module ? o.module.split(".") : [];
    let same = 0;
    while (same < names.length && open[same + 1]?.name === names[same]) same++;
    open.length = same + 1;
    for (const name of names.slice(same)) {
      const parent = open[open.length - 1];
      const group = newGroup(name, parent.path ? `${parent.path}.${name}` : name, i);
      parent.children.push(group);
      open.push(group);
    }
    open[open.length - 1].children.push(i);
  });
  return tree;
}

/**
 * Without groups of one operation, and without those that hold nothing but one other.
 * @param {Group} group
 * @returns {Group}
 */
function pruned(group) {
  const children = group.children.flatMap((child) => {
    if (typeof child === "number") return [child];
    const inner = pruned(child);
    return inner.children.length > 1 ? [inner] : inner.children;
  });
  return { ...group, children, members: children.flatMap((x) => (typeof x === "number" ? [x] : x.members)) };
}

/**
 * @param {Group} group
 * @param {Group[]} chain  the groups around what is in it
 */
function readGroup(group, chain) {
  for (const child of group.children) {
    if (typeof child === "number") around[child] = chain;
    else {
      groups.set(child.id, child);
      readGroup(child, [...chain, child]);
    }
  }
}

/** @param {Group} group */
const groupsIn = (group) => group.children.filter((child) => typeof child !== "number");

/**
 * The outermost folded group around an operation.
 * @param {number} o
 * @param {ReadonlySet<string>} folded
 */
const foldedAround = (o, folded) => around[o].find((group) => folded.has(group.id)) ?? null;
