import type { Readable } from 'node:stream';
import { levelNumber, lineLevels } from '../../logging/levels.ts';
import type { Journal } from './journal.ts';
import { Outbox } from './outbox.ts';
import type { Ask, ControlPlane } from './plane.ts';
import { Query } from './query.ts';
import type { Reply } from './reply.ts';
import { checkService } from './services.ts';

const DEFAULT_LINES = 200;
const MAX_LINES = 10_000;

/** Which lines are wanted. */
interface Filter {
  readonly service: string | undefined;
  /** pino's number of the lowest level. */
  readonly level: number;
}

/** The last lines of the log, and with `follow` those that come. */
export function logs({ journal }: ControlPlane, { url }: Ask): Reply {
  const query = new Query(url, ['service', 'level', 'lines', 'follow']);
  const service = query.text('service');
  if (service !== undefined) checkService(journal, service);
  const level = levelNumber(query.oneOf('level', lineLevels) ?? 'trace');
  const count = query.integer('lines', 0, MAX_LINES) ?? DEFAULT_LINES;
  const wanted = filterOf({ service, level });
  const last = count === 0 ? [] : journal.lines.filter(wanted).slice(-count);
  const headers = { 'content-type': 'application/x-ndjson; charset=utf-8' };
  if (!query.flag('follow')) return { headers, body: Buffer.from(last.map(withEnd).join('')) };
  return { headers, body: following(journal, last, wanted) };
}

function filterOf({ service, level }: Filter): (line: string) => boolean {
  if (service === undefined && level <= levelNumber('trace')) return () => true;
  return (text) => {
    const line = parse(text);
    return line !== undefined && line.level >= level && (service === undefined || line.service === service);
  };
}

/** `undefined`: a formatter of the daemon's author has made it something else than JSON. */
function parse(text: string): { readonly level: number; readonly service?: unknown } | undefined {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function following(journal: Journal, last: readonly string[], wanted: (line: string) => boolean): Readable {
  const outbox = new Outbox(withEnd);
  for (const line of last) outbox.push(withEnd(line));
  const unfollow = journal.follow(({ kind, data }) => {
    if (kind === 'log' && wanted(data)) outbox.line(data);
  });
  return outbox.once('close', unfollow);
}

const withEnd = (line: string) => (line.endsWith('\n') ? line : `${line}\n`);
