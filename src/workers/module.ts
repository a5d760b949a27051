import { pathToFileURL } from 'node:url';
import { preview } from '../errors.ts';
import { RemoteStream } from './stream.ts';
import type { TaskOptions, Tasks } from './workers.ts';

/** Calls a function of a module on a worker. @internal */
export type Dispatch = (
  /** The module's URL, `#`, and the function's name. */
  what: string,
  args: readonly unknown[],
  options: TaskOptions,
) => Promise<unknown>;

/**
 * The functions of a module, called through `dispatch`.
 *
 * @throws {TypeError} when `url` is neither a `file:` URL nor an absolute path. @internal
 */
export function tasksOf<Module extends object>(url: URL | string, dispatch: Dispatch): Tasks<Module> {
  const at = hrefOf(url);
  const make = (options: TaskOptions): unknown => {
    const functions = new Map<string, unknown>([['with', make]]);
    return new Proxy(
      {},
      {
        get(_target, name) {
          // What is awaited is asked whether it is a promise.
          if (typeof name === 'symbol' || name === 'then') return undefined;
          let task = functions.get(name);
          if (task === undefined) {
            const what = `${at}#${name}`;
            task = (...args: readonly unknown[]) => iterable(dispatch(what, args, options));
            functions.set(name, task);
          }
          return task;
        },
      },
    );
  };
  return make({}) as Tasks<Module>;
}

function hrefOf(url: URL | string): string {
  const text = String(url);
  if (/^file:\/\//.test(text)) return text;
  if (text.startsWith('/') || /^[a-z]:[\\/]/i.test(text)) return pathToFileURL(text).href;
  throw new TypeError(`a module of tasks must be a file: URL or an absolute path, received ${preview(text)}`);
}

/** Only the answer tells whether a task is a generator, so every promise of one can be iterated. */
function iterable(answer: Promise<unknown>): Answer {
  // Cheaper than `Object.assign`, for each task.
  (answer as Answer)[Symbol.asyncIterator] = iterate;
  return answer as Answer;
}

type Answer = Promise<unknown> & { [Symbol.asyncIterator]: typeof iterate };

function iterate(this: Promise<unknown>): AsyncIterator<unknown> {
  const stream = this.then((given) => {
    if (given instanceof RemoteStream) return given;
    throw new TypeError(`the task is no generator: it gave ${preview(given)}`);
  });
  stream.catch(() => {});
  return {
    next: async () => await (await stream).next(),
    return: async () => await (await stream).return(),
  };
}
