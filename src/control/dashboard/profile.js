/** Where the processor's time went, by the last profile. */
import { byId, el, setText, timeOf } from './dom.js';
import { Flame } from './flame.js';
import { count, duration, percent, place } from './format.js';

/** @import { Status } from '../shown.ts' */
/** @import { ProfileReport, ProfileRow } from '../../observe/reports.ts' */

const MAX_ROWS = 15;
const HOW = 'No profile yet: press “Profile…”.';
const HOW_ALWAYS = `${HOW} To have one every so often, add to the services of the config:\nprofiler: { use: profiler }`;

export class Profile {
  #flame = new Flame();
  /** When the one that is shown was taken. @type {number | undefined} */
  #at;
  /** What is not shown yet. @type {ProfileReport | undefined} */
  #newer;
  #showNewer = byId('profile-newer');

  constructor() {
    this.#showNewer.addEventListener('click', () => {
      if (this.#newer !== undefined) this.report(this.#newer);
      byId('flame').focus();
    });
  }

  /** @param {Status} status */
  update({ features }) {
    const empty = byId('profile-empty');
    empty.hidden = this.#at !== undefined;
    setText(empty, features.profiler ? HOW : HOW_ALWAYS);
  }

  clear() {
    this.#at = undefined;
    this.#keep(undefined);
    byId('profile-body').hidden = true;
    setText(byId('profile-summary'), '');
  }

  /** @param {number} at */
  knows(at) {
    return at === this.#at || at === this.#newer?.at;
  }

  /** @param {ProfileReport} report one that was not asked for: it takes nothing away that is looked at */
  offer(report) {
    if (this.knows(report.at)) return;
    if (this.#at !== undefined && this.#flame.inUse) this.#keep(report);
    else this.report(report);
  }

  /** @param {ProfileReport | undefined} report */
  #keep(report) {
    this.#newer = report;
    this.#showNewer.hidden = report === undefined;
  }

  /** @param {ProfileReport} report */
  report({ at, durationMs, hertz, samples, idleSamples, bySelf, byService, flame, files }) {
    this.#keep(undefined);
    if (at === this.#at) return;
    this.#at = at;
    byId('profile-empty').hidden = true;
    byId('profile-body').hidden = false;
    const busy = samples - idleSamples;
    const services = Object.entries(byService)
      .sort(([, one], [, other]) => other - one)
      .slice(0, 4)
      .map(([name, hits]) => `${name === '' ? 'no service' : name} ${percent(hits / Math.max(1, busy))}`);
    const written = files.length === 0 ? '' : `; written to ${files.join(', ')}`;
    byId('profile-summary').replaceChildren(
      timeOf(at),
      `, ${duration(durationMs)} at ${count(hertz)} Hz, ${percent(idleSamples / Math.max(1, samples))} idle` +
        `${services.length === 0 ? '' : `; of the rest ${services.join(', ')}`}${written}`,
    );
    this.#flame.show(flame);
    byId('profile-rows').replaceChildren(...bySelf.slice(0, MAX_ROWS).map(rowOf));
  }
}

/** @param {ProfileRow} row */
function rowOf({ frame, selfShare, totalShare, service }) {
  return el(
    'tr',
    {},
    el('td', { class: 'number' }, percent(selfShare)),
    el('td', { class: 'number' }, percent(totalShare)),
    el('td', { title: `${frame.file}:${frame.line}:${frame.column}` }, place(frame)),
    el('td', {}, service ?? ''),
  );
}
