// What is shown at a position: in the graph, in the player, and beside them the step, the details and the why.

// ---- in the graph and the player -------------------------------------------------------------------------------------

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
    for (const value of o.inputs) {
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
      return [sum(...o.inputs.map((v) => shown(values[v].array, brief(values[v].name))), sign("→"),
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
  return make("div", {}, sum(up, ...local, sign("→"), gradientShown(c.pulled, `share of ${brief(values[c.to].name)}`)),
    ...warnings([c.fault]));
}

const warnings = (texts) => texts.filter(Boolean).map((text) => make("p", { class: "warning" }, `✗ ${text}`));

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
  return [make("h3", {}, "Inputs"), sum(...o.inputs.map((v) =>
    (isKnown(v) ? shown(values[v].array, toValue(v)) : missing(toValue(v)))))];
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
    const parts = [make("span", { class: "label" }, toValue(c.to))];
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
    ...values[v].differences.map(({ index, gradient, difference, apart }) => make("tr", { class: apart && "warning" },
      make("td", {}, entry("grad", index)), cell(gradient), cell(difference), cell(Math.abs(gradient - difference))))),
  ...warnings(values[v].faults)];
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
  if (!rows.length) rows.push(row(0, 0, make("p", {}, w.zero.join("; ") || "no term differs from 0")));
  const check = w.addsUp ? "the terms add up to the gradient"
    : "the terms do not add up to the gradient: the rule is wrong, or not linear in g";
  const total = make("span", { class: "amount total", title: String(w.total) }, number(w.total));
  rows.push(make("li", {}, total, make("p", { class: w.addsUp ? "" : "warning" }, check)));
  for (const fault of warnings(values[value].faults)) rows.push(make("li", {}, make("span"), fault));
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
