// A box: how large it is, and what stands in it by now.

let letter = 7.2; // the width of one

/** Whether an operation gives one of its inputs a gradient that the finite differences contradict. */
const isWrong = (o) => operations[o].contributions.some((c) => c.fault);

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
  const wrong = (group ? group.members : v.operation === null ? [] : [v.operation]).some(isWrong);
  if (wrong) title.unshift("✗ ");
  const parts = [room([v.array]), room(arrivals[value].length ? arrivals[value].map((a) => a.array) : [v.array])];
  if (!arrivals[value].length) parts[1] = { width: 62, height: 17 };
  parts[1].width = Math.max(parts[1].width, ...arrivals[value].map((a) => caption(value, a).length * 5.7));
  const width = Math.max(title.join("").length * letter, parts[0].width + parts[1].width + 18, 96);
  return {
    value, group, title, wrong, pull: v.operation === null ? 0.1 : 1,
    width: Math.ceil(width) + 22, height: Math.max(parts[0].height, parts[1].height) + 52, panes: parts,
  };
}

function build(box) {
  const kind = box.group ? "group" : values[box.value].kind;
  const name = make("span", { class: "title" }, make("b", {}, ...box.title.slice(0, -1)), box.title.at(-1));
  box.shown = make("span", { class: "pane" });
  box.gradient = make("span", { class: "pane" });
  box.element = make("button", {
    type: "button", class: `node ${kind}${box.wrong ? " wrong" : ""}`, "data-value": box.value,
    "data-module": box.group?.path, "data-group": box.group?.id,
    click: (event) => press(box, event),
    dblclick: () => box.group && toggle(box.group),
    mouseenter: () => trace(box.value), mouseleave: () => trace(null),
    focus: (event) => event.target.matches(":focus-visible") && trace(box.value), blur: () => trace(null),
  }, name, make("span", { class: "panes" }, box.shown, box.gradient));
  Object.assign(box.element.style, { width: `${box.width}px`, height: `${box.height}px` });
  [box.shown, box.gradient].forEach((pane, i) => (pane.style.minWidth = `${box.panes[i].width}px`));
  box.painted = null;
  return box.element;
}

/** Above a gradient: whether more is to come, and whether it is known to be wrong. */
function caption(v, gradient) {
  if (gradient?.waiting) return `gradient, waits for ${gradient.waiting}`;
  return gradient && values[v].faults.length ? "gradient, wrong" : "gradient";
}

/** A box opens its details, a number of a finished gradient in it its why. */
function press(box, { target, detail }) {
  const gradient = gradientOf(box.value);
  if (box.group) select({ group: box.group });
  else if (target.dataset.at && box.gradient.contains(target) && !gradient.waiting) {
    select({ why: { value: box.value, index: indexOf(Number(target.dataset.at), arrays[gradient.array].shape) } });
  } else select({ value: box.value });
  if (detail === 0) $(state.why ? "why" : "details").focus({ preventScroll: true }); // by a key: the reader goes on there
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
  box.gradient.replaceChildren(
    make("span", { class: "caption" }, caption(box.value, gradient)),
    ...(gradient ? small(gradient.array) : [missing(none)]));
  box.gradient.classList.toggle("partial", Boolean(gradient?.waiting));
  box.element.setAttribute("aria-label", spoken(box, known, gradient, none));
}

const said = (array) =>
  array.numbers?.length === 1 ? number(array.numbers[0]) : `${array.shape.join(" by ")} numbers`;

function spoken(box, known, gradient, none) {
  const v = values[box.value];
  const made = v.operation === null ? v.kind : `${operations[v.operation].rule} of `
    + operations[v.operation].inputs.map((input) => values[input].name).join(" and ");
  const parts = box.group ? [`module ${box.group.path}, folded, ${plural(box.group.members.length, "operation")}`]
    : [`${v.name}, ${made}`];
  parts.push(known ? `value ${said(arrays[v.array])}` : "value not computed yet");
  if (gradient) parts.push(`gradient ${said(arrays[gradient.array])}`);
  else parts.push(none === "–" ? "gradient not computed yet" : ABSENCE[none]);
  if (box.wrong) parts.push("gives its inputs a wrong gradient");
  if (gradient?.waiting) parts.push(`waits for ${gradient.waiting} more`);
  return parts.join(", ");
}
