// What can change on the page. All else that it shows follows from this and the recording.

const MOST_UNFOLDED = 500; // operations; beyond that modules start folded
const MOST_BOXES = 60; // that are then shown
const LEAST_ZOOM = 0.005, MOST_ZOOM = 3;

/**
 * @typedef {{ value: number, index: number[] }} Entry  of the gradient of a value
 * @typedef {"position" | "selection" | "layout" | "zoom" | "playing" | "traced" | "theme"} Aspect
 */

/** Only its methods change it; each tells the view of what it has changed. */
class State {
  position = 0; // how many steps have been made
  /** @type {number | null} that is selected */
  value = null;
  /** @type {Group | null} that is selected instead */
  group = null;
  /** @type {Entry | null} whose why is open */
  entry = null;
  /** @type {ReadonlySet<string>} the ids of the folded groups */
  folded = operations.length > MOST_UNFOLDED ? foldedAtFirst() : new Set();
  /** @type {{ value: number, position: number } | null} what was pointed at, and when: its gradient's ways are lit */
  traced = null;
  zoom = 1;
  timer = 0; // the browser's, while it plays; 0 else
  /** @type {"light" | "dark" | null} null for the system's */
  theme = null;
  letterWidth = 7.2; // in the boxes
  isMeasured = false; // in a hidden frame nothing has a width

  /** @type {Layout | null} */
  #layout = null;
  /** @type {Partial<Record<Aspect, () => void>>} */
  #views = {};

  /** @param {Record<Aspect, () => void>} views  of each aspect what shows it */
  watch(views) {
    this.#views = views;
  }

  /** @param {Aspect} aspect */
  #changed(aspect) {
    this.#views[aspect]?.();
  }

  /** Where everything lies: a function of what is folded and of the letters. */
  get layout() {
    return (this.#layout ??= layOut(this.folded, this.letterWidth));
  }

  /** @param {number} position  taken to the next one that there is; returns whether that is another */
  goTo(position) {
    const before = this.position;
    this.position = Math.max(0, Math.min(steps.length, position));
    if (this.position !== before) this.#changed("position");
    return this.position !== before;
  }

  /** @param {Partial<Pick<State, "value" | "group" | "entry">>} selection  nothing selects nothing */
  select({ value = null, group = null, entry = null }) {
    Object.assign(this, { value, group, entry });
    this.#changed("selection");
  }

  /** @param {Iterable<string>} folded  the ids of the groups that are to be folded */
  fold(folded) {
    this.folded = new Set(folded);
    this.#layOutAgain();
  }

  /** @param {Group} group */
  toggle(group) {
    const { id } = group;
    this.fold(this.folded.has(id) ? [...this.folded].filter((other) => other !== id) : [...this.folded, id]);
  }

  /** @type {(letterWidth: number, isMeasured: boolean) => void} */
  measure(letterWidth, isMeasured) {
    this.isMeasured = isMeasured;
    if (letterWidth === this.letterWidth) return;
    this.letterWidth = letterWidth;
    this.#layOutAgain();
  }

  #layOutAgain() {
    this.#layout = null;
    this.trace(null);
    this.#changed("layout");
  }

  /** @param {number} zoom */
  zoomTo(zoom) {
    this.zoom = Math.max(LEAST_ZOOM, Math.min(MOST_ZOOM, zoom));
    this.#changed("zoom");
  }

  /** @param {number} timer  that steps, 0 to pause */
  play(timer) {
    this.timer = timer;
    this.#changed("playing");
  }

  /** @param {number | null} value  that is pointed at */
  trace(value) {
    this.traced = value === null ? null : { value, position: this.position };
    this.#changed("traced");
  }

  /** @param {"light" | "dark"} theme */
  setTheme(theme) {
    this.theme = theme;
    this.#changed("theme");
  }
}

/** Of a large graph, the outer modules are unfolded as long as the boxes are few. */
function foldedAtFirst() {
  const folded = new Set(groups.keys());
  let boxes = root.children.length;
  const level = [root];
  for (const group of level) { // grows while it is walked
    if (group !== root && boxes + group.children.length - 1 > MOST_BOXES) continue;
    if (group !== root) boxes += group.children.length - 1;
    folded.delete(group.id);
    level.push(...groupsIn(group));
  }
  return folded;
}

/** @type {Readonly<State>} */
const state = new State();
