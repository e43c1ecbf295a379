// As much of a browser as the page's script asks for: elements that can be read, no layout and no pixels. What the
// page does is evaluated in it, with an expression behind it, and what that gives is printed as JSON.
"use strict";

const { readFileSync } = require("node:fs");
const vm = require("node:vm");

const PART = /([a-z][\w-]*)|#([\w-]+)|\.([\w-]+)|\[([\w-]+)(?:="?([^"\]]*)"?)?\]|:not\(([^)]+)\)|(:[\w-]+)/gy;

function fits(element, selector) {
  PART.lastIndex = 0;
  while (PART.lastIndex < selector.length) {
    const found = PART.exec(selector);
    if (!found) throw new Error(`dom.js cannot read the selector ${selector}`);
    const [, tag, id, name, attribute, value, not, pseudo] = found;
    const own = attribute && element.getAttribute(attribute);
    if (tag && element.tag !== tag || id && element.id !== id || name && !element.classList.contains(name)
      || attribute && (own === null || value !== undefined && own !== value.replaceAll("\\", ""))
      || not && fits(element, not) || pseudo) return false;
  }
  return true;
}

class Element {
  constructor(tag) {
    Object.assign(this, { tag, parent: null, nodes: [], attributes: new Map(), listeners: {}, open: false });
    Object.assign(this, { scrollLeft: 0, scrollTop: 0, clientWidth: 1200, clientHeight: 700, value: "", max: "" });
    this.style = { setProperty(name, value) { this[name] = value; } };
    this.classList = {
      list: () => new Set((this.getAttribute("class") ?? "").split(" ").filter(Boolean)),
      contains: (name) => this.classList.list().has(name),
      add: (...names) => this.setAttribute("class", [...new Set([...this.classList.list(), ...names])].join(" ")),
      remove: (...names) => this.setAttribute("class",
        [...this.classList.list()].filter((name) => !names.includes(name)).join(" ")),
      toggle: (name, on = !this.classList.contains(name)) => this.classList[on ? "add" : "remove"](name),
    };
    const key = (name) => `data-${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
    this.dataset = new Proxy({}, {
      get: (_, name) => this.getAttribute(key(name)) ?? undefined,
      set: (_, name, value) => { this.setAttribute(key(name), value); return true; },
    });
  }
  get id() { return this.getAttribute("id") ?? ""; }
  get children() { return this.nodes.filter((node) => node instanceof Element); }
  get textContent() { return this.nodes.map((node) => node instanceof Element ? node.textContent : node).join(""); }
  set textContent(text) { this.replaceChildren(text); }
  get hidden() { return this.attributes.has("hidden"); }
  set hidden(hidden) { hidden ? this.setAttribute("hidden", "") : this.removeAttribute("hidden"); }
  get title() { return this.getAttribute("title") ?? ""; }
  set title(text) { this.setAttribute("title", text); }
  getAttribute(name) { return this.attributes.get(name) ?? null; }
  setAttribute(name, value) { this.attributes.set(name, String(value)); }
  removeAttribute(name) { this.attributes.delete(name); }
  append(...nodes) {
    for (const node of nodes) {
      if (node instanceof Element) { node.remove(); node.parent = this; }
      this.nodes.push(node instanceof Element ? node : String(node));
    }
  }
  remove() { if (this.parent) this.parent.nodes = this.parent.nodes.filter((node) => node !== this); this.parent = null; }
  replaceChildren(...nodes) { for (const child of this.children) child.remove(); this.nodes = []; this.append(...nodes); }
  addEventListener(name, act) { (this.listeners[name] ??= []).push(act); }
  dispatch(name, event = {}) {
    const given = { target: this, preventDefault() {}, detail: 1, ...event };
    for (let at = this; at; at = at.parent) for (const act of at.listeners[name] ?? []) act(given);
  }
  click() { this.dispatch("click"); }
  contains(other) { for (let at = other; at; at = at.parent) if (at === this) return true; return false; }
  matches(selectors) { return selectors.split(",").some((selector) => fits(this, selector.trim())); }
  closest(selectors) { for (let at = this; at; at = at.parent) if (at.matches(selectors)) return at; return null; }
  querySelectorAll(selectors) {
    return this.children.flatMap((child) => [...child.matches(selectors) ? [child] : [], ...child.querySelectorAll(selectors)]);
  }
  querySelector(selectors) { return this.querySelectorAll(selectors)[0] ?? null; }
  getBoundingClientRect() { return { left: 0, top: 0, width: 720, height: 17 }; }
  focus() { document.activeElement = this; }
  scrollTo() {}
  scrollIntoView() {}
  showModal() { this.open = true; }
}

const [path, expression] = process.argv.slice(2);
const html = readFileSync(path, "utf-8");
const document = new Element("document");
document.createElement = (tag) => new Element(tag);
document.createElementNS = (_, tag) => new Element(tag);
document.getElementById = (id) => document.querySelector(`#${id}`);

// ---- the page's elements, each within the one that it stands in -----------------------------------------------------

const ALONE = ["meta", "link", "input", "img", "br", "path", "circle"];
let at = document;
const [markup] = html.split('<script type="application/json"');
for (const [, end, tag, attributes, text] of markup.matchAll(/<(\/?)([a-z][\w]*)((?:\s+[\w-]+(?:="[^"]*")?)*)\s*\/?>([^<]*)/g)) {
  if (end) at = at.parent ?? document;
  else {
    const element = new Element(tag);
    for (const [, name, value] of attributes.matchAll(/([\w-]+)(?:="([^"]*)")?/g)) element.setAttribute(name, value ?? "");
    at.append(element);
    if (!ALONE.includes(tag)) at = element;
  }
  if (at !== document && text.trim()) at.append(text.trim());
}
const data = new Element("script");
data.setAttribute("id", "data");
data.append(html.match(/<script type="application\/json" id="data">(.*?)<\/script>/s)[1]);
document.append(data);
document.documentElement = document.querySelector("html");
document.body = document.querySelector("body");
document.activeElement = document.body;

class ResizeObserver {
  constructor(told) { this.told = told; }
  observe(element) { this.told([{ target: element, contentRect: { width: 1200, height: 700 } }]); }
}

const script = html.match(/<script>(.*)<\/script>/s)[1];
const page = vm.createContext({
  document, addEventListener() {}, matchMedia: () => ({ matches: true }), CSS: { escape: (text) => text },
  setInterval: () => 1, clearInterval() {}, console, ResizeObserver,
});
process.stdout.write(JSON.stringify(vm.runInContext(`${script}\n;${expression}`, page)));
