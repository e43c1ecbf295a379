// What the reader does: steps, selections, folds, zoom, keys; and the beginning.

const BEAT = 1100; // milliseconds of a step while playing

// ---- acting: the state changes, and what it is about comes into view ------------------------------------------------

/** @param {number} position */
function goTo(position) {
  if (!state.goTo(position)) return;
  const step = stepTo(state.position);
  if (!step) return;
  const shown = [step.operation === null ? null : operations[step.operation].output, step.value];
  follow(...(step.kind === "add" ? shown.reverse() : shown));
}

/**
 * Show the details of a value or of a module; nothing selects nothing.
 * @param {{ value?: number, group?: Group }} selection
 */
function select(selection) {
  if (selection.value === undefined && !selection.group) return back(() => state.select({}));
  state.select(selection);
  follow(state.value);
  $("details").scrollIntoView({ block: "start" });
}

/**
 * Show why an entry of a gradient is what it is.
 * @param {Entry} entry
 */
function explain(entry) {
  state.select({ value: entry.value, entry });
  follow(state.value);
  $("why").scrollIntoView({ block: "start" });
}

const closeWhy = () => back(() => state.select({ value: state.value, group: state.group }));

/**
 * Who was beside the graph when something there was closed goes on in its box.
 * @param {() => void} close
 */
function back(close) {
  const box = $("side").contains(document.activeElement) ? selectedBox() : null;
  close();
  follow(state.value);
  if (box) drawing.focus(box);
}

const selectedBox = () => (state.value === null ? null : state.layout.boxOf[state.value]);

/**
 * A box opens its details, a number of a finished gradient in it its why.
 * @param {Box} box
 * @param {string | undefined} at  which number of the gradient was pressed, if one was
 * @param {boolean} byKey
 */
function press({ value, group }, at, byKey) {
  const gradient = gradientAt(value, state.position);
  if (group) select({ group });
  else if (at !== undefined && gradient && !gradient.waiting) {
    explain({ value, index: indexOf(Number(at), arrays[gradient.array].shape) });
  } else select({ value });
  if (byKey) $(state.entry ? "why" : "details").focus({ preventScroll: true }); // the reader goes on there
}

/** @param {Group} group */
function toggle(group) {
  state.toggle(group);
  inGroup("boxes", group.id)?.focus({ preventScroll: true });
}

/** @type {(id: string, group: string) => HTMLElement | null} */
const inGroup = (id, group) => $(id).querySelector(`[data-group=${CSS.escape(group)}]`);

/** Fold or unfold what is selected, or the module around it. */
function foldSelected() {
  const made = state.value === null ? null : values[state.value].operation;
  const group = state.group ?? (made === null ? null : around[made].at(-1));
  if (!group) return;
  if (!state.folded.has(group.id)) state.select({ group });
  toggle(group);
}

/** @param {boolean} fold */
const foldAll = (fold) => state.fold(fold ? groups.keys() : []);

function play(on = !state.timer) {
  clearInterval(state.timer);
  if (on && state.position === steps.length) goTo(0);
  const next = () => (state.position < steps.length ? goTo(state.position + 1) : play(false));
  state.play(on ? setInterval(next, BEAT) : 0);
}

// ---- what shows the state -------------------------------------------------------------------------------------------

function showPosition() {
  drawing.showPosition();
  showPlayer();
  showNow();
  showSelection();
}

function showSelection() {
  drawing.showSelection();
  showDetails();
  showWhy();
}

function showLayout() {
  drawing.draw();
  showOutline();
  zoomTo(state.zoom);
  showPosition();
}

function showPlaying() {
  document.body.classList.toggle("is-playing", state.timer !== 0);
  $("play").setAttribute("aria-label", state.timer ? "Pause" : "Play");
}

function showTheme() {
  if (state.theme) document.documentElement.dataset.theme = state.theme;
}

// ---- the outline ----------------------------------------------------------------------------------------------------

function showOutline() {
  $("modules").hidden = groups.size === 0;
  const all = make("button", { type: "button", click: () => foldAll(state.folded.size === 0) },
    make("span", {}, state.folded.size ? "Unfold all" : "Fold all"));
  const focused = /** @type {HTMLElement | null} */ (document.activeElement?.closest("#outline [data-group]") ?? null);
  $("outline").replaceChildren(all, listOf(root));
  if (focused?.dataset.group) inGroup("outline", focused.dataset.group)?.focus();
}

/**
 * @param {Group} group
 * @returns {HTMLElement}
 */
function listOf(group) {
  return make("ul", {}, ...groupsIn(group).map((child) => {
    const isFolded = state.folded.has(child.id);
    const name = group.path ? child.path.slice(group.path.length + 1) : child.path;
    return make("li", {}, make("button", {
      type: "button", "aria-expanded": String(!isFolded), "data-group": child.id, click: () => state.toggle(child),
      "aria-label": `Module ${child.path}, ${plural(child.members.length, "operation")}`,
    }, make("span", { class: "turn", "aria-hidden": "true" }, isFolded ? "▸" : "▾"), make("span", {}, name),
    make("span", {}, String(child.members.length))), listOf(child));
  }));
}

// ---- looking around -------------------------------------------------------------------------------------------------

/**
 * What is in the middle of the screen stays there.
 * @param {number} zoom
 */
function zoomTo(zoom) {
  const graph = $("graph");
  const x = (graph.scrollLeft + graph.clientWidth / 2) / state.zoom;
  const y = (graph.scrollTop + graph.clientHeight / 2) / state.zoom;
  state.zoomTo(zoom);
  graph.scrollTo({
    left: x * state.zoom - graph.clientWidth / 2, top: y * state.zoom - graph.clientHeight / 2, behavior: "instant",
  });
}

/** The whole graph, or as much of it as can still be read. */
function fit(least = LEAST_ZOOM) {
  const { clientWidth, clientHeight } = $("graph");
  const { width, height } = state.layout;
  zoomTo(Math.max(least, Math.min(1.4, (clientWidth - 16) / width, (clientHeight - 16) / height)));
}

function lookAtTheBeginning() {
  fit(0.85);
  const first = state.layout.boxOf[operations.length ? operations[0].output : output];
  if (!first) return;
  const middle = (first.x + first.width / 2) * state.zoom + parseFloat($("canvas").style.marginLeft);
  $("graph").scrollTo({ left: middle - $("graph").clientWidth / 2, top: 0, behavior: "instant" });
}

/**
 * Bring the boxes of these values into view; the first alone where they are too far apart.
 * @param {...(number | null)} wanted
 */
function follow(...wanted) {
  const boxes = wanted.flatMap((v) => (v === null ? [] : state.layout.boxOf[v] ?? []));
  if (!boxes.length) return;
  const { scrollLeft, scrollTop, clientWidth, clientHeight } = $("graph");
  const all = surrounding(boxes);
  const fits = all.right - all.left <= clientWidth && all.bottom - all.top <= clientHeight;
  const { left, top, right, bottom } = fits ? all : surrounding([boxes[0]]);
  const isInside = left >= scrollLeft && right <= scrollLeft + clientWidth
    && top >= scrollTop && bottom <= scrollTop + clientHeight;
  if (isInside) return;
  const behavior = matchMedia("(prefers-reduced-motion: reduce)").matches ? "instant" : "smooth";
  $("graph").scrollTo({ left: (left + right - clientWidth) / 2, top: (top + bottom - clientHeight) / 2, behavior });
}

/**
 * Where these boxes lie in what can be scrolled over, with a margin.
 * @param {Box[]} boxes
 */
function surrounding(boxes) {
  const { style } = $("canvas"), margin = 12;
  const sideways = parseFloat(style.marginLeft), down = parseFloat(style.marginTop);
  return {
    left: Math.min(...boxes.map((box) => box.x)) * state.zoom + sideways - margin,
    top: Math.min(...boxes.map((box) => box.y)) * state.zoom + down - margin,
    right: Math.max(...boxes.map((box) => box.x + box.width)) * state.zoom + sideways + margin,
    bottom: Math.max(...boxes.map((box) => box.y + box.height)) * state.zoom + down + margin,
  };
}

function dragWithTheMouse() {
  const graph = $("graph");
  /** @type {{ x: number, y: number } | null} */
  let from = null;
  graph.addEventListener("pointerdown", (event) => {
    if (event.pointerType !== "mouse" || event.button || isOn("button", event)) return;
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

/** @type {(selectors: string, event: Event) => boolean} */
const isOn = (selectors, event) => /** @type {Element} */ (event.target).closest(selectors) !== null;

function changeTheme() {
  const isDark = state.theme ? state.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  state.setTheme(isDark ? "light" : "dark");
}

// ---- keys and controls ----------------------------------------------------------------------------------------------

/** @type {Record<string, () => void>} */
const KEYS = {
  ArrowRight: () => stepBy(1), ArrowLeft: () => stepBy(-1), Home: () => stepBy(-Infinity), End: () => stepBy(Infinity),
  " ": () => play(),
  f: foldSelected, "+": () => zoomTo(state.zoom * 1.2), "-": () => zoomTo(state.zoom / 1.2), 0: () => fit(),
  "?": () => $("keys").showModal(), Escape: closeOne,
};

/** @param {number} by */
function stepBy(by) {
  play(false);
  goTo(state.position + by);
}

function closeOne() {
  if ($("modules").open) $("modules").open = false;
  else if (state.entry) closeWhy();
  else select({});
}

/** @param {KeyboardEvent} event */
function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || $("keys").open || !(event.key in KEYS)) return;
  if (event.key === " " && isOn("button:not(.node), summary", event)) return; // it is pressed
  event.preventDefault();
  KEYS[event.key]();
}

function listen() {
  const clicks = {
    first: KEYS.Home, back: KEYS.ArrowLeft, play: KEYS[" "], forward: KEYS.ArrowRight, last: KEYS.End,
    smaller: KEYS["-"], larger: KEYS["+"], fit: KEYS[0], theme: changeTheme, help: KEYS["?"],
  };
  for (const [id, act] of Object.entries(clicks)) $(id).addEventListener("click", act);
  $("slider").addEventListener("input", ({ target }) =>
    stepBy(Number(/** @type {HTMLInputElement} */ (target).value) - state.position));
  document.addEventListener("keydown", onKey);
  document.addEventListener("pointerdown", (event) => {
    if (!$("modules").contains(/** @type {Node} */ (event.target))) $("modules").open = false;
  });
  new ResizeObserver(resized).observe($("graph"));
  dragWithTheMouse();
}

/** A frame that was hidden when the page was opened has a size only now, and its letters a width. */
function resized() {
  if (state.isMeasured || !measureLetter()) zoomTo(state.zoom);
  else lookAtTheBeginning();
}

/** The width of a letter in the boxes, whatever font there is; false in a hidden frame, where nothing has a width. */
function measureLetter() {
  const probe = make("span", { class: "node" }, "0".repeat(100));
  Object.assign(probe.style, {
    padding: 0, border: 0, visibility: "hidden", contain: "none", contentVisibility: "visible",
  });
  document.body.append(probe);
  const { width } = probe.getBoundingClientRect();
  probe.remove();
  state.measure(width / 100 || state.letterWidth, width > 0 && $("graph").clientWidth > 0);
  return state.isMeasured;
}

function start() {
  $("counts").textContent = `${plural(operations.length, "operation")}, ${plural(values.length, "value")}`;
  $("slider").max = String(steps.length);
  const split = `${(100 * operations.length) / steps.length}%`;
  for (const id of ["slider", "marks"]) $(id).style.setProperty("--split", split);
  measureLetter();
  state.watch({
    position: showPosition, selection: showSelection, layout: showLayout, zoom: () => drawing.showZoom(),
    playing: showPlaying, traced: () => drawing.showTraced(), theme: showTheme,
  });
  showLayout();
  lookAtTheBeginning();
  listen();
  document.documentElement.dataset.ready = "true";
}

start();
