// Elements and words: numbers, shapes and names as they are written.

/**
 * @typedef {object} Special  elements of the page that are more than an HTMLElement
 * @property {HTMLInputElement} slider
 * @property {HTMLDetailsElement} modules
 * @property {HTMLDialogElement} keys
 * @property {SVGSVGElement} edges
 */

/** @type {<Id extends string>(id: Id) => Id extends keyof Special ? Special[Id] : HTMLElement} */
const $ = (id) => /** @type {any} */ (document.getElementById(id));

/**
 * @typedef {string | number | boolean | null | undefined} Attribute  false and nothing leave it out
 * @typedef {Node | string | null | false | undefined} Child  the same
 */

/**
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, Attribute | ((event: any) => void)>} [attributes]  a function listens to that event
 * @param {...Child} children
 */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== false && value != null) element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...present(children));
  return element;
}

/** @param {Child[]} children */
const present = (children) => children.filter((child) => child !== null && child !== undefined && child !== false);

/**
 * @template {"path" | "text"} Tag
 * @param {Tag} tag
 * @param {Record<string, string | number>} attributes
 */
function makeSvg(tag, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  return element;
}

/** @param {Record<string, number>} lengths */
const pixels = (lengths) => Object.fromEntries(Object.entries(lengths).map(([name, x]) => [name, `${x}px`]));

const NOT_FINITE = new Map([["nan", "NaN"], ["inf", "∞"], ["-inf", "−∞"]]);

/**
 * A number to four digits.
 * @param {Scalar} x
 */
function number(x) {
  if (typeof x !== "number") return NOT_FINITE.get(String(x)) ?? String(x);
  const size = Math.abs(x);
  const short = Number.isInteger(x) && size < 1e6 ? String(x)
    : size >= 1e-4 && size < 1e6 ? String(Number(x.toPrecision(4)))
    : x.toExponential(3).replace(/\.?0+e/, "e").replace("e+", "e");
  return short.replaceAll("-", "−");
}

/** @param {RecordedArray} array */
const shapeOf = (array) => (array.shape.length ? array.shape.join(" × ") : "a number");

/** @type {(name: string, index: number[]) => string} */
const entryName = (name, index) => (index.length ? `${name}[${index.join(", ")}]` : name);

/** @type {(text: string, room: number) => string} */
const tail = (text, room) => (text.length <= room ? text : "…" + text.slice(1 - room));

/** @type {(text: string, room: number) => string} */
const cut = (text, room) => (text.length <= room ? text : text.slice(0, room - 1) + "…");

/**
 * Of a parameter's path its end; the modules around it are to be seen.
 * @param {string} name
 */
const brief = (name) => tail(name.split(".").slice(-2).join("."), 34);

/** @type {(n: number, word: string) => string} */
const plural = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;

/**
 * Where the entry with this number lies in an array of this shape.
 * @param {number} at
 * @param {number[]} shape
 */
function indexOf(at, shape) {
  const index = [];
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    index.unshift(at % shape[axis]);
    at = Math.floor(at / shape[axis]);
  }
  return index;
}

/**
 * The only number of an array, null where there are more or none.
 * @param {number} a
 */
const onlyNumber = (a) => (arrays[a].numbers?.length === 1 ? arrays[a].numbers[0] : null);

/**
 * The numbers of an array, null where they are too many for a box.
 * @param {RecordedArray} array
 */
const fewNumbers = ({ numbers, shape }) =>
  numbers !== undefined && numbers.length <= 12 && (shape.at(-1) ?? 1) <= 4 ? numbers : null;

/**
 * Width and height of a heat map.
 * @param {RecordedArray} array
 */
function mapSize({ shape }) {
  const columns = shape.at(-1) ?? 1;
  const rows = columns ? shape.reduce((a, b) => a * b, 1) / columns : 1;
  return columns >= rows ? [72, Math.max(10, Math.min(44, Math.round((72 * rows) / columns)))]
    : [Math.max(26, Math.round((44 * columns) / rows)), 44]; // a very long one would be too thin to be seen
}

/**
 * Numbers in rows and columns, with space between matrices; a long vector in several rows.
 * @param {number[]} shape
 * @param {Scalar[]} numbers
 * @param {(x: Scalar, at: number) => HTMLElement} cell
 */
function table(shape, numbers, cell) {
  const columns = shape.length === 1 ? Math.min(shape[0], 4) : (shape.at(-1) ?? 1);
  const grid = make("span", { class: "grid" });
  grid.style.gridTemplateColumns = `repeat(${Math.max(columns, 1)}, auto)`;
  const matrix = shape.length > 2 ? shape[shape.length - 1] * shape[shape.length - 2] : Infinity;
  numbers.forEach((x, at) => {
    const element = cell(x, at);
    if (at >= matrix && at % matrix < columns) element.classList.add("apart");
    grid.append(element);
  });
  return grid;
}
