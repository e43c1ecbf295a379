// What is shown at a position in the player, and beside the graph: the step, the details, the why.

// ---- the player -----------------------------------------------------------------------------------------------------

/**
 * What happens in a step, in a few words.
 * @param {Step | null} step
 */
function inWords(step) {
  if (!step) return "nothing has been computed yet";
  const name = brief(values[step.value].name);
  if (step.kind === "start") return `the gradient of ${name} is given`;
  if (step.kind === "hook") return `hooks change the gradient of ${name}`;
  const o = operations[step.operation];
  if (step.kind === "forward") return `${o.rule} gives ${name}`;
  const c = o.contributions[step.contribution];
  if (step.kind === "pull") return `${o.rule} gives ${name} its share`;
  if (step.kind === "sum") return `the share of ${name} is summed over ${axes(c)}`;
  if (contributionsTo[step.value].length === 1) return `${name} has its gradient`;
  if (!c.waiting) return `the last share arrives at ${name}`;
  return `a share arrives at ${name}, which waits for ${c.waiting} more`;
}

/** @param {Contribution} c */
const axes = (c) => `${c.axes.length > 1 ? "axes" : "axis"} ${c.axes.join(", ")}`;

function showPlayer() {
  const step = stepTo(state.position);
  const phase = step ? (step.kind === "forward" ? "forward" : "backward") : "start";
  const count = `Step ${state.position} of ${steps.length} · ${phase}: `;
  $("sentence").replaceChildren(make("span", { class: "count" }, count), inWords(step));
  $("sentence").title = inWords(step);
  $("slider").value = String(state.position);
  $("slider").setAttribute("aria-valuetext", count + inWords(step));
  for (const id of ["first", "back"]) $(id).setAttribute("aria-disabled", String(state.position === 0));
  for (const id of ["forward", "last"]) $(id).setAttribute("aria-disabled", String(state.position === steps.length));
}

// ---- arrays, at length ----------------------------------------------------------------------------------------------

/** @typedef {number | null} Of  the value whose finished gradient an array is, so that its numbers open their why */

/**
 * An array with a label.
 * @param {number} a
 * @param {Child} label
 * @param {{ isGradient?: boolean, of?: Of }} [options]
 */
function labelled(a, label, { isGradient = false, of = null } = {}) {
  const array = arrays[a];
  const isWide = array.shape.length > 1 && array.shape[array.shape.length - 1] > 5;
  const element = make("div", { class: "array" });
  element.classList.toggle("gradient", isGradient);
  element.classList.toggle("wide", isWide);
  element.append(array.numbers ? numbersOf(array.shape, array.numbers, of) : heatMap(array, array.summary, of));
  return make("div", { class: "term" }, make("span", { class: "label" }, label), element);
}

/** @type {(a: number, label: Child, of?: Of) => HTMLElement} */
const labelledGradient = (a, label, of = null) => labelled(a, label, { isGradient: true, of });

/**
 * @param {number[]} shape
 * @param {Scalar[]} numbers
 * @param {Of} of
 */
function numbersOf(shape, numbers, of) {
  if (!numbers.length) return make("span", { class: "absent" }, `empty, ${shape.join(" × ")}`);
  return table(shape, numbers, (x, at) => {
    if (of === null) return make("span", { class: "number", title: String(x) }, number(x));
    const index = indexOf(at, shape);
    return make("button", {
      type: "button", class: "number", title: `${x}: why?`, "data-index": index.join(","),
      "aria-label": `why is ${entryName(`${values[of].name}.grad`, index)} ${number(x)}`,
      click: () => explain({ value: of, index }),
    }, number(x));
  });
}

/**
 * @param {RecordedArray} array
 * @param {Summary} summary  of it
 * @param {Of} of
 */
function heatMap(array, { min, mean, max, norm, zeros, non_finite }, of) {
  const [width, height] = mapSize(array);
  /** @param {number} x */
  const percent = (x) => (x ? `${number(100 * x)} %` : "none");
  const rows = Object.entries({ min, mean, max, norm, "zeros": percent(zeros), "not finite": percent(non_finite) })
    .flatMap(([name, x]) => (x === undefined ? [] : make("div", {}, make("dt", {}, name),
      make("dd", { title: String(x) }, typeof x === "number" ? number(x) : x))));
  return make("figure", {},
    make("img", {
      class: "thumb", src: array.map, width: width * 2, height: height * 2, alt: `heat map, ${shapeOf(array)}`,
    }),
    make("dl", { class: "stats" }, ...rows),
    of !== null && whys[of] && make("div", {}, make("span", { class: "label" }, "its largest entries"),
      ...whys[of].map(({ index, real }) => make("div", {}, make("button", {
        type: "button", class: "link", click: () => explain({ value: of, index }),
      }, `${entryName("", index)} = ${number(real)}`)))));
}

/** @type {(label: Child, text?: Absence) => HTMLElement} */
const missing = (label, text = "–") => make("div", { class: "term" }, make("span", { class: "label" }, label),
  make("span", { class: "absent", title: ABSENCE[text] }, text === "–" ? "– not yet" : text));

/** @param {string} text */
const sign = (text) => make("span", { class: "sign", "aria-hidden": "true" }, text);

/** @param {...Child} parts */
const sum = (...parts) => make("div", { class: "sum" }, ...parts);

/** @type {(v: number, text?: string) => HTMLElement} */
const toValue = (v, text = values[v].name) =>
  make("button", { type: "button", class: "link", click: () => select({ value: v }) }, text);

/** @type {(what: string, act: () => void) => HTMLElement} */
const toClose = (what, act) =>
  make("button", { type: "button", class: "close", "aria-label": `Close ${what}`, click: act }, "✕");

/** @param {Operation} o */
function source(o) {
  if (!o.source && !o.module) return null;
  return make("div", { class: "source" },
    o.code && make("pre", {}, o.code), make("p", {}, [o.source, o.module].filter(Boolean).join(" · ")));
}

/**
 * Show these parts in a section.
 * @param {string} id
 * @param {Child[]} parts
 */
const fill = (id, parts) => $(id).replaceChildren(...present(parts));

// ---- what happens now -----------------------------------------------------------------------------------------------

function showNow() {
  const step = stepTo(state.position);
  const o = step && step.operation !== null ? operations[step.operation] : null;
  const when = !step ? "Before the first step" : step.kind === "forward" ? "Forward" : "Backward";
  fill("now", [
    make("p", { class: "kicker" }, when), make("h2", {}, inWords(step)),
    o && make("p", { class: "formula" }, o.formula),
    step ? happening(step)
      : make("p", {}, "Leaves and constants are there; all else is still to come. → makes a step, space plays."),
    o && source(o),
  ]);
}

/** @param {Step} step */
function happening(step) {
  const { name } = values[step.value];
  if (step.kind === "start") return sum(labelledGradient(step.array, `gradient of ${name}`));
  if (step.kind === "hook") {
    return sum(labelledGradient(step.before, "before"), sign("→"), labelledGradient(step.array, "after"));
  }
  const o = operations[step.operation];
  if (step.kind === "forward") {
    return sum(...o.inputs.map((v) => labelled(values[v].array, brief(values[v].name))), sign("→"),
      labelled(step.array, name));
  }
  const c = o.contributions[step.contribution];
  if (step.kind === "pull") return product(o, c);
  return step.kind === "sum" ? summed(c) : joined(c);
}

/**
 * upstream × local derivative → contribution.
 * @param {Operation} o
 * @param {Contribution} c
 */
function product(o, c) {
  const upstream = arrivals[o.output][arrivals[o.output].length - 1].array;
  const local = c.local ? [sign("×"), labelled(c.local.array, localLabel(o, c.to, c.local))] : [];
  return make("div", {},
    sum(labelledGradient(upstream, `upstream, gradient of ${values[o.output].name}`), ...local, sign("→"),
      labelledGradient(c.pulled, `share of ${brief(values[c.to].name)}`)),
    ...warnings([c.fault]));
}

/** @param {string[]} texts */
const warnings = (texts) => texts.filter(Boolean).map((text) => make("p", { class: "warning" }, `✗ ${text}`));

/**
 * @param {Operation} o
 * @param {number} to
 * @param {NonNullable<Contribution["local"]>} local
 */
function localLabel(o, to, local) {
  const ratio = `∂${values[o.output].name} / ∂${brief(values[to].name)}`;
  if (local.name) return `local derivative ${ratio} = ${local.name}`;
  return `local derivative ${ratio}${local.per === "both" ? ", a row for each entry of the output" : ""}`;
}

/** @param {Contribution} c */
function summed(c) {
  return sum(labelledGradient(c.pulled, `${shapeOf(arrays[c.pulled])}, as broadcast`), sign("→"),
    labelledGradient(c.array, `summed over ${axes(c)}: ${shapeOf(arrays[c.array])}`));
}

/**
 * A contribution joins what had arrived before.
 * @param {Contribution} c
 */
function joined(c) {
  const had = gradientAt(c.to, state.position - 1);
  const before = had
    ? [labelledGradient(had.array, "had arrived"), sign("+"), labelledGradient(c.array, "joins"), sign("=")] : [];
  const total = c.waiting ? labelledGradient(c.total, "so far")
    : labelledGradient(c.total, `gradient of ${brief(values[c.to].name)}`, c.to);
  return make("div", {}, sum(...before, total),
    c.waiting > 0 && make("p", { class: "formula" }, `waits for ${c.waiting} more`));
}

// ---- details of what is selected ------------------------------------------------------------------------------------

function showDetails() {
  $("details").hidden = state.value === null && state.group === null;
  const close = toClose("the details", () => select({}));
  if (state.group) fill("details", groupDetails(state.group, close));
  else if (state.value !== null) fill("details", valueDetails(state.value, close));
}

/**
 * @param {Group} group
 * @param {HTMLElement} close
 */
function groupDetails(group, close) {
  return [
    make("p", { class: "kicker" }, "Module", close),
    make("h2", {}, group.path),
    make("p", {}, plural(group.members.length, "operation")),
    make("button", { type: "button", class: "button", click: () => toggle(group) },
      state.folded.has(group.id) ? "Unfold (f)" : "Fold (f)"),
    make("div", { class: "members" }, ...group.members.map((o) =>
      make("div", {}, toValue(operations[o].output, `${values[operations[o].output].name} = ${operations[o].call}`)))),
  ];
}

/**
 * @param {number} v
 * @param {HTMLElement} close
 * @returns {Child[]}
 */
function valueDetails(v, close) {
  const value = values[v], o = value.operation === null ? null : operations[value.operation];
  const array = arrays[value.array];
  const kind = { leaf: "Leaf", constant: "Constant", result: "Result" }[value.kind];
  return [
    make("p", { class: "kicker" }, `${kind} · ${array.dtype} · ${shapeOf(array)}`, close),
    make("h2", {}, o ? `${value.name} = ${o.call}` : value.name),
    o && make("p", { class: "formula" }, `${o.rule}: ${o.formula}`),
    o && source(o),
    ...(o ? inputsOf(o) : []),
    make("h3", {}, o ? "Output" : "Value"),
    valueByNow(v, value.name),
    make("h3", {}, o ? "Upstream gradient" : "Gradient"), ...gradientDetails(v),
    ...(value.operation === null ? [] : contributionsOf(value.operation)),
    ...differencesOf(v),
  ];
}

/** @type {(v: number, label: Child) => HTMLElement} */
const valueByNow = (v, label) => (knownAt[v] <= state.position ? labelled(values[v].array, label) : missing(label));

/** @param {Operation} o */
const inputsOf = (o) => [make("h3", {}, "Inputs"), sum(...o.inputs.map((v) => valueByNow(v, toValue(v))))];

/**
 * The gradient by now, and the contributions that made it.
 * @param {number} v
 */
function gradientDetails(v) {
  const gradient = gradientAt(v, state.position), name = `${values[v].name}.grad`;
  if (!gradient) return [missing(name, absence(v))];
  const parts = [gradient.waiting
    ? labelledGradient(gradient.array, `${name} so far, waits for ${gradient.waiting} more`)
    : labelledGradient(gradient.array, `${name}: select a number to see why`, v)];
  if (contributionsTo[v].length > 1) {
    parts.push(make("h3", {}, "Came from"), ...contributionsTo[v].map(([o, k]) => {
      const from = make("span", {}, `${operations[o].rule}, `, toValue(operations[o].output));
      if (happens[o][k].add > state.position) return missing(from);
      return labelledGradient(operations[o].contributions[k].array, from);
    }));
  }
  return parts;
}

/**
 * What an operation gives its inputs, as far as it has happened.
 * @param {number} at
 */
function contributionsOf(at) {
  const o = operations[at];
  if (!o.contributions.length) return [];
  return [make("h3", {}, "Gives its inputs"), ...o.contributions.map((c, k) => {
    const when = happens[at][k];
    return make("div", { class: "given" },
      make("span", { class: "label" }, toValue(c.to)),
      when.pull <= state.position ? product(o, c) : make("span", { class: "absent" }, "– not yet"),
      when.sum <= state.position && summed(c));
  })];
}

/** @param {number} v */
function differencesOf(v) {
  if (!values[v].differences.length || !gradientAt(v, state.position)) return [];
  /** @param {Scalar} x */
  const cell = (x) => make("td", { title: String(x) }, number(x));
  return [make("h3", {}, "Finite differences"), make("table", {},
    make("tr", {}, ...["entry", "gradient", "difference", "apart"].map((text) => make("th", {}, text))),
    ...values[v].differences.map(({ index, gradient, difference, apart }) => make("tr", { class: apart && "warning" },
      make("td", {}, entryName("grad", index)), cell(gradient), cell(difference),
      cell(Math.abs(Number(gradient) - Number(difference)))))),
  ...warnings(values[v].faults)];
}

// ---- why ------------------------------------------------------------------------------------------------------------

function showWhy() {
  const { entry } = state;
  const gradient = entry && gradientAt(entry.value, state.position);
  $("why").hidden = !gradient || gradient.waiting > 0;
  if (!entry || $("why").hidden) return;
  const found = whys[entry.value]?.find(({ index }) => index.join() === entry.index.join());
  const close = toClose("this why", closeWhy);
  fill("why", [make("p", { class: "kicker" }, "Why is this gradient this number?", close),
    ...(found ? sumOf(entry.value, found) : notHere(entry))]);
}

/** @param {Entry} entry */
function notHere({ value, index }) {
  const { name } = values[value];
  const at = index.length === 0 ? "" : index.length === 1 ? `, ${index[0]}` : `, (${index.join(", ")})`;
  return [make("h2", {}, entryName(`${name}.grad`, index)),
    make("p", {}, "This entry is not taken apart in this file. In Python it is:"),
    make("p", { class: "formula" }, `explanation.why(${JSON.stringify(name)}${at})`)];
}

/**
 * @param {number} value
 * @param {Why} why
 */
function sumOf(value, why) {
  /** @type {(x: Scalar, i: number, words: HTMLElement) => HTMLElement} */
  const row = (x, i, words) => make("li", { "data-value": x }, amount(x, i), words);
  const rows = why.terms.map((term, i) => row(term.value, i, termWords(term)));
  if (why.others) rows.push(row(why.rest, rows.length, make("p", {}, `in ${plural(why.others, "smaller term")}`)));
  if (!rows.length) rows.push(row(0, 0, make("p", {}, why.zero.join("; ") || "no term differs from 0")));
  const check = why.addsUp ? "the terms add up to the gradient"
    : "the terms do not add up to the gradient: the rule is wrong, or not linear in g";
  const total = make("span", { class: "amount total", title: String(why.total) }, number(why.total));
  rows.push(make("li", {}, total, make("p", { class: why.addsUp ? "" : "warning" }, check)));
  for (const fault of warnings(values[value].faults)) rows.push(make("li", {}, make("span"), fault));
  if (why.hooked !== null) rows.push(make("li", {}, amount(why.hooked, 0), make("p", {}, "is what hooks made of it")));
  return [make("h2", {}, `${entryName(`${values[value].name}.grad`, why.index)} = ${number(why.real)}`),
    make("ul", { class: "terms", "data-real": why.real }, ...rows)];
}

/**
 * @param {Scalar} x
 * @param {number} i  of the row; from the second on it has its sign before it
 */
function amount(x, i) {
  const isNegative = typeof x === "number" && x < 0;
  const signed = !i ? number(x) : isNegative ? `− ${number(Math.abs(x))}` : `+ ${number(x)}`;
  return make("span", { class: "amount", title: String(x) }, signed);
}

/** @param {Term} term */
function termWords(term) {
  if (term.operation === null) return make("p", {}, "the gradient that the pass began with");
  const o = operations[term.operation];
  const upstream = make("button", {
    type: "button", class: "link", title: String(term.upstream),
    click: () => explain({ value: term.output, index: term.index }),
  }, `${entryName(`${values[term.output].name}.grad`, term.index)} ${number(term.upstream)}`);
  const local = term.name ? `${term.name} ${number(term.local)}` : `local derivative ${number(term.local)}`;
  const through = ["through ", toValue(term.output, o.rule), o.source ? `, ${o.source}` : ""];
  return make("p", {}, ...through, make("br"), "upstream ", upstream, make("br"),
    make("span", { title: String(term.local) }, `× ${local}`));
}
