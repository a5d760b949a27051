import { executionAsyncId } from 'node:async_hooks';
import { getCallSites } from 'node:util';
import type { Frame } from '../observe/reports.ts';
import { runOf, serviceNameOf } from '../supervisor/run.ts';
import { type Heartbeat, steadyMs } from './heartbeat.ts';

/** Node's own limit. */
const MAX_FRAMES = 200;
/** What stands above the code that was interrupted: `glimpse`, the function that calls it, and the expression. */
const OWN_FRAMES = 3;

/** What the main thread was doing. */
export interface Glimpse {
  /** When it was seen, by `steadyMs`. */
  readonly at: number;
  /** Whose code it was. */
  readonly service: string | undefined;
  /** Of the callback that the loop had called; 0 in a promise reaction, which has none. */
  readonly turn: number;
  /** The innermost frame first. */
  readonly stack: readonly Frame[];
}

/** Lets the watcher thread see the main one's stack while that is busy; ends when disposed of. */
export class StackProbe implements Disposable {
  /** What the thread evaluates, with a beat in the place of `BEAT`. */
  readonly expression: string;
  readonly #symbol: symbol;

  constructor(heartbeat: Heartbeat) {
    // Of this entrypoint alone: others may be watched in the same process.
    const key = `bosun.stack.${crypto.randomUUID()}`;
    this.#symbol = Symbol.for(key);
    this.expression = `globalThis[Symbol.for('${key}')]?.(BEAT)`;
    Object.defineProperty(globalThis, this.#symbol, {
      configurable: true,
      value: (beat: number) => glimpse(heartbeat, beat),
    });
  }

  [Symbol.dispose](): void {
    Reflect.deleteProperty(globalThis, this.#symbol);
  }
}

/**
 * Runs in the middle of whatever runs; nothing, when the loop has turned since `beat`, or when it is the loop
 * itself that runs this: then it is not blocked by what is seen here.
 */
function glimpse(heartbeat: Heartbeat, beat: number): Glimpse | undefined {
  if (heartbeat.lastBeatMs !== beat) return undefined;
  const stack = getCallSites(MAX_FRAMES, { sourceMap: false })
    .slice(OWN_FRAMES)
    .map((site) => ({
      name: site.functionName,
      file: site.scriptName,
      line: site.lineNumber,
      column: site.columnNumber,
    }));
  if (stack.length === 0) return undefined;
  return { at: steadyMs(), service: serviceNameOf(runOf()), turn: executionAsyncId(), stack };
}
