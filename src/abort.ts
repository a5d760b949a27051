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
