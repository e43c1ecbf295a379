// The boxes: which there are while these modules are folded, what is written in each, and how large it is.

/**
 * @typedef {object} Box  shows one value, of a folded module the last one
 * @property {number} value
 * @property {Group | null} group
 * @property {string[]} title  its parts; all but the last are bold
 * @property {boolean} wrong
 * @property {number[]} panes  the widths of what the value and its gradient are shown in
 * @property {number} width
 * @property {number} height
 * @property {number} x  of its left side
 * @property {number} y  of its upper side
 */

/**
 * Of each value the box that shows it, if any.
 * @param {ReadonlySet<string>} folded
 * @param {number} letterWidth
 */
function chooseBoxes(folded, letterWidth) {
  /** @type {Map<number | string, Box>} */
  const boxes = new Map(); // by what they show: a value's number, or a group's id
  /** @type {(Box | null)[]} */
  const boxOf = values.map(() => null);

  /** @type {(value: number, group: Group | null) => Box} */
  const boxFor = (value, group) => {
    const key = group ? group.id : value;
    const box = boxes.get(key) ?? newBox(value, group, letterWidth);
    boxes.set(key, box);
    return box;
  };

  /** @type {(v: number, fold: Group | null) => void} */
  const addInput = (v, fold) => {
    if (boxOf[v] || values[v].operation !== null) return;
    if (values[v].kind === "constant" && !arrays[values[v].array].shape.length) return;
    const inside = fold && values[v].kind === "leaf" && usersOf[v].every((o) => foldedAround(o, folded) === fold);
    boxOf[v] = inside ? boxFor(lastIn(fold), fold) : boxFor(v, null); // a parameter of a folded module stands in it
  };

  operations.forEach((o, i) => {
    const fold = foldedAround(i, folded);
    const box = boxFor(fold ? lastIn(fold) : o.output, fold);
    for (const v of o.inputs) addInput(v, fold);
    boxOf[o.output] = box;
  });
  if (!operations.length) boxOf[output] = boxFor(output, null);
  return boxOf;
}

/**
 * The last value of a module.
 * @param {Group} group
 */
const lastIn = ({ members }) => operations[members[members.length - 1]].output;

/**
 * @param {number} value
 * @param {Group | null} group
 * @param {number} letterWidth
 * @returns {Box}
 */
function newBox(value, group, letterWidth) {
  const v = values[value];
  const called = v.operation === null ? "" : ` = ${operations[v.operation].call}`;
  const title = group ? [tail(group.path, 36), `  ${plural(group.members.length, "operation")}`]
    : [brief(v.name), cut(called, Math.max(38 - v.name.length, 14))];
  const wrong = (group ? group.members : v.operation === null ? [] : [v.operation]).some(isWrong);
  if (wrong) title.unshift("✗ ");
  const shown = paneSize([v.array], letterWidth);
  const gradient = arrivals[value].length ? paneSize(arrivals[value].map((a) => a.array), letterWidth)
    : { width: 62, height: 17 };
  gradient.width = Math.max(gradient.width, ...arrivals[value].map((a) => caption(value, a).length * 5.7));
  const width = Math.max(title.join("").length * letterWidth, shown.width + gradient.width + 18, 96);
  return {
    value, group, title, wrong, panes: [shown.width, gradient.width], width: Math.ceil(width) + 22,
    height: Math.max(shown.height, gradient.height) + 52, x: 0, y: 0,
  };
}

/**
 * The size of an array in a box, with room for every text that will stand there.
 * @param {number[]} versions  of it
 * @param {number} letterWidth
 */
function paneSize(versions, letterWidth) {
  const array = arrays[versions[0]];
  const numbers = fewNumbers(array);
  if (!numbers) return { width: 78, height: mapSize(array)[1] + 19 };
  const columns = array.shape.at(-1) ?? 1;
  const rows = columns ? numbers.length / columns : 1;
  let width = 0;
  for (let column = 0; column < columns; column++) {
    const texts = versions.flatMap((a) => (fewNumbers(arrays[a]) ?? []).filter((_, i) => i % columns === column));
    width += Math.max(...texts.map((x) => number(x).length), 1) * letterWidth + 10;
  }
  return { width: Math.max(width - 10, 36), height: Math.max(rows, 1) * 17 };
}

/**
 * Above a gradient: whether more is to come, and whether it is known to be wrong.
 * @param {number} v
 * @param {Arrival | null} gradient
 */
function caption(v, gradient) {
  if (gradient?.waiting) return `gradient, waits for ${gradient.waiting}`;
  return gradient && values[v].faults.length ? "gradient, wrong" : "gradient";
}

/**
 * What a screen reader says of a box.
 * @param {Box} box
 * @param {number} position
 */
function spoken(box, position) {
  const v = values[box.value];
  const gradient = gradientAt(box.value, position), none = absence(box.value);
  const made = v.operation === null ? v.kind : `${operations[v.operation].rule} of `
    + operations[v.operation].inputs.map((input) => values[input].name).join(" and ");
  const parts = box.group ? [`module ${box.group.path}, folded, ${plural(box.group.members.length, "operation")}`]
    : [`${v.name}, ${made}`];
  parts.push(knownAt[box.value] <= position ? `value ${spokenArray(v.array)}` : "value not computed yet");
  if (gradient) parts.push(`gradient ${spokenArray(gradient.array)}`);
  else parts.push(none === "–" ? "gradient not computed yet" : ABSENCE[none]);
  if (box.wrong) parts.push("gives its inputs a wrong gradient");
  if (gradient?.waiting) parts.push(`waits for ${gradient.waiting} more`);
  return parts.join(", ");
}

/** @param {number} a */
function spokenArray(a) {
  const only = onlyNumber(a);
  return only === null ? `${arrays[a].shape.join(" by ")} numbers` : number(only);
}
