// Sugiyama's, for each open module on its own: inside it cells stand in layers, each below all that it depends on, and
// an edge from or to the outside passes through a port. In the layout around it the module is one cell.

const GAP = 30, BETWEEN = 46, PORT_GAP = 18, HEAD = 32, PAD = 16;

let boxes = new Map(); // by what they show: a value's number, or a module's id
let boxOf = []; // of each value the box that shows it, if any

function chooseBoxes() {
  boxes = new Map();
  boxOf = values.map(() => null);
  const add = (key, box) => (boxes.has(key) || boxes.set(key, box()), boxes.get(key));
  operations.forEach((o, i) => {
    const fold = foldedAround(i);
    const box = fold ? add(fold.id, () => newBox(operations[fold.members.at(-1)].output, fold))
      : add(o.output, () => newBox(o.output, null));
    for (const v of o.inputs) addStart(v, fold, add);
    boxOf[o.output] = box;
  });
  if (!operations.length) boxOf[output] = add(output, () => newBox(output, null));
}

/** Box a leaf or an array of constants, unless it is a parameter that only a folded module uses. */
function addStart(v, fold, add) {
  if (boxOf[v] || values[v].operation !== null) return;
  if (values[v].kind === "constant" && !arrays[values[v].array].shape.length) return;
  const inside = fold && values[v].kind === "leaf" && uses[v].every((o) => foldedAround(o) === fold);
  boxOf[v] = inside ? boxes.get(fold.id) : add(v, () => newBox(v, null));
}

/** The innermost open module that holds all uses of a leaf. */
function homeOf(v) {
  const around = uses[v].map((o) => {
    const fold = foldedAround(o);
    return fold ? chains[o].slice(0, chains[o].indexOf(fold)) : chains[o];
  });
  let depth = 0;
  while (around[0]?.[depth] && around.every((chain) => chain[depth] === around[0][depth])) depth++;
  return around[0]?.[depth - 1] ?? root;
}

function layOut(group, homes) {
  const level = { group, cells: [], nets: new Map(), cellOf: new Map() };
  const newCell = (of) => {
    const cell = { x: 0, y: 0, layer: 0, up: [], down: [], pull: 1, ...of };
    level.cells.push(cell);
    return cell;
  };
  for (const child of group.children) addChild(level, child, newCell, homes);
  connect(level, newCell);
  return place(level);
}

function addChild(level, child, newCell, homes) {
  const members = typeof child === "number" ? [child] : child.members;
  for (const o of members) {
    for (const value of operations[o].inputs) {
      if (homes.get(value) !== level.group || level.cellOf.has(`v${value}`)) continue;
      const box = boxOf[value];
      level.cellOf.set(`v${value}`, newCell({ box, width: box.width, height: box.height, pull: 0.1 }));
    }
  }
  const open = typeof child !== "number" && !state.folded.has(child.id);
  const inner = open ? layOut(child, homes) : null;
  const box = inner ? null : boxOf[operations[members[0]].output];
  const cell = newCell({ box, inner, width: (inner ?? box).width, height: (inner ?? box).height });
  for (const o of members) level.cellOf.set(o, cell);
}

/** The nets of a level: of each value the cell that it comes from and those that it goes to. */
function connect(level, newCell) {
  const members = level.group.members;
  const inside = new Set(members);
  const ends = [];
  for (const o of members) {
    const to = level.cellOf.get(o);
    for (const value of operations[o].inputs) {
      const from = sourceOf(level, value, inside, newCell);
      if (!from || from === to) continue;
      const net = netOf(level, value, from);
      if (!net.to.has(to)) net.to.set(to, { cell: to, slots: [], operations: new Set() });
      const target = net.to.get(to);
      target.operations.add(o);
      if (to.box && !to.box.group) target.slots.push(o);
      else target.slots = [o];
    }
    const made = operations[o].output;
    const leaves = uses[made].filter((user) => !inside.has(user));
    if (leaves.length) ends.push([made, to, leaves]);
  }
  for (const [made, from, leaves] of ends) {
    const port = newCell({ port: "exit", value: made, width: 12, height: 0 });
    netOf(level, made, from).to.set(port, { cell: port, slots: [leaves[0]], operations: new Set(leaves) });
  }
}

function netOf(level, value, from) {
  if (!level.nets.has(value)) level.nets.set(value, { value, from, to: new Map() });
  return level.nets.get(value);
}

function sourceOf(level, value, inside, newCell) {
  const made = values[value].operation;
  if (made !== null && inside.has(made)) return level.cellOf.get(made);
  if (level.cellOf.has(`v${value}`)) return level.cellOf.get(`v${value}`);
  const box = boxOf[value];
  if (!box || (made === null && box.group) || level.group === root) return null;
  if (made === null && homesInside(level.group, value)) return null;
  const port = newCell({ port: "entry", value, width: 12, height: 0 });
  level.cellOf.set(`v${value}`, port);
  return port;
}

/** Whether the leaf stands in a module within this one. */
const homesInside = (group, value) => group.members.length >= uses[value].length
  && uses[value].every((o) => chains[o].includes(group));

const offset = (cell, side, value) => (cell.inner ? cell.inner[side].get(value) - cell.width / 2 : 0);

function place(level) {
  assignLayers(level);
  const layers = lead(level);
  order(layers);
  return measure(level, layers);
}

function assignLayers(level) {
  const into = new Map(level.cells.map((cell) => [cell, []]));
  const out = new Map(level.cells.map((cell) => [cell, []]));
  for (const net of level.nets.values()) {
    for (const { cell } of net.to.values()) {
      into.get(cell).push(net.from);
      out.get(net.from).push(cell);
    }
  }
  const sorted = [...level.cells].sort((a, b) => (b.port === "entry") - (a.port === "entry"));
  const entries = level.cells.some((cell) => cell.port === "entry") ? 1 : 0;
  for (const cell of sorted) {
    cell.layer = Math.max(cell.port === "entry" ? 0 : entries, ...into.get(cell).map((above) => above.layer + 1));
  }
  for (const cell of [...sorted].reverse()) {
    if (!cell.port && !into.get(cell).length && out.get(cell).length) {
      cell.layer = Math.min(...out.get(cell).map((below) => below.layer)) - 1;
    }
  }
  const last = Math.max(...level.cells.map((cell) => (cell.port === "exit" ? 0 : cell.layer)));
  for (const cell of level.cells) if (cell.port === "exit") cell.layer = last + 1;
}

/** Lead long edges through the layers between, one way for all edges of a value; returns the layers. */
function lead(level) {
  const layers = Array.from({ length: Math.max(...level.cells.map((cell) => cell.layer), 0) + 1 }, () => []);
  for (const cell of level.cells) layers[cell.layer].push(cell);
  for (const net of level.nets.values()) {
    const deepest = Math.max(...[...net.to.values()].map((target) => target.cell.layer));
    net.way = [net.from];
    for (let layer = net.from.layer + 1; layer < deepest; layer++) {
      const bend = { bend: true, x: 0, y: 0, width: 12, height: 0, layer, up: [], down: [], pull: 0.2 };
      link(net.way.at(-1), bend, net.value);
      net.way.push(bend);
      layers[layer].push(bend);
    }
    for (const { cell } of net.to.values()) link(net.way[cell.layer - net.from.layer - 1], cell, net.value);
  }
  return layers;
}

function link(above, below, value) {
  const shift = offset(above, "exit", value) - offset(below, "entry", value);
  below.up.push([above, shift]);
  above.down.push([below, -shift]);
}

function order(layers) {
  layers.forEach(spread);
  for (let sweep = 0; sweep < 12; sweep++) {
    const near = sweep % 2 ? "down" : "up";
    for (const layer of sweep % 2 ? [...layers].reverse() : layers) {
      for (const cell of layer) {
        const weight = cell[near].reduce((all, [other]) => all + other.pull, 0);
        const moment = cell[near].reduce((all, [other, shift]) => all + other.pull * (other.x + shift), 0);
        if (weight) cell.x = moment / weight;
      }
      if (sweep < 8) layer.sort((a, b) => a.x - b.x);
      spread(layer);
    }
  }
}

/** Move apart what overlaps, in this order; the one that pulls strongest stays where it is. */
function spread(layer) {
  const apart = (i) => {
    const [a, b] = [layer[i - 1], layer[i]];
    return (a.width + b.width) / 2 + (a.bend && b.bend ? 6 : GAP);
  };
  let middle = 0;
  layer.forEach((cell, i) => (middle = cell.pull > layer[middle].pull ? i : middle));
  for (let i = middle + 1; i < layer.length; i++) layer[i].x = Math.max(layer[i].x, layer[i - 1].x + apart(i));
  for (let i = middle; i > 0; i--) layer[i - 1].x = Math.min(layer[i - 1].x, layer[i].x - apart(i));
}

/** Heights and sides; returns the level as what stands around it needs it. */
function measure(level, layers) {
  const all = layers.flat();
  const left = Math.min(...all.map((cell) => cell.x - cell.width / 2));
  const label = level.group === root ? 0 : level.group.path.length * 7.2 + 40;
  const inner = Math.max(...all.map((cell) => cell.x + cell.width / 2)) - left;
  const width = Math.max(inner + 2 * PAD, label);
  let y = level.group === root ? PAD : HEAD;
  const bands = layers.map((layer) => {
    const height = Math.max(...layer.map((cell) => cell.height));
    const band = { top: y, bottom: y + height };
    y += height + (height ? BETWEEN : PORT_GAP);
    return band;
  });
  const bottom = bands.at(-1).bottom;
  for (const cell of all) {
    cell.x += (width - inner) / 2 - left;
    cell.y = (bands[cell.layer].top + bands[cell.layer].bottom) / 2;
  }
  const ports = (kind) => new Map(level.cells.filter((cell) => cell.port === kind).map((cell) => [cell.value, cell.x]));
  return { level, bands, width, height: bottom + PAD, entry: ports("entry"), exit: ports("exit") };
}
