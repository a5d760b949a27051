import { writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import type { Status } from '../control/thread/status.ts';
import type { Client } from './client.ts';
import { connect, type DaemonOptions, daemonCommand } from './daemon-command.ts';
import { print, printJson, styled, table } from './output.ts';
import { type Order, orders, readStatus, serviceRows, summary } from './status.ts';

const REFRESH_MS = 1_000;

export function topCommand(): Command {
  return daemonCommand('top', 'Watch the services and the process of a running daemon.', [
    'top',
    'top --admin http://127.0.0.1:7171',
    'top | cat                    # once, as without a terminal',
  ]).action(async (options: DaemonOptions) => {
    const client = await connect(options);
    const status = await readStatus(client);
    if (options.json) printJson(status);
    else if (!process.stdout.isTTY) print(`${page(status, 'start order', false).join('\n')}\n`);
    else await watch(client, status);
  });
}

const page = (status: Status, order: Order, reverse: boolean): string[] => [
  ...summary(status),
  '',
  ...table(serviceRows(status, order, reverse)),
];

/** Shows the state each second until a key or a signal ends that. */
async function watch(client: Client, first: Status): Promise<void> {
  const ended = new AbortController();
  const names = Object.keys(orders) as Order[];
  let status = first;
  let index = 0;
  let reverse = false;
  const draw = () => {
    const order = names[index] ?? 'start order';
    const keys = `q quit   s sort (by ${order})   r reverse`;
    screen.draw(page(status, order, reverse), styled('dim', keys));
  };
  using screen = new Screen((key) => {
    if (key === 'q' || key === '\x03' || key === '\x04') return ended.abort();
    if (key === 's') index = (index + 1) % names.length;
    if (key === 'r') reverse = !reverse;
    draw();
  });
  process.stdout.on('resize', draw);
  try {
    for (;;) {
      draw();
      await sleep(REFRESH_MS, undefined, { signal: ended.signal });
      status = await readStatus(client, ended.signal);
    }
  } catch (thrown) {
    if (!ended.signal.aborted) throw thrown;
  } finally {
    process.stdout.off('resize', draw);
  }
}

/** The other screen of the terminal, without a cursor; lines are not wrapped. */
const ENTER = '\x1b[?1049h\x1b[?25l\x1b[?7l';
const LEAVE = '\x1b[?7h\x1b[?25h\x1b[?1049l';
const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** The whole terminal, its keys too, until it is disposed of or the process ends, however that comes. */
class Screen implements Disposable {
  readonly #onData: (keys: string) => void;
  readonly #leave = () => {
    try {
      if (process.stdin.isTTY) process.stdin.setRawMode(false);
      writeSync(process.stdout.fd, LEAVE);
    } catch {
      // The terminal is gone.
    }
  };
  readonly #onSignal = (signal: NodeJS.Signals) => {
    this[Symbol.dispose]();
    process.kill(process.pid, signal);
  };

  constructor(onKey: (key: string) => void) {
    this.#onData = (keys) => {
      for (const key of keys) onKey(key);
    };
    process.once('exit', this.#leave);
    for (const signal of signals) process.once(signal, this.#onSignal);
    print(ENTER);
    if (process.stdin.isTTY) process.stdin.setRawMode(true).setEncoding('utf8').on('data', this.#onData);
  }

  draw(lines: readonly string[], foot: string): void {
    const room = Math.max(1, (process.stdout.rows || 24) - 1);
    const shown =
      lines.length > room ? [...lines.slice(0, room - 1), `… ${lines.length - room + 1} more`] : lines;
    const body = [...shown, ...Array(room - shown.length).fill(''), foot];
    print(`\x1b[H${body.join('\x1b[K\n')}\x1b[K`);
  }

  [Symbol.dispose](): void {
    process.off('exit', this.#leave);
    for (const signal of signals) process.off(signal, this.#onSignal);
    this.#leave();
    process.stdin.off('data', this.#onData).pause();
  }
}
