/** The process over the last minutes. */
import { byId, el, setText } from './dom.js';
import { bytes, clock, duration, minute, percent } from './format.js';
import uPlot from './uplot.js';

/** @import { Status } from '../shown.ts' */
/** @typedef {Status['process']} Figures */
/**
 * @typedef {object} Line
 * @property {string} name
 * @property {(figures: Figures) => number | null} of
 */
/**
 * @typedef {object} Definition
 * @property {string} title
 * @property {readonly Line[]} lines
 * @property {(value: number) => string} format
 * @property {number} least the scale reaches at least that far
 */

/** A point a second. */
const MAX_POINTS = 15 * 60;
const SHORTEST_S = 120;
const HEIGHT = 104;
/** From 1 MiB to 1 TiB: the steps of a scale of bytes. */
const binary = Array.from({ length: 21 }, (_none, power) => 2 ** (20 + power));

/** @type {readonly Definition[]} */
const definitions = [
  {
    title: 'Memory',
    format: bytes,
    least: 16 * 1024 * 1024,
    lines: [
      { name: 'RSS', of: ({ rssBytes }) => rssBytes },
      { name: 'heap', of: ({ heapUsedBytes }) => heapUsedBytes },
    ],
  },
  {
    title: 'CPU',
    format: percent,
    least: 0.1,
    lines: [{ name: 'of one core', of: ({ cpuShare }) => cpuShare }],
  },
  {
    title: 'Loop delay',
    format: duration,
    least: 5,
    lines: [{ name: 'longest', of: ({ loopDelayMaxMs }) => loopDelayMaxMs }],
  },
  {
    title: 'Requests',
    format: (value) => `${value < 10 ? value.toFixed(1) : Math.round(value)}/s`,
    least: 5,
    lines: [{ name: 'over HTTP', of: ({ requestsPerSecond }) => requestsPerSecond }],
  },
  {
    title: 'Latency',
    format: duration,
    least: 5,
    lines: [{ name: 'p99', of: ({ requestP99Ms }) => requestP99Ms }],
  },
];

export class Plots {
  /** @type {number[]} */
  #times = [];
  /** Whether the last point is a gap: one breaks the line, more would push it out. */
  #broken = true;
  /** @type {Plot[]} */
  #plots = definitions.map((definition) => new Plot(definition));

  constructor() {
    byId('plots').append(...this.#plots.map(({ figure }) => figure));
    const redraw = () => this.#draw();
    const dark = matchMedia('(prefers-color-scheme: dark)');
    dark.addEventListener('change', () => {
      for (const plot of this.#plots) plot.rebuild();
      redraw();
    });
    document.addEventListener('visibilitychange', redraw);
  }

  /** @param {Status} status */
  add({ process }) {
    this.#push(Date.now() / 1_000, (line) => line.of(process));
    this.#broken = false;
    for (const plot of this.#plots) plot.showLatest();
    this.#draw();
  }

  /** What is not known is no line. */
  gap() {
    if (this.#broken) return;
    this.#push(Date.now() / 1_000, () => null);
    this.#broken = true;
  }

  /**
   * @param {number} at
   * @param {(line: Line) => number | null} valueFor
   */
  #push(at, valueFor) {
    this.#times.push(at);
    if (this.#times.length > MAX_POINTS) this.#times.shift();
    for (const plot of this.#plots) plot.push(valueFor);
  }

  #draw() {
    if (document.hidden) return;
    for (const plot of this.#plots) plot.draw(this.#times);
  }
}

class Plot {
  #definition;
  /** @type {(number | null)[][]} */
  #values;
  /** @type {uPlot | undefined} */
  #plot;
  #readings;
  #when = el('span', { class: 'when' });
  #box = el('div', { class: 'box' });
  #times = /** @type {readonly number[]} */ ([]);
  #pointed = false;

  /** @param {Definition} definition */
  constructor(definition) {
    this.#definition = definition;
    this.#values = definition.lines.map(() => []);
    this.#readings = definition.lines.map(() => el('b', {}, '–'));
    const legend = definition.lines.map(({ name }, index) =>
      el(
        'span',
        { class: `key key-${index + 1}` },
        /** @type {HTMLElement} */ (this.#readings[index]),
        ` ${name}`,
      ),
    );
    this.figure = el(
      'figure',
      {},
      el(
        'figcaption',
        {},
        el('div', {}, el('span', { class: 'title' }, definition.title), this.#when),
        el('div', { class: 'readings' }, ...legend),
      ),
      this.#box,
    );
    new ResizeObserver(() => {
      const width = this.#box.clientWidth;
      if (this.#plot !== undefined && width > 0) this.#plot.setSize({ width, height: HEIGHT });
    }).observe(this.#box);
  }

  /** @param {(line: Line) => number | null} valueFor */
  push(valueFor) {
    this.#definition.lines.forEach((line, index) => {
      const values = /** @type {(number | null)[]} */ (this.#values[index]);
      values.push(valueFor(line));
      if (values.length > MAX_POINTS) values.shift();
    });
  }

  showLatest() {
    if (!this.#pointed) this.#show(/** @type {unknown[]} */ (this.#values[0]).length - 1);
  }

  /** @param {readonly number[]} times */
  draw(times) {
    this.#times = times;
    const data = /** @type {uPlot.AlignedData} */ ([times, ...this.#values]);
    if (this.#plot === undefined) this.#plot = new uPlot(this.#options(), data, this.#box);
    else this.#plot.setData(data);
  }

  /** In other colours. */
  rebuild() {
    this.#plot?.destroy();
    this.#plot = undefined;
  }

  /** @param {number} index */
  #show(index) {
    const { format } = this.#definition;
    this.#readings.forEach((reading, line) => {
      const value = this.#values[line]?.[index];
      setText(reading, value === null || value === undefined ? '–' : format(value));
    });
    const at = this.#times[index];
    setText(this.#when, this.#pointed && at !== undefined ? clock(at * 1_000) : '');
  }

  /** @returns {uPlot.Options} */
  #options() {
    const { least, lines, format } = this.#definition;
    const style = getComputedStyle(document.documentElement);
    /** @param {string} name */
    const colour = (name) => style.getPropertyValue(name).trim();
    const font = `11px ${style.getPropertyValue('--sans')}`;
    const axis = { stroke: colour('--dim'), font, ticks: { show: false } };
    return {
      width: this.#box.clientWidth || 200,
      height: HEIGHT,
      padding: [8, 14, 0, 0],
      legend: { show: false },
      cursor: { sync: { key: 'process' }, drag: { x: false, y: false }, points: { size: 6 } },
      scales: {
        x: {
          range: (_plot, min, max) => [max - Math.min(MAX_POINTS, Math.max(SHORTEST_S, max - min)), max],
        },
        y: { range: (_plot, _min, max) => [0, Math.max(least, (max ?? 0) * 1.1)] },
      },
      axes: [
        {
          ...axis,
          size: 20,
          space: 50,
          // Whole minutes.
          incrs: [60, 120, 300],
          grid: { show: false },
          values: (_plot, at) => at.map((s) => minute(s * 1_000)),
        },
        {
          ...axis,
          size: 56,
          ...(format === bytes && { incrs: binary }),
          space: 30,
          gap: 4,
          grid: { stroke: colour('--line'), width: 1 },
          values: (_plot, values) => values.map((value) => (value === 0 ? '0' : format(value))),
        },
      ],
      series: [
        {},
        ...lines.map((_line, index) => ({
          stroke: colour(`--plot-${index + 1}`),
          width: 1.5,
          points: { show: false },
        })),
      ],
      hooks: {
        setCursor: [
          ({ cursor: { idx } }) => {
            this.#pointed = typeof idx === 'number';
            if (typeof idx === 'number') this.#show(idx);
            else this.showLatest();
          },
        ],
      },
    };
  }
}
