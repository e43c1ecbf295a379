// What the reader does: steps, selections, folds, zoom, keys.

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
  const closed = $("side").contains(document.activeElement) ? boxOf[state.value] : null;
  if (why === undefined) Object.assign(state, { value: value ?? null, group: group ?? null, why: null });
  else {
    state.why = why;
    if (why) Object.assign(state, { value: value ?? why.value, group: null });
  }
  showDetails();
  showWhy();
  follow(state.value === null ? null : boxOf[state.value]);
  if (why || value !== undefined || group) $(why ? "why" : "details").scrollIntoView({ block: "start" });
  else closed?.element.focus({ preventScroll: true });
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
  state.zoom = Math.max(LEAST_ZOOM, Math.min(3, zoom));
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
function fit(least = LEAST_ZOOM) {
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
  if (event.key === " " && event.target.closest("button:not(.node), summary")) return; // it is pressed
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
  document.addEventListener("pointerdown", (event) => {
    if (!$("modules").contains(event.target)) $("modules").open = false;
  });
  new ResizeObserver(resized).observe($("graph"));
  drag();
}

/** A frame that was hidden when the page was opened has a size only now, and its letters a width. */
function resized() {
  if (isMeasured || !measureLetter()) return zoomTo(state.zoom);
  redraw();
  fit(0.85);
  lookAtTheBeginning();
}

let isMeasured = false;

/** The width of a letter in the boxes, whatever font there is; false in a hidden frame, where nothing has a width. */
function measureLetter() {
  const probe = make("span", { class: "node" }, "0".repeat(100));
  Object.assign(probe.style, {
    padding: 0, border: 0, visibility: "hidden", contain: "none", contentVisibility: "visible",
  });
  document.body.append(probe);
  const { width } = probe.getBoundingClientRect();
  probe.remove();
  if (width) letter = width / 100;
  return (isMeasured = width > 0 && $("graph").clientWidth > 0);
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
