import { fstatSync } from 'node:fs';
import { createRequire } from 'node:module';
import { isatty } from 'node:tty';
import { pino } from 'pino';
import { escapeControls, escapeUnescaped } from './controls.ts';
import type { LogFormat } from './options.ts';

/** A line of JSON, with its newline, as it is written. */
export type Render = (line: string) => string;

/** The format for whoever reads `fd`. */
export function detectFormat(fd: number, env: NodeJS.ProcessEnv): LogFormat {
  if (isatty(fd)) return 'pretty';
  // systemd.exec(5): the device and inode of the journal's socket.
  const { dev, ino } = fstatSync(fd, { bigint: true });
  return env.JOURNAL_STREAM === `${dev}:${ino}` ? 'journald' : 'json';
}

/** How lines look in a format. */
export function renderer(format: LogFormat): Render {
  switch (format) {
    case 'json':
      return (line) => line;
    case 'plain':
      return (line) => `${plainLine(JSON.parse(line))}\n`;
    case 'journald':
      return (line) => `${journalLine(JSON.parse(line))}\n`;
    case 'pretty':
      return prettyRenderer();
  }
}

/** Only the function that makes a line: pino-pretty's own stream writes synchronously on a terminal. */
function prettyRenderer(): Render {
  const load = createRequire(import.meta.url);
  const { prettyFactory } = load('pino-pretty') as typeof import('pino-pretty');
  const inLine = (value: unknown) => escapeControls(String(value));
  const pretty = prettyFactory({
    customPrettifiers: { time: (time) => `[${inLine(time)}]`, name: inLine, caller: inLine },
    ignore: 'pid,hostname,service,addresses',
    messageFormat: headOf,
    singleLine: true,
    translateTime: 'SYS:HH:MM:ss.l',
  });
  return (line) => escapeUnescaped(pretty(line));
}

type Line = Readonly<Record<string, unknown>>;

/** `2026-03-01T12:00:00.000Z INFO [api] ready port=8080` */
function plainLine(line: Line): string {
  return `${new Date(line.time as number).toISOString()} ${levelName(line.level as number)} ${body(line)}`;
}

/** `<6>[api] ready port=8080`: sd-daemon(3). The journal has its own time. */
function journalLine(line: Line): string {
  return `<${priority(line.level as number)}>${body(line)}`;
}

const levelName = (level: number) =>
  pino.levels.labels[level]?.toUpperCase() ?? `LEVEL${escapeControls(String(level))}`;

/** syslog(3)'s priorities: debug 7, info 6, warning 4, err 3, crit 2. */
function priority(level: number): number {
  if (level >= 60) return 2;
  if (level >= 50) return 3;
  if (level >= 40) return 4;
  return level >= 30 ? 6 : 7;
}

/** What people are shown elsewhere in a line, or not at all: the message of the ready line has the addresses. */
const apart = new Set(['level', 'time', 'pid', 'hostname', 'service', 'msg', 'addresses']);

/** `[api] GET / failed` */
function headOf(line: Line): string {
  const service = line.service === undefined ? [] : [`[${escapeControls(String(line.service))}]`];
  const message = line.msg === undefined ? [] : [escapeControls(String(line.msg))];
  return [...service, ...message].join(' ');
}

function body(line: Line): string {
  const fields = Object.entries(line)
    .filter(([key]) => !apart.has(key))
    .flatMap(([key, value]) => (key === 'err' ? errorFields(value) : [field(key, value)]));
  return [headOf(line), ...fields].filter((part) => part !== '').join(' ');
}

/** An error as pino serializes it: its stack, which begins with type and message, and its own fields. */
function errorFields(value: unknown): string[] {
  if (typeof value !== 'object' || value === null) return [field('err', value)];
  const { type, message, stack, ...rest } = value as Line;
  return [
    field('err', stack ?? `${type}: ${message}`),
    ...Object.entries(rest).map(([key, inner]) => field(`err.${key}`, inner)),
  ];
}

function field(key: string, value: unknown): string {
  const bare = typeof value === 'string' && /^[^\s"'=\\\p{Cc}]+$/u.test(value);
  return escapeControls(`${key}=${bare ? value : JSON.stringify(value)}`);
}
