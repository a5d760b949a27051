import { closeSync, constants, fstatSync, openSync, readFileSync, writeSync } from 'node:fs';

/** A descriptor made fit to be written to without waiting for whoever reads it. */
export interface Descriptor extends Disposable {
  readonly fd: number;
  /** A write returns at once, with EAGAIN when there is no room. Otherwise it takes a thread of libuv's pool. */
  readonly nonBlocking: boolean;
  /** How much is written in one go. */
  readonly batchBytes: number;
  /** Whether a synchronous write returns in bounded time. */
  writableNow(): boolean;
}

/** Linux's PIPE_BUF: writes up to this size are atomic on a pipe, also among processes that share it. */
const PIPE_BATCH = 4096;
const POOL_BATCH = 16 * 1024;
/** Linux's O_NONBLOCK as /proc shows it. */
const NONBLOCK = 0o4000;

/**
 * A pipe or a terminal is opened once more, non-blocking: the flag belongs to the open file, which others
 * (parent, children, siblings in a pipeline) share with us, so on the descriptor as given it would be set for
 * them, and cleared by any child that inherits it. A blocking write in libuv's pool is no substitute: it takes
 * one of the pool's four threads for as long as the reader stalls, and `process.exit` waits for that thread.
 */
export function openDescriptor(fd: number): Descriptor {
  const stats = fstatSync(fd);
  if (stats.isFIFO() || stats.isCharacterDevice()) {
    const own = reopen(fd);
    if (own !== undefined) {
      return {
        fd: own,
        nonBlocking: true,
        batchBytes: PIPE_BATCH,
        writableNow: () => true,
        [Symbol.dispose]: () => closeSync(own),
      };
    }
  }
  // A socket cannot be opened again. Node makes it non-blocking when its stream is made, and takes that back
  // at exit; as a child may take it back earlier, writes stay off this thread.
  if (stats.isFIFO() || stats.isSocket()) {
    if (fd === 1) void process.stdout;
    else if (fd === 2) void process.stderr;
  }
  return {
    fd,
    nonBlocking: false,
    batchBytes: POOL_BATCH,
    writableNow: () => stats.isFile() || hasNonBlockingFlag(fd),
    [Symbol.dispose]() {},
  };
}

function reopen(fd: number): number | undefined {
  try {
    return openSync(`/proc/self/fd/${fd}`, constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch {
    // No /proc, the reader is gone, or the process has dropped the rights to it.
    return undefined;
  }
}

function hasNonBlockingFlag(fd: number): boolean {
  try {
    const flags = /^flags:\s*([0-7]+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1];
    return (Number.parseInt(flags ?? '0', 8) & NONBLOCK) !== 0;
  } catch {
    return false;
  }
}

/** The last resort of a log that cannot be written: one line on stderr if that takes it at once. */
export function sayOnStderr(text: string): void {
  try {
    using stderr = openDescriptor(2);
    if (stderr.writableNow()) writeSync(stderr.fd, `bosun: ${text}\n`);
  } catch {
    // There is nobody left to tell.
  }
}
