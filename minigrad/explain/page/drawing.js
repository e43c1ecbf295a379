// The layout drawn: boxes, edges, the frames of open modules.

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
