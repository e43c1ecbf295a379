// Where everything lies. The layout is Sugiyama's, for each open module on its own: inside it cells stand in layers,
// each below all that it depends on, and an edge from or to the outside passes through a port. In the layout around it
// the module is one cell.

const GAP = 30, BETWEEN = 46, PORT_GAP = 18, HEAD = 32, PAD = 16;
const HEAD_LETTER = 7.2; // the width of one in the name of an open module

/**
 * @typedef {object} Layout
 * @property {Box[]} boxes  in the order in which they were placed
 * @property {(Box | null)[]} boxOf  of each value the box that shows it, if any
 * @property {Frame[]} frames  around open modules
 * @property {Edge[]} edges
 * @property {Label[]} labels
 * @property {number} width
 * @property {number} height
 *
 * @typedef {{ group: Group, x: number, y: number, width: number, height: number }} Frame
 * @typedef {{ path: string, tip: boolean, value: number, users: Iterable<number> }} Edge  or a part of one, or its tip
 * @typedef {{ x: number, y: number, value: number, operation: number }} Label  room for a number that flows back
 *
 * @typedef {object} Cell  what stands in a layer
 * @property {Box | null} box
 * @property {Placed | null} inner  an open module
 * @property {"entrance" | "exit" | "bend" | null} passes  what only lets the edges of a value through
 * @property {number | null} value  that value
 * @property {number} x  of its middle
 * @property {number} y
 * @property {number} width
 * @property {number} height
 * @property {number} layer
 * @property {[Cell, number][]} above  those that it is linked to, and by how much the link is askew
 * @property {[Cell, number][]} below
 * @property {number} weight  of its place to those that it is linked to
 *
 * @typedef {object} Net  of a value the cell that it comes from and those that it goes to
 * @property {number} value
 * @property {Cell} from
 * @property {Map<Cell, Target>} to
 * @property {Cell[]} way  from, and its bends layer by layer
 * @typedef {{ cell: Cell, tips: number, users: Set<number> }} Target  with the operations there that use the value
 *
 * @typedef {object} Level  what is directly in an open module
 * @property {Group} group
 * @property {Cell[]} cells
 * @property {Map<number, Net>} nets  by the value
 * @property {Map<number, Cell>} ofOperation
 * @property {Map<number, Cell>} ofValue  of leaves, constants and what comes from outside
 *
 * @typedef {object} Placed  a level laid out, as what stands around it needs it
 * @property {Level} level
 * @property {Cell[][]} layers
 * @property {{ top: number, bottom: number }[]} bands  the layers' heights
 * @property {number} width
 * @property {number} height
 * @property {Map<number, number>} entrance  by the value: where the port lies from the left
 * @property {Map<number, number>} exit
 *
 * @typedef {object} Plan
 * @property {ReadonlySet<string>} folded
 * @property {(Box | null)[]} boxOf
 * @property {Map<number, Group>} homes  of leaves and constants with a box, the module that it stands in
 */

/**
 * @param {ReadonlySet<string>} folded  the ids of the folded groups
 * @param {number} letterWidth  in the boxes
 * @returns {Layout}
 */
function layOut(folded, letterWidth) {
  const boxOf = chooseBoxes(folded, letterWidth);
  const homes = new Map();
  boxOf.forEach((box, v) => values[v].operation === null && box && !box.group && homes.set(v, homeOf(v, folded)));
  if (operations.length) return routed(layOutGroup(root, { folded, boxOf, homes }), boxOf);
  const box = /** @type {Box} */ (boxOf[output]);
  Object.assign(box, { x: PAD, y: PAD });
  const width = box.width + 2 * PAD, height = box.height + 2 * PAD;
  return { boxes: [box], boxOf, frames: [], edges: [], labels: [], width, height };
}

/**
 * The innermost open module that holds all uses of a leaf.
 * @param {number} v
 * @param {ReadonlySet<string>} folded
 */
function homeOf(v, folded) {
  const open = usersOf[v].map((o) => {
    const fold = foldedAround(o, folded);
    return fold ? around[o].slice(0, around[o].indexOf(fold)) : around[o];
  });
  let depth = 0;
  while (open[0]?.[depth] && open.every((chain) => chain[depth] === open[0][depth])) depth++;
  return open[0]?.[depth - 1] ?? root;
}

/**
 * @param {Group} group
 * @param {Plan} plan
 */
function layOutGroup(group, plan) {
  /** @type {Level} */
  const level = { group, cells: [], nets: new Map(), ofOperation: new Map(), ofValue: new Map() };
  for (const child of group.children) addChild(level, child, plan);
  connect(level, plan);
  assignLayers(level);
  const layers = addBends(level);
  order(layers);
  return measured(level, layers);
}

// ---- cells and nets -------------------------------------------------------------------------------------------------

/**
 * @param {Partial<Cell> & { width: number, height: number }} of
 * @returns {Cell}
 */
function newCell(of) {
  const links = { above: [], below: [], weight: 1 };
  return { box: null, inner: null, passes: null, value: null, x: 0, y: 0, layer: 0, ...links, ...of };
}

/**
 * @param {Level} level
 * @param {Partial<Cell> & { width: number, height: number }} of
 */
function addCell(level, of) {
  const cell = newCell(of);
  level.cells.push(cell);
  return cell;
}

/**
 * @param {Level} level
 * @param {number | Group} child
 * @param {Plan} plan
 */
function addChild(level, child, { folded, boxOf, homes }) {
  const isOperation = typeof child === "number";
  const members = isOperation ? [child] : child.members;
  for (const o of members) {
    for (const value of operations[o].inputs) {
      if (homes.get(value) !== level.group || level.ofValue.has(value)) continue;
      const box = /** @type {Box} */ (boxOf[value]);
      level.ofValue.set(value, addCell(level, { box, width: box.width, height: box.height, weight: 0.1 }));
    }
  }
  const inner = isOperation || folded.has(child.id) ? null : layOutGroup(child, { folded, boxOf, homes });
  const box = inner ? null : boxOf[operations[members[0]].output];
  const { width, height } = /** @type {Placed | Box} */ (inner ?? box);
  const cell = addCell(level, { box, inner, width, height });
  for (const o of members) level.ofOperation.set(o, cell);
}

/**
 * @param {Level} level
 * @param {Plan} plan
 */
function connect(level, plan) {
  const { members } = level.group;
  const inside = new Set(members);
  /** @type {{ value: number, from: Cell, users: number[] }[]} */
  const leaving = [];
  for (const o of members) {
    const to = /** @type {Cell} */ (level.ofOperation.get(o));
    for (const value of operations[o].inputs) {
      const from = sourceOf(level, value, inside, plan);
      if (!from || from === to) continue;
      const net = netOf(level, value, from);
      const target = net.to.get(to) ?? { cell: to, tips: 0, users: new Set() };
      net.to.set(to, target);
      target.users.add(o);
      target.tips = to.box && !to.box.group ? target.tips + 1 : 1;
    }
    const value = operations[o].output;
    const users = usersOf[value].filter((user) => !inside.has(user));
    if (users.length) leaving.push({ value, from: to, users });
  }
  for (const { value, from, users } of leaving) {
    const port = addCell(level, { passes: "exit", value, width: 12, height: 0 });
    netOf(level, value, from).to.set(port, { cell: port, tips: 1, users: new Set(users) });
  }
}

/**
 * @param {Level} level
 * @param {number} value
 * @param {Cell} from
 */
function netOf(level, value, from) {
  /** @type {Net} */
  const net = level.nets.get(value) ?? { value, from, to: new Map(), way: [] };
  level.nets.set(value, net);
  return net;
}

/**
 * The cell that a value comes from; null if it is not to be seen here.
 * @param {Level} level
 * @param {number} value
 * @param {Set<number>} inside  the operations of this level
 * @param {Plan} plan
 */
function sourceOf(level, value, inside, { boxOf }) {
  const made = values[value].operation;
  if (made !== null && inside.has(made)) return level.ofOperation.get(made);
  const cell = level.ofValue.get(value);
  if (cell) return cell;
  const box = boxOf[value];
  if (!box || (made === null && box.group) || level.group === root) return null;
  if (made === null && isWithin(value, level.group)) return null;
  const port = addCell(level, { passes: "entrance", value, width: 12, height: 0 });
  level.ofValue.set(value, port);
  return port;
}

/**
 * Whether a leaf is used in this module only, so that it stands in it, or in one within it.
 * @param {number} value
 * @param {Group} group
 */
const isWithin = (value, group) => group.members.length >= usersOf[value].length
  && usersOf[value].every((o) => around[o].includes(group));

// ---- layers ---------------------------------------------------------------------------------------------------------

/** @param {Level} level */
function assignLayers(level) {
  const before = new Map(level.cells.map((cell) => [cell, /** @type {Cell[]} */ ([])]));
  const after = new Map(level.cells.map((cell) => [cell, /** @type {Cell[]} */ ([])]));
  for (const net of level.nets.values()) {
    for (const cell of net.to.keys()) {
      before.get(cell)?.push(net.from);
      after.get(net.from)?.push(cell);
    }
  }
  const entrances = level.cells.filter((cell) => cell.passes === "entrance");
  const sorted = [...entrances, ...level.cells.filter((cell) => cell.passes !== "entrance")];
  for (const cell of sorted) {
    const first = cell.passes !== "entrance" && entrances.length ? 1 : 0;
    cell.layer = Math.max(first, ...(before.get(cell) ?? []).map((above) => above.layer + 1));
  }
  for (const cell of [...sorted].reverse()) { // a leaf right above the first that needs it
    const below = after.get(cell) ?? [];
    if (cell.passes || before.get(cell)?.length || !below.length) continue;
    cell.layer = Math.min(...below.map((other) => other.layer)) - 1;
  }
  const last = Math.max(...level.cells.map((cell) => (cell.passes === "exit" ? 0 : cell.layer)));
  for (const cell of level.cells) if (cell.passes === "exit") cell.layer = last + 1;
}

/**
 * Lead long edges through the layers between, one way for all edges of a value; returns the layers.
 * @param {Level} level
 */
function addBends(level) {
  const count = Math.max(...level.cells.map((cell) => cell.layer), 0) + 1;
  const layers = Array.from({ length: count }, () => /** @type {Cell[]} */ ([]));
  for (const cell of level.cells) layers[cell.layer].push(cell);
  for (const net of level.nets.values()) {
    const deepest = Math.max(...[...net.to.keys()].map((cell) => cell.layer));
    net.way = [net.from];
    for (let layer = net.from.layer + 1; layer < deepest; layer++) {
      const bend = newCell({ passes: "bend", value: net.value, width: 12, height: 0, layer, weight: 0.2 });
      link(net.way[net.way.length - 1], bend, net.value);
      net.way.push(bend);
      layers[layer].push(bend);
    }
    for (const cell of net.to.keys()) link(lastBefore(net, cell), cell, net.value);
  }
  return layers;
}

/**
 * The last on the way of a net before one of those that it goes to.
 * @param {Net} net
 * @param {Cell} cell
 */
const lastBefore = (net, cell) => net.way[cell.layer - net.from.layer - 1];

/**
 * @param {Cell} above
 * @param {Cell} below
 * @param {number} value
 */
function link(above, below, value) {
  const askew = offset(above, "exit", value) - offset(below, "entrance", value);
  below.above.push([above, askew]);
  above.below.push([below, -askew]);
}

/**
 * How far from the middle of a cell the edges of a value enter or leave it.
 * @param {Cell} cell
 * @param {"entrance" | "exit"} side
 * @param {number} value
 */
const offset = (cell, side, value) =>
  (cell.inner ? /** @type {number} */ (cell.inner[side].get(value)) - cell.width / 2 : 0);

// ---- places ---------------------------------------------------------------------------------------------------------

/**
 * Improve the order in each layer by sweeps towards the mean of what the cells are linked to, and place them so.
 * @param {Cell[][]} layers
 */
function order(layers) {
  layers.forEach(spread);
  for (let sweep = 0; sweep < 12; sweep++) {
    const side = sweep % 2 ? "below" : "above";
    for (const layer of sweep % 2 ? [...layers].reverse() : layers) {
      for (const cell of layer) {
        const weight = cell[side].reduce((sum, [other]) => sum + other.weight, 0);
        const moment = cell[side].reduce((sum, [other, askew]) => sum + other.weight * (other.x + askew), 0);
        if (weight) cell.x = moment / weight;
      }
      if (sweep < 8) layer.sort((a, b) => a.x - b.x);
      spread(layer);
    }
  }
}

/**
 * Move apart what overlaps, in this order; the one of most weight stays where it is.
 * @param {Cell[]} layer
 */
function spread(layer) {
  /** @param {number} i */
  const apart = (i) => {
    const a = layer[i - 1], b = layer[i];
    return (a.width + b.width) / 2 + (a.passes === "bend" && b.passes === "bend" ? 6 : GAP);
  };
  let fixed = 0;
  layer.forEach((cell, i) => (fixed = cell.weight > layer[fixed].weight ? i : fixed));
  for (let i = fixed + 1; i < layer.length; i++) layer[i].x = Math.max(layer[i].x, layer[i - 1].x + apart(i));
  for (let i = fixed; i > 0; i--) layer[i - 1].x = Math.min(layer[i - 1].x, layer[i].x - apart(i));
}

/**
 * Heights and sides.
 * @param {Level} level
 * @param {Cell[][]} layers
 * @returns {Placed}
 */
function measured(level, layers) {
  const all = layers.flat();
  const left = Math.min(...all.map((cell) => cell.x - cell.width / 2));
  const head = level.group === root ? 0 : level.group.path.length * HEAD_LETTER + 40;
  const inner = Math.max(...all.map((cell) => cell.x + cell.width / 2)) - left;
  const width = Math.max(inner + 2 * PAD, head);
  let y = level.group === root ? PAD : HEAD;
  const bands = layers.map((layer) => {
    const height = Math.max(...layer.map((cell) => cell.height));
    const band = { top: y, bottom: y + height };
    y += height + (height ? BETWEEN : PORT_GAP);
    return band;
  });
  for (const cell of all) {
    cell.x += (width - inner) / 2 - left;
    cell.y = (bands[cell.layer].top + bands[cell.layer].bottom) / 2;
  }
  /** @type {(side: "entrance" | "exit") => Map<number, number>} */
  const ports = (side) => new Map(level.cells.flatMap(({ passes, value, x }) =>
    (passes === side && value !== null ? [[value, x]] : [])));
  const height = bands[bands.length - 1].bottom + PAD;
  return { level, layers, bands, width, height, entrance: ports("entrance"), exit: ports("exit") };
}
