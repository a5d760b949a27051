import type { Frame } from '../../observe/reports.ts';
import type { Glimpse } from '../stack-probe.ts';

/** What stood on the main thread's stack at one moment. */
export interface Look extends Glimpse {
  /** Whether native code ran when it was asked for: it was seen only when that had come back. */
  readonly inNative: boolean;
}

/** What is to be said of a time in which the loop did not turn. */
export interface Verdict {
  readonly look: Look;
  /** Whether that is what held it up; otherwise it is only what was seen last, and may be innocent. */
  readonly certain: boolean;
}

/** Looks come at equal distances, but one may be late. */
const TOLERANCE = 1.5;

/** Looks at one and the same callback, without another one between them. */
interface Run {
  readonly callback: string;
  readonly looks: Look[];
}

/**
 * Who held up the loop, by looks at its stack: between two beats it may run any number of callbacks, so that what is
 * seen once says little. The callback with the longest time between its first and its last look has held it up for so
 * long at least. It is named when nothing that went unseen can have been longer.
 */
export class Looks {
  #current: Run | undefined;
  #longest: Run | undefined;
  #lastAt: number;
  /** The longest time in which it is not known what ran. */
  #unseenMs = 0;

  /** `beganAt`, as all times here, is by `steadyMs`. */
  constructor(beganAt: number) {
    this.#lastAt = beganAt;
  }

  /** Adds one that is later than those before. */
  add(look: Look): void {
    const callback = callbackOf(look);
    if (this.#current?.callback === callback) {
      this.#current.looks.push(look);
    } else {
      this.#unseenMs = Math.max(this.#unseenMs, look.at - this.#lastAt);
      this.#current = { callback, looks: [look] };
    }
    this.#lastAt = look.at;
    if (this.#longest === undefined || spanMs(this.#current) > spanMs(this.#longest)) {
      this.#longest = this.#current;
    }
  }

  /** What is known up to `at`; `undefined`: nothing was seen. */
  verdict(at: number): Verdict | undefined {
    const last = this.#current?.looks.at(-1);
    if (last === undefined || this.#longest === undefined) return undefined;
    const unseenMs = Math.max(this.#unseenMs, at - last.at);
    const { looks } = this.#longest;
    const certain = looks.length > 1 && spanMs(this.#longest) * TOLERANCE >= unseenMs;
    return { look: certain ? typical(looks) : last, certain };
  }
}

const spanMs = ({ looks }: Run) => (looks.at(-1)?.at ?? 0) - (looks[0]?.at ?? 0);

/**
 * Names the callback that the event loop had called. A promise reaction has no id of its own: there it is the function
 * that stands outermost.
 */
function callbackOf({ service, turn, stack }: Look): string {
  const began = turn === 0 ? functionOf(stack.findLast(isOwn) ?? stack.at(-1)) : turn;
  return `${service} ${began}`;
}

/** The last look of those at the function that was seen for longest: a look stands for the time around it. */
function typical(looks: readonly Look[]): Look {
  const shares = new Map<string, number>();
  let [best] = looks as readonly [Look];
  let longest = 0;
  for (const [i, look] of looks.entries()) {
    const name = functionOf(look.stack.find(isOwn) ?? look.stack[0]);
    const { at: from } = looks[i - 1] ?? look;
    const { at: to } = looks[i + 1] ?? look;
    const share = (shares.get(name) ?? 0) + (to - from) / 2;
    shares.set(name, share);
    if (share < longest) continue;
    longest = share;
    best = look;
  }
  return best;
}

const functionOf = (frame: Frame | undefined) => `${frame?.name} ${frame?.file}`;

/** Code that somebody wrote for this daemon, or chose for it: not Node's own, and not what it calls. */
export const isOwn = ({ file }: Frame) => file !== '' && !file.startsWith('node:');
