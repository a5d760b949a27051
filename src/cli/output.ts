import { styleText } from 'node:util';
import { escapeControls, escapeUnescaped } from '../logging/controls.ts';

/** Whoever reads the output may stop reading (`| head`): that ends the command, and is no failure. */
export function endQuietlyOnBrokenPipe(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    process.exit();
  });
}

export const printJson = (value: unknown) => print(shownJson(`${JSON.stringify(value, null, 2)}\n`));

/** JSON as it is; for a terminal the same JSON, but without what could steer that. */
export const shownJson = (json: string) => (process.stdout.isTTY ? escapeUnescaped(json) : json);

export const print = (text: string) => void process.stdout.write(text);

/** For people: what is going on, and what was done. */
export const note = (text: string) => void process.stderr.write(`${text}\n`);

/** Text that came from the daemon, on one line and without what could steer the terminal. */
export const plain = escapeControls;

type Style = Parameters<typeof styleText>[0];

/** A text in colour, where the standard output shows colours (NO_COLOR and FORCE_COLOR are followed). */
export const styled = (style: Style, text: string) => styleText(style, text, { stream: process.stdout });

export const hasColours = () => styled('red', 'x') !== 'x';

/** A cell of a table: its text, and how it is shown. */
export type Cell = string | { readonly text: string; readonly style: Style };

const textOf = (cell: Cell) => (typeof cell === 'string' ? cell : cell.text);

/** Rows as aligned lines, two spaces between the columns. */
export function table(rows: readonly (readonly Cell[])[]): string[] {
  const count = Math.max(0, ...rows.map((row) => row.length));
  const widths = Array.from({ length: count }, (_, column) =>
    Math.max(...rows.map((row) => textOf(row[column] ?? '').length)),
  );
  return rows.map((row) => {
    const last = row.findLastIndex((cell) => textOf(cell) !== '');
    return row
      .slice(0, last + 1)
      .map((cell, column) => {
        const text = column === last ? textOf(cell) : textOf(cell).padEnd(widths[column] ?? 0);
        return typeof cell === 'string' ? text : styled(cell.style, text);
      })
      .join('  ');
  });
}

const units = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1_000],
] as const;

/** `850ms`, `12s`, `5m 3s`, `2d 4h`: the two largest units. */
export function shortDuration(ms: number): string {
  const first = units.findIndex(([, size]) => ms >= size);
  if (first === -1) return `${Math.round(ms)}ms`;
  let left = ms;
  const parts: string[] = [];
  for (const [unit, size] of units.slice(first, first + 2)) {
    const amount = Math.floor(left / size);
    left -= amount * size;
    if (amount > 0) parts.push(`${amount}${unit}`);
  }
  return parts.join(' ');
}

/** `512 B`, `1.5 KiB`, `240 MiB`: three digits at most. */
export function shortSize(bytes: number): string {
  let amount = bytes;
  let unit = 'B';
  for (const larger of ['KiB', 'MiB', 'GiB', 'TiB']) {
    if (amount < 1_000) break;
    amount /= 1_024;
    unit = larger;
  }
  return `${unit === 'B' || amount >= 100 ? Math.round(amount) : amount.toFixed(1)} ${unit}`;
}
