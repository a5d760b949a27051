/** Where the processor's time went, by the last profile. */
import { byId, el, setText } from './dom.js';
import { Flame } from './flame.js';
import { clock, count, duration, percent, place } from './format.js';

/** @import { Status } from '../thread/status.ts' */
/** @import { ProfileReport, ProfileRow } from '../../observe/reports.ts' */

const MAX_ROWS = 15;
const HOW = 'No profile yet: press “Profile…”.';
const HOW_ALWAYS = `${HOW} To have one every so often, add to the services of the config:\nprofiler: { use: profiler }`;

export class Profile {
  #flame = new Flame();
  #reported = false;

  /** @param {Status} status */
  update({ features }) {
    const empty = byId('profile-empty');
    empty.hidden = this.#reported;
    setText(empty, features.profiler ? HOW : HOW_ALWAYS);
  }

  clear() {
    this.#reported = false;
    byId('profile-body').hidden = true;
    setText(byId('profile-summary'), '');
  }

  /** @param {ProfileReport} report */
  report({ at, durationMs, hertz, samples, idleSamples, bySelf, byService, flame, files }) {
    this.#reported = true;
    byId('profile-empty').hidden = true;
    byId('profile-body').hidden = false;
    const busy = samples - idleSamples;
    const services = Object.entries(byService)
      .sort(([, one], [, other]) => other - one)
      .slice(0, 4)
      .map(([name, hits]) => `${name === '' ? 'no service' : name} ${percent(hits / Math.max(1, busy))}`);
    const written = files.length === 0 ? '' : `; written to ${files.join(', ')}`;
    setText(
      byId('profile-summary'),
      `${clock(at)}, ${duration(durationMs)} at ${count(hertz)} Hz, ${percent(idleSamples / Math.max(1, samples))} idle` +
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
