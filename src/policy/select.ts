import { Call, currentCall, inCall, orEnded, withSignal } from '../call.ts';
import { OptionsError } from '../errors.ts';

/** What may be selected, by name. */
export type Selectable = Readonly<Record<string, (signal: AbortSignal) => unknown>>;

/** Which of the works was first, and what it came to. */
export type Selected<Works extends Selectable> = {
  readonly [Key in keyof Works & string]: {
    readonly key: Key;
    readonly value: Awaited<ReturnType<Works[Key]>>;
  };
}[keyof Works & string];

/**
 * Begins all of the works and waits for the first to settle; it rejects if that does. The others are aborted
 * then, and what they come to is ignored; all are when the caller gives up, or `signal` aborts.
 *
 * ```ts
 * const first = await select({
 *   message: (signal) => inbox.next(signal),
 *   tick: (signal) => clock.sleep(1_000, { signal }),
 * });
 * if (first.key === 'message') handle(first.value);
 * ```
 *
 * @throws {OptionsError} `ERR_OPTIONS` when there is no work; the reason of the caller or the signal; whatever the
 * first work throws.
 */
export async function select<const Works extends Selectable>(
  works: Works,
  { signal }: { readonly signal?: AbortSignal } = {},
): Promise<Selected<Works>> {
  const entries = Object.entries(works);
  if (entries.length === 0) {
    throw new OptionsError('select', [{ path: [], rule: 'must hold a function at least', received: works }]);
  }
  const among = (caller: Call | undefined) => firstOf(entries, caller) as Promise<Selected<Works>>;
  return await (signal === undefined ? among(currentCall()) : withSignal(signal, currentCall(), among));
}

async function firstOf(
  entries: readonly (readonly [string, Selectable[string]])[],
  caller: Call | undefined,
): Promise<{ readonly key: string; readonly value: unknown }> {
  caller?.throwIfAborted();
  const open = new Set<Call>();
  const begin = async ([key, work]: readonly [string, Selectable[string]]) => {
    const call = new Call({ parent: caller });
    open.add(call);
    try {
      return { key, value: await inCall(call, async () => await work(call.signal)) };
    } finally {
      // What it came to, such as a response, may still follow its signal.
      call.end();
      open.delete(call);
    }
  };
  try {
    const first = Promise.race(entries.map(begin));
    return await (caller === undefined ? first : orEnded(first, caller));
  } finally {
    for (const call of open) call.abort(new DOMException('another one was first', 'AbortError'));
  }
}
