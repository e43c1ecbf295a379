// What is laid out as lines to be drawn: frames, the paths of the edges, and room for the numbers that flow back.

/**
 * @param {Placed} placed  the outermost level
 * @param {(Box | null)[]} boxOf
 */
function routed(placed, boxOf) {
  const { width, height } = placed;
  /** @type {Layout} */
  const layout = { boxes: [], boxOf, frames: [], edges: [], labels: [], width, height };
  routeLevel(placed, 0, 0, layout);
  return layout;
}

/**
 * Add to the layout what is in a level that begins at x and y.
 * @param {Placed} placed
 * @param {number} x
 * @param {number} y
 * @param {Layout} layout
 */
function routeLevel(placed, x, y, layout) {
  const { level, layers, bands, width, height } = placed;
  const arriving = arrivingEdges(level);
  for (const cell of layers.flat()) {
    cell.x += x;
    cell.y += y;
  }
  for (const band of bands) {
    band.top += y;
    band.bottom += y;
  }
  if (level.group !== root) layout.frames.push({ group: level.group, x, y, width, height });
  for (const { box, inner, ...cell } of level.cells) {
    const left = cell.x - cell.width / 2, top = cell.y - cell.height / 2;
    if (inner) routeLevel(inner, left, top, layout);
    else if (box) layout.boxes.push(Object.assign(box, { x: left, y: top }));
  }
  for (const net of level.nets.values()) routeNet(net, { bands, top: y, bottom: y + height, arriving }, layout);
}

/**
 * @typedef {{ net: Net, from: number }} Arriving  an edge that comes from this x
 *
 * @typedef {object} Extent  where a level lies
 * @property {{ top: number, bottom: number }[]} bands
 * @property {number} top
 * @property {number} bottom
 * @property {Map<Cell, Arriving[]>} arriving
 */

/**
 * The edges that arrive at each cell: from left to right as they come.
 * @param {Level} level
 */
function arrivingEdges(level) {
  const found = new Map(level.cells.map((cell) => [cell, /** @type {Arriving[]} */ ([])]));
  for (const net of level.nets.values()) {
    for (const { cell, tips } of net.to.values()) {
      const before = lastBefore(net, cell);
      const from = before.x + offset(before, "exit", net.value);
      for (let i = 0; i < tips; i++) found.get(cell)?.push({ net, from });
    }
  }
  for (const list of found.values()) list.sort((a, b) => a.from - b.from);
  return found;
}

/**
 * @param {Net} net
 * @param {Extent} extent
 * @param {Layout} layout
 */
function routeNet(net, extent, layout) {
  const { value, way } = net;
  for (let i = 1; i < way.length; i++) {
    const through = [...net.to.values()].filter(({ cell }) => i < cell.layer - net.from.layer);
    const path = `${pathTo(net, i, way[i].x, extent)}V${extent.bands[way[i].layer].bottom}`;
    layout.edges.push({ path, tip: false, value, users: new Set(through.flatMap(({ users }) => [...users])) });
  }
  for (const target of net.to.values()) {
    const { cell } = target;
    const list = extent.arriving.get(cell) ?? [];
    const step = Math.min(34, (cell.width - 30) / Math.max(list.length, 1));
    list.forEach((arriving, i) => {
      if (arriving.net !== net) return;
      const aside = cell.inner ? offset(cell, "entrance", value) : cell.passes ? 0 : step * (i - (list.length - 1) / 2);
      arrive(net, target, cell.x + aside, extent, layout);
    });
    if (cell.box && !cell.box.group) addLabel(net, target, extent, layout);
  }
}

/**
 * The path from what comes before the i-th layer of a net, straight past its own layer and then over to x.
 * @param {Net} net
 * @param {number} i
 * @param {number} x
 * @param {Extent} extent
 */
function pathTo(net, i, x, { bands, top }) {
  const before = net.way[i - 1];
  const fromX = before.x + offset(before, "exit", net.value);
  const { bottom } = bands[before.layer], end = bands[net.from.layer + i].top;
  const middle = (bottom + end) / 2;
  const start = before.passes === "bend" ? bottom : before.passes ? top : before.y + before.height / 2;
  return `M${fromX} ${start}V${bottom}C${fromX} ${middle} ${x} ${middle} ${x} ${end}`;
}

/**
 * The last part of an edge, to this x of its target.
 * @param {Net} net
 * @param {Target} target
 * @param {number} x
 * @param {Extent} extent
 * @param {Layout} layout
 */
function arrive(net, { cell, users }, x, extent, layout) {
  const { value } = net;
  const end = cell.passes ? extent.bottom : cell.y - cell.height / 2;
  const path = `${pathTo(net, cell.layer - net.from.layer, x, extent)}V${end}`;
  layout.edges.push({ path, tip: false, value, users });
  if (!cell.passes && !cell.inner) layout.edges.push({ path: `M${x} ${end}l-4 -7h8z`, tip: true, value, users });
}

/**
 * Room for the numbers that flow back along an edge, where there is one number each.
 * @param {Net} net
 * @param {Target} target
 * @param {Extent} extent
 * @param {Layout} layout
 */
function addLabel(net, { cell, users }, { bands }, layout) {
  const [operation] = users;
  const all = operations[operation].contributions.filter((c) => c.to === net.value);
  if (!all.length || all.some((c) => onlyNumber(c.array) === null)) return;
  const before = lastBefore(net, cell);
  const fromX = before.x + offset(before, "exit", net.value);
  const middle = (bands[cell.layer - 1].bottom + bands[cell.layer].top) / 2;
  layout.labels.push({ x: fromX * 0.6 + cell.x * 0.4, y: middle + 4, value: net.value, operation });
}
