import { readdirSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { pathToFileURL } from 'node:url';
import { toError } from '../errors.ts';
import { nearest } from '../nearest.ts';

/** The file beside a missing one whose name is nearest. */
export function nearestFile(file: string): string | undefined {
  try {
    return nearest(basename(file), readdirSync(dirname(file)));
  } catch {
    return undefined;
  }
}

/** What a module threw, in one line, with the place in the module if it is known. */
export interface ThrownByModule {
  readonly message: string;
  readonly line: number | undefined;
  readonly column: number | undefined;
}

/** Looks in an error's stack for the first place in a file: there it threw, or does not parse. */
export function describeThrown(thrown: unknown, file: string): ThrownByModule {
  const error = toError(thrown);
  const [message = error.name] = error.message.split('\n');
  for (const line of (error.stack ?? '').split('\n')) {
    for (const name of [pathToFileURL(file).href, file]) {
      const at = line.indexOf(name);
      const [, lineNumber, column] =
        at < 0 ? [] : (/^(?:\?[^:]*)?:(\d+)(?::(\d+))?/.exec(line.slice(at + name.length)) ?? []);
      if (lineNumber !== undefined) {
        return {
          message,
          line: Number(lineNumber),
          column: column === undefined ? undefined : Number(column),
        };
      }
    }
  }
  return { message, line: undefined, column: undefined };
}
