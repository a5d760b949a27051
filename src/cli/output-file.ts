import { randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import { type FileHandle, open, rename } from 'node:fs/promises';
import { BosunError, toError } from '../errors.ts';

/** The file that the output goes to cannot be written. */
export class OutputError extends BosunError {
  readonly code = 'ERR_OUTPUT';

  constructor(path: string, cause: Error) {
    super(`cannot write ${path}: ${cause.message}`, { cause });
  }
}

const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/**
 * Calls `write` with a file that is given its name when that has come to its end, and is removed when it has not,
 * also when a signal ends the process. What daemons are looked into for may be secret: mode 0600.
 *
 * @throws {OutputError} `ERR_OUTPUT`; what `write` throws.
 */
export async function writeFileWhole<Result>(
  path: string,
  write: (file: FileHandle) => Promise<Result>,
): Promise<Result> {
  // A name that nobody can know before, and a new file: in a shared folder, a file or link may wait there to be written to.
  const partial = `${path}.${randomBytes(6).toString('hex')}.partial`;
  const removePartial = () => rmSync(partial, { force: true });
  const file = await open(partial, 'wx', 0o600).catch((thrown: unknown) => {
    throw new OutputError(path, toError(thrown));
  });
  const onSignal = (signal: NodeJS.Signals) => {
    removePartial();
    stopListening();
    process.kill(process.pid, signal);
  };
  const stopListening = () => {
    for (const signal of signals) process.off(signal, onSignal);
  };
  for (const signal of signals) process.on(signal, onSignal);
  try {
    const result = await write(file);
    await file.close();
    await rename(partial, path);
    return result;
  } catch (thrown) {
    await file.close().catch(() => {});
    removePartial();
    const error = toError(thrown);
    throw error instanceof BosunError ? error : new OutputError(path, error);
  } finally {
    stopListening();
  }
}
