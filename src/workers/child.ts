/** What a worker process runs. @internal */
import { toError } from '../errors.ts';
import { TaskDataError } from './errors.ts';
import type { FromChild, ToChild } from './processes.ts';
import { type Link, Runner } from './runner.ts';
import { pack, type Thrown } from './thrown.ts';
import type { LogLine } from './wire.ts';

/** Log lines that may wait to be written to the daemon's pipe. */
const MAX_UNREAD_LINES = 1_000;

let unread = 0;
const post = (message: FromChild, done?: () => void) => process.send?.(message, undefined, undefined, done);

const link: Link = {
  post: (message) => post(message),
  log(line: LogLine) {
    if (unread >= MAX_UNREAD_LINES) return false;
    post(line, () => {
      unread -= 1;
    });
    unread += 1;
    return true;
  },
};
const runner = new Runner(link);

process.on('message', async (message: ToChild) => {
  if (message.kind !== 'run') return runner.receive(message);
  const [task, what] = message.request;
  try {
    const value = await runner.run(message.request);
    try {
      post({ kind: 'done', task, value });
    } catch (error) {
      throw pack(new TaskDataError(what, toError(error)));
    }
  } catch (error) {
    post({ kind: 'failed', task, error: error as Thrown });
  }
});
// The daemon is gone, however it ended.
process.on('disconnect', () => process.exit());
// A terminal and systemd signal the whole group; the daemon decides when its workers end.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {});
process.on('uncaughtException', (error) => {
  post({ kind: 'died', error: pack(error) }, () => process.exit(1));
});
