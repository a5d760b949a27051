import { spawnSync } from 'node:child_process';
import { closeSync, constants, mkdtempSync, openSync, readSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** A real pipe (64 KiB) whose reader is the test: it reads when it wants to. */
export interface Fifo extends Disposable {
  /** The end to write to. */
  readonly fd: number;
  /** All that can be read now. */
  read(): string;
  /** Reads until `done` says so of all that has been read. */
  readUntil(done: (text: string) => boolean): Promise<string>;
  closeReader(): void;
  /** Gives up the writing end here; a child may hold it. */
  closeWriter(): void;
}

export function fifo(): Fifo {
  const folder = mkdtempSync(join(tmpdir(), 'bosun-log-'));
  const path = join(folder, 'pipe');
  spawnSync('mkfifo', [path]);
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const fd = openSync(path, constants.O_WRONLY);
  rmSync(folder, { recursive: true });
  const open = new Set([reader, fd]);
  const close = (end: number) => {
    if (open.delete(end)) closeSync(end);
  };
  const buffer = Buffer.alloc(1 << 20);
  const read = () => {
    let text = '';
    try {
      for (let n = readSync(reader, buffer); n > 0; n = readSync(reader, buffer)) {
        text += buffer.toString('latin1', 0, n);
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
    }
    return text;
  };
  return {
    fd,
    read,
    async readUntil(done) {
      let text = read();
      while (!done(text)) {
        await sleep(1);
        text += read();
      }
      return text;
    },
    closeReader: () => close(reader),
    closeWriter: () => close(fd),
    [Symbol.dispose]() {
      close(reader);
      close(fd);
    },
  };
}

export const linesOf = (text: string): string[] => text.split('\n').slice(0, -1);

// biome-ignore lint/suspicious/noExplicitAny: whatever was logged
export const parsed = (text: string): any[] => linesOf(text).map((line) => JSON.parse(line));
