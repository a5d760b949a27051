import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import type { Status } from '../control/shown.ts';
import type { Client } from './client.ts';
import { connect, type DaemonOptions, daemonCommand } from './daemon-command.ts';
import { print, printJson, styled, table } from './output.ts';
import { Screen } from './screen.ts';
import { type Order, orders, readStatus, serviceRows, summary } from './status.ts';

const REFRESH_MS = 1_000;

/** Where there is less, the last errors take the place of the addresses. */
const MIN_COLUMNS_FOR_ADDRESSES = 100;

export function topCommand(): Command {
  return daemonCommand('top', 'Watch the services and the process of a running daemon.', [
    'top',
    'top --admin http://127.0.0.1:7171',
    'top | cat                    # once, as without a terminal',
  ])
    .addHelpText(
      'after',
      '\nKeys: q quit, s sort, r reverse, j k and PgDn PgUp scroll. Where not all services fit, those that do not run\ncome first.',
    )
    .action(async (options: DaemonOptions) => {
      const client = await connect(options);
      const status = await readStatus(client);
      if (options.json) printJson(status);
      else if (process.stdout.isTTY) await watch(client, status);
      else print(`${[...summary(status), '', ...table(serviceRows(status))].join('\n')}\n`);
    });
}

/** How far a key scrolls: lines, as a number of them or as a page. */
const scrolls: Readonly<Record<string, (page: number) => number>> = {
  j: () => 1,
  k: () => -1,
  '\x1b[B': () => 1,
  '\x1b[A': () => -1,
  '\x1b[6~': (page) => page,
  '\x1b[5~': (page) => -page,
};

/** Shows the state each second until a key or a signal ends that. */
async function watch(client: Client, first: Status): Promise<void> {
  const ended = new AbortController();
  const names = Object.keys(orders) as Order[];
  let status = first;
  let index = 0;
  let reverse = false;
  let offset = 0;
  let page = 1;
  const draw = () => {
    const order = names[index] ?? 'start order';
    const above = [...summary(status), ''];
    page = Math.max(1, screen.room - above.length - 1);
    const addresses = screen.columns >= MIN_COLUMNS_FOR_ADDRESSES;
    const [head = '', ...rows] = table(serviceRows(status, { order, reverse, room: page, addresses }));
    offset = Math.max(0, Math.min(offset, rows.length - page));
    const shown = rows.slice(offset, offset + page);
    const where =
      shown.length < rows.length
        ? `${offset + 1}-${offset + shown.length} of ${rows.length} (j k PgDn PgUp)   `
        : '';
    const keys = `${where}q quit   s sort (by ${order})   r reverse`;
    screen.draw([...above, head, ...shown], styled('dim', keys));
  };
  using screen = new Screen((key) => {
    if (key === 'q' || key === '\x03' || key === '\x04') return ended.abort();
    if (key === 's') index = (index + 1) % names.length;
    if (key === 'r') reverse = !reverse;
    offset = key === 's' || key === 'r' ? 0 : offset + (scrolls[key]?.(page) ?? 0);
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
