/** A flame graph: the root on top, as wide as its share of the samples. */
import { byId, setText } from './dom.js';
import { count, percent, place } from './format.js';

/** @import { FlameNode } from '../../observe/reports.ts' */
/**
 * @typedef {object} Box
 * @property {FlameNode} node
 * @property {Box | undefined} parent
 * @property {Box[]} children
 * @property {number} depth
 * @property {number} start in samples
 */

const ROW = 18;
/** Deeper than that is not drawn: recursion without end would make a canvas without end. */
const MAX_DEPTH = 250;

export class Flame {
  #canvas = /** @type {HTMLCanvasElement} */ (byId('flame'));
  #scroll = byId('flame-scroll');
  #readout = byId('flame-readout');
  /** @type {Box | undefined} */
  #root;
  /** @type {Box | undefined} */
  #zoomed;
  /** @type {Box | undefined} */
  #selected;
  #wanted = '';

  constructor() {
    const canvas = this.#canvas;
    canvas.addEventListener('pointermove', (event) => this.#describe(this.#boxAt(event)));
    canvas.addEventListener('pointerleave', () => this.#describe(this.#selected));
    canvas.addEventListener('click', (event) => this.#zoom(this.#boxAt(event)));
    canvas.addEventListener('keydown', (event) => this.#onKey(event));
    for (const type of ['focus', 'blur']) canvas.addEventListener(type, () => this.draw());
    byId('flame-reset').addEventListener('click', () => this.#zoom(this.#root));
    byId('flame-search').addEventListener('input', (event) => {
      this.#wanted = /** @type {HTMLInputElement} */ (event.target).value.toLowerCase();
      this.#describeFound();
      this.draw();
    });
    new ResizeObserver(() => this.draw()).observe(this.#scroll);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.draw());
  }

  /** Whether somebody looks at a part of it. */
  get inUse() {
    return this.#zoomed !== this.#root || this.#selected !== this.#root || this.#wanted !== '';
  }

  /** @param {FlameNode} root */
  show(root) {
    this.#root = boxOf(root, undefined, 0, 0);
    this.#zoom(this.#root);
  }

  draw() {
    const zoomed = this.#zoomed;
    const width = this.#scroll.clientWidth;
    const context = this.#canvas.getContext('2d');
    if (zoomed === undefined || context === null || width === 0) return;
    const scale = devicePixelRatio;
    const height = (depthOf(zoomed) + 1) * ROW;
    this.#canvas.width = Math.round(width * scale);
    this.#canvas.height = Math.round(height * scale);
    this.#canvas.style.width = `${width}px`;
    this.#canvas.style.height = `${height}px`;
    context.scale(scale, scale);
    const style = getComputedStyle(document.documentElement);
    /** @param {string} name */
    const colour = (name) => style.getPropertyValue(name).trim();
    context.font = `11px ${colour('--mono')}`;
    context.textBaseline = 'middle';
    for (const box of this.#shown()) {
      const { left, size } = this.#place(box, width);
      const found = this.#wanted !== '' && this.#matches(box);
      const kind = found ? '--flame-found' : `--flame-${kindOf(box)}`;
      context.globalAlpha = box.depth < zoomed.depth || (this.#wanted !== '' && !found) ? 0.55 : 1;
      context.fillStyle = colour(kind);
      context.fillRect(left, box.depth * ROW, Math.max(1, size - 1), ROW - 1);
      context.globalAlpha = 1;
      if (size > 24) {
        context.fillStyle = colour('--flame-ink');
        const letters = Math.floor((size - 8) / 6.7);
        const text = place(box.node.frame);
        context.fillText(
          text.length > letters ? `${text.slice(0, letters - 1)}…` : text,
          left + 4,
          box.depth * ROW + ROW / 2,
        );
      }
      if (box === this.#selected && document.activeElement === this.#canvas) {
        context.strokeStyle = colour('--ink');
        context.lineWidth = 2;
        context.strokeRect(left + 1, box.depth * ROW + 1, Math.max(2, size - 3), ROW - 3);
      }
    }
  }

  /** @returns {Iterable<Box>} those above what is zoomed to, and those below that are wide enough to be seen */
  *#shown() {
    const width = this.#scroll.clientWidth;
    for (let above = this.#zoomed?.parent; above !== undefined; above = above.parent) yield above;
    const left = this.#zoomed === undefined ? [] : [this.#zoomed];
    for (let box = left.pop(); box !== undefined; box = left.pop()) {
      yield box;
      left.push(...box.children.filter((child) => this.#place(child, width).size >= 0.5));
    }
  }

  /**
   * @param {Box} box
   * @param {number} width
   */
  #place(box, width) {
    const zoomed = /** @type {Box} */ (this.#zoomed);
    if (box.depth < zoomed.depth) return { left: 0, size: width };
    const each = width / Math.max(1, zoomed.node.hits);
    return { left: (box.start - zoomed.start) * each, size: box.node.hits * each };
  }

  /** @param {MouseEvent} event */
  #boxAt({ offsetX, offsetY }) {
    const width = this.#scroll.clientWidth;
    for (const box of this.#shown()) {
      if (Math.floor(offsetY / ROW) !== box.depth) continue;
      const { left, size } = this.#place(box, width);
      if (offsetX >= left && offsetX < left + size) return box;
    }
    return undefined;
  }

  /** @param {Box | undefined} box */
  #zoom(box) {
    if (box === undefined) return;
    this.#zoomed = box;
    this.#select(box);
  }

  /** @param {Box | undefined} box */
  #select(box) {
    if (box === undefined) return;
    this.#selected = box;
    this.#describe(box);
    this.draw();
    const top = box.depth * ROW;
    const { scrollTop, clientHeight } = this.#scroll;
    if (top < scrollTop || top + ROW > scrollTop + clientHeight)
      this.#scroll.scrollTop = top - clientHeight / 2;
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    const box = this.#selected;
    if (box === undefined) return;
    const siblings = box.parent?.children ?? [box];
    const at = siblings.indexOf(box);
    /** @type {Readonly<Record<string, () => void>>} */
    const keys = {
      ArrowUp: () => this.#select(box.parent),
      ArrowDown: () => this.#select(box.children[0]),
      ArrowLeft: () => this.#select(siblings[at - 1]),
      ArrowRight: () => this.#select(siblings[at + 1]),
      Enter: () => this.#zoom(box),
      Escape: () => this.#zoom(this.#root),
    };
    const act = keys[event.key];
    if (act === undefined) return;
    event.preventDefault();
    act();
  }

  /** @param {Box | undefined} box */
  #describe(box) {
    if (box === undefined || this.#root === undefined) return;
    const { frame, hits } = box.node;
    const share = percent(hits / Math.max(1, this.#root.node.hits));
    const where = frame.file === '' ? '' : `, ${frame.file}:${frame.line}`;
    setText(this.#readout, `${frame.name || '(anonymous)'}${where}: ${share}, ${count(hits)} samples`);
  }

  #describeFound() {
    if (this.#root === undefined || this.#wanted === '') return this.#describe(this.#selected);
    let hits = 0;
    const left = [this.#root];
    for (let box = left.pop(); box !== undefined; box = left.pop()) {
      if (this.#matches(box)) hits += box.node.hits;
      else left.push(...box.children);
    }
    setText(
      this.#readout,
      `“${this.#wanted}”: ${percent(hits / Math.max(1, this.#root.node.hits))} of all samples`,
    );
  }

  /** @param {Box} box */
  #matches({ node: { frame } }) {
    return `${frame.name} ${frame.file}`.toLowerCase().includes(this.#wanted);
  }
}

/** @param {Box} box */
function kindOf({ node: { frame } }) {
  if (frame.file === '') return 'native';
  if (frame.file.startsWith('node:')) return 'node';
  return frame.file.includes('/node_modules/') ? 'library' : 'own';
}

/**
 * @param {FlameNode} node
 * @param {Box | undefined} parent
 * @param {number} depth
 * @param {number} start
 * @returns {Box}
 */
function boxOf(node, parent, depth, start) {
  /** @type {Box} */
  const box = { node, parent, children: [], depth, start };
  let at = start;
  const children = depth >= MAX_DEPTH ? [] : [...node.children].sort((one, other) => other.hits - one.hits);
  for (const child of children) {
    box.children.push(boxOf(child, box, depth + 1, at));
    at += child.hits;
  }
  return box;
}

/**
 * @param {Box} box
 * @returns {number}
 */
const depthOf = (box) =>
  box.children.reduce((deepest, child) => Math.max(deepest, depthOf(child)), box.depth);
