import { isAbsolute, relative, sep } from 'node:path';
import type { Frame, MemoryReport, MemoryRow } from '../reports.ts';

const units = ['KiB', 'MiB', 'GiB', 'TiB'];

/** Bytes for people: `512 B`, `1.5 MiB`. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 'B';
  for (const next of units) {
    if (Math.abs(value) < 1_024) break;
    value /= 1_024;
    unit = next;
  }
  return `${unit === 'B' || Math.abs(value) >= 100 ? Math.round(value) : value.toFixed(1)} ${unit}`;
}

/** A frame for people, its path from the working directory on: `handle src/api.ts:12`. */
export function formatFrame({ name, file, line }: Frame, mark = ''): string {
  if (file === '') return name === '' ? '(native)' : name;
  const near = relative(process.cwd(), file);
  const path = isAbsolute(file) && near !== '' && !near.startsWith(`..${sep}`) ? near : file;
  const place = line === 0 ? path : `${path}:${mark}${line}`;
  return name === '' ? place : `${name} ${place}`;
}

/** Where a row was allocated, with a `~` before the line when it is not certain: `handle src/api.ts:~12`. */
export function formatSite({ stack: [site], exact }: MemoryRow): string {
  return site === undefined ? '' : formatFrame(site, exact ? '' : '~');
}

/** A report for people: the process in one line, and its rows as a table. */
export function formatReport(report: MemoryReport, since: string): string {
  const { rssBytes, heapUsedBytes, heapTotalBytes, externalBytes, arrayBuffersBytes } = report;
  const { samplingBytes, pauseMs, unattributedBytes, unattributedBytesDiff } = report;
  const lines = [
    `memory: RSS ${formatBytes(rssBytes)}, heap ${formatBytes(heapUsedBytes)} of ${formatBytes(heapTotalBytes)}, ` +
      `external ${formatBytes(externalBytes)} (buffers ${formatBytes(arrayBuffersBytes)}); differences since ${since}; ` +
      `sampled every ${formatBytes(samplingBytes)}, this report took ${pauseMs.toFixed(1)} ms`,
    columns('Objects', 'Obj.diff', 'Memory', 'Mem.diff', 'Call site'),
    ...report.rows.map(formatRow),
  ];
  if (unattributedBytes > 0 || unattributedBytesDiff !== 0) {
    const difference = signed(formatBytes(unattributedBytesDiff), unattributedBytesDiff);
    lines.push(columns('', '', formatBytes(unattributedBytes), difference, '(buffers, not attributed)'));
  }
  return lines.join('\n');
}

function formatRow(row: MemoryRow): string {
  const { objects, objectsDiff, bytes, bytesDiff, stack } = row;
  const callers = stack.slice(1).map((frame) => formatFrame(frame));
  const first = columns(
    String(objects),
    signed(String(objectsDiff), objectsDiff),
    formatBytes(bytes),
    signed(formatBytes(bytesDiff), bytesDiff),
    formatSite(row),
  );
  return [first, ...callers.map((caller) => columns('', '', '', '', `  < ${caller}`))].join('\n');
}

const signed = (text: string, value: number) => (value > 0 ? `+${text}` : text);

const columns = (objects: string, objectsDiff: string, memory: string, memoryDiff: string, site: string) =>
  `${objects.padStart(9)} | ${objectsDiff.padStart(9)} | ${memory.padStart(10)} | ${memoryDiff.padStart(10)} | ${site}`;
