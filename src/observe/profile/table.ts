import { relative } from 'node:path';
import type { Frame, ProfileReport, ProfileRow } from '../reports.ts';

/** A report as people read it in the log: what was sampled, whose it was, and the functions by their own time. */
export function profileTable(report: ProfileReport): string {
  const busy = report.samples - report.idleSamples;
  const seconds = `${(report.durationMs / 1000).toFixed(1)} s at ${report.hertz} Hz`;
  const head = `${seconds}: busy ${percent(busy / report.samples)} of the time${shares(report, busy)}`;
  if (busy === 0) return head;
  const rows = report.bySelf.map((row) => [
    percent(row.selfShare),
    percent(row.totalShare),
    String(row.selfHits),
    functionName(row.frame),
    place(row.frame),
    row.service ?? '',
  ]);
  return `${head}\n${aligned([['self', 'total', 'hits', 'function', 'at', 'service'], ...rows])}`;
}

/** The first columns are numbers. */
const NUMBERS = 3;

function aligned(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => (row[i] as string).length)));
  const cell = (text: string, i: number) =>
    i < NUMBERS ? text.padStart(widths[i] as number) : text.padEnd(widths[i] as number);
  return rows.map((row) => `  ${row.map(cell).join('  ')}`.trimEnd()).join('\n');
}

function shares({ byService }: ProfileReport, busy: number): string {
  const entries = Object.entries(byService).sort(([, a], [, b]) => b - a);
  if (entries.length === 0) return '';
  return `; ${entries.map(([name, hits]) => `${name || '(no service)'} ${percent(hits / busy)}`).join(', ')}`;
}

const percent = (share: number) => `${(100 * (share || 0)).toFixed(1)} %`;

/** As a table names it. */
export const functionName = ({ name, file }: Frame): string =>
  name === '' ? (file === '' ? '(unknown)' : '(anonymous)') : name;

/** File and line, short where it lies below the working directory. */
export function place({ file, line }: Frame): string {
  if (file === '') return '';
  const short = file.startsWith('/') ? relative(process.cwd(), file) : file;
  return `${short.startsWith('..') ? file : short}${line === 0 ? '' : `:${line}`}`;
}

/** A row as a field of a log line. */
export const rowFields = ({ frame, selfHits, totalHits, selfShare, totalShare, service }: ProfileRow) => ({
  function: functionName(frame),
  at: place(frame),
  selfHits,
  totalHits,
  selfShare: Number(selfShare.toFixed(4)),
  totalShare: Number(totalShare.toFixed(4)),
  service,
});
