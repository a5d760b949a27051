import { closeSync, openSync, readSync } from 'node:fs';
import { threadId } from 'node:worker_threads';
import { currentLog } from 'bosun';

/** Blocks its thread, and says which that was, and from when to when. */
export function block(durationMs: number) {
  const from = Date.now();
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, durationMs);
  return { thread: threadId, from, to: Date.now() };
}

/** The lines of a file, read with blocking calls. */
export function* lines(path: string): Generator<string> {
  const file = openSync(path, 'r');
  try {
    const chunk = Buffer.alloc(1_024);
    let rest = Buffer.alloc(0);
    for (let read = readSync(file, chunk); read > 0; read = readSync(file, chunk)) {
      rest = Buffer.concat([rest, chunk.subarray(0, read)]);
      for (let end = rest.indexOf('\n'); end !== -1; end = rest.indexOf('\n')) {
        yield rest.toString('utf8', 0, end);
        rest = rest.subarray(end + 1);
      }
    }
    if (rest.length > 0) yield rest.toString();
  } finally {
    closeSync(file);
  }
}

/** Counts for ever, as fast as it is read. */
export function* count(): Generator<number> {
  let n = 0;
  try {
    for (;;) yield ++n;
  } finally {
    currentLog().info({ n }, 'the count has stopped');
  }
}
