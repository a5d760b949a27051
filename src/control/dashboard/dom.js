/** Puts the page together. Text from the daemon only ever becomes text. */
import { clock } from './format.js';

/**
 * @param {string} id
 * @returns {HTMLElement}
 */
export function byId(id) {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`the page has no #${id}`);
  return found;
}

/**
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Readonly<Record<string, string>>} [attributes]
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/**
 * Only when it changes: what is selected, or read aloud, stays so.
 *
 * @param {Node} node
 * @param {string} text
 */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** @param {number} at milliseconds since the epoch */
export function timeOf(at) {
  const time = el('time', {}, clock(at));
  time.dataset.at = String(at);
  return time;
}

/** What was today is yesterday some time. */
export function refreshTimes() {
  for (const time of document.querySelectorAll('time')) setText(time, clock(Number(time.dataset.at)));
}

/**
 * @param {readonly import('../../observe/reports.ts').Frame[]} stack
 * @returns {HTMLElement}
 */
export function stackOf(stack) {
  const lines = stack.map(({ name, file, line }) => {
    const place = file === '' ? 'native' : `${file}:${line}`;
    return `${name === '' ? '(anonymous)' : name}  ${place}`;
  });
  return el('pre', {}, lines.join('\n'));
}
