/** Figures for people. */

const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

/** @param {number} count */
export function bytes(count) {
  let value = Math.abs(count);
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || value >= 100 ? 0 : 1;
  return `${count < 0 ? '−' : ''}${value.toFixed(digits)} ${units[unit]}`;
}

/**
 * With its sign, also above 0.
 *
 * @param {number} value
 * @param {(value: number) => string} format
 */
export const change = (value, format) => (value > 0 ? `+${format(value)}` : format(value));

/** @param {number} value */
export const count = (value) => value.toLocaleString('en-US').replace('-', '−');

/** @param {number} ms */
export function duration(ms) {
  if (ms < 1_000) return ms > 0 && ms < 10 ? `${ms.toFixed(1)} ms` : `${Math.round(ms)} ms`;
  const seconds = ms / 1_000;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  return age(ms);
}

/**
 * In whole seconds, the two largest units.
 *
 * @param {number} ms
 */
export function age(ms) {
  const seconds = Math.floor(ms / 1_000);
  const minutes = Math.floor(seconds / 60);
  const hours = Math.floor(minutes / 60);
  if (minutes === 0) return `${seconds} s`;
  if (hours === 0) return `${minutes} m ${two(seconds % 60)} s`;
  if (hours < 24) return `${hours} h ${two(minutes % 60)} m`;
  return `${Math.floor(hours / 24)} d ${two(hours % 24)} h`;
}

/** @param {number} value */
const two = (value) => String(value).padStart(2, '0');

/**
 * With its day before, unless that is today.
 *
 * @param {number} at milliseconds since the epoch
 */
export function clock(at) {
  const date = new Date(at);
  const time = `${minute(at)}:${two(date.getSeconds())}`;
  if (date.toDateString() === new Date().toDateString()) return time;
  return `${date.getDate()} ${date.toLocaleString('en-GB', { month: 'short' })} ${time}`;
}

/** @param {number} at milliseconds since the epoch */
export function minute(at) {
  const date = new Date(at);
  return `${two(date.getHours())}:${two(date.getMinutes())}`;
}

/** @param {number} share from 0 to 1 */
export const percent = (share) => `${(share * 100).toFixed(share < 0.0995 ? 1 : 0)} %`;

/**
 * The last parts of a path: enough to know a file by.
 *
 * @param {string} file
 */
export const shortFile = (file) => file.split('/').slice(-2).join('/');

/** @param {import('../../observe/reports.ts').Frame | undefined} frame */
export function place(frame) {
  if (frame === undefined) return 'not known';
  const name = frame.name === '' ? '(anonymous)' : frame.name;
  return frame.file === '' ? name : `${name} ${shortFile(frame.file)}:${frame.line}`;
}
