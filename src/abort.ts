import type { Clock } from './clock.ts';

/**
 * What `work` comes to, or a rejection with `signal.reason` as soon as the signal aborts. The listener is
 * removed either way; `work` itself goes on.
 */
export function orAborted<Result>(work: Promise<Result>, signal: AbortSignal): Promise<Result> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort);
    void work.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}

/** Aborts `controller`, with the same reason, when `signal` aborts or has aborted; until it is disposed of. */
export function abortWith(controller: AbortController, signal: AbortSignal): Disposable {
  const onAbort = () => controller.abort(signal.reason);
  if (signal.aborted) onAbort();
  else signal.addEventListener('abort', onAbort);
  return { [Symbol.dispose]: () => signal.removeEventListener('abort', onAbort) };
}

/** Whether `work` is done within `delayMs`; rejects when it does. */
export async function doneWithin(work: Promise<unknown>, delayMs: number, clock: Clock): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  using _timer = clock.setTimer(() => resolve(false), delayMs);
  return await Promise.race([work.then(() => true), promise]);
}
