import { join } from 'node:path';
import { expect, test } from 'vitest';
import { formatBytes, formatFrame, formatReport } from '../../../src/observe/memory/table.ts';
import type { MemoryReport } from '../../../src/observe/reports.ts';

test.each([
  [0, '0 B'],
  [1_023, '1023 B'],
  [1_536, '1.5 KiB'],
  [-1_536, '-1.5 KiB'],
  [150 * 2 ** 20, '150 MiB'],
  [2 ** 40, '1.0 TiB'],
  [2 ** 50, '1024 TiB'],
])('%d bytes are %s', (bytes, text) => {
  expect(formatBytes(bytes)).toBe(text);
});

test.each([
  [{ name: 'f', file: join(process.cwd(), 'src/a.ts') }, 'f src/a.ts:7'],
  [{ name: '', file: '/elsewhere/a.ts' }, '/elsewhere/a.ts:7'],
  [{ name: 'on', file: 'node:events' }, 'on node:events:7'],
  [{ name: 'f', file: 'file://nas/a.ts' }, 'f file://nas/a.ts:7'],
  [{ name: 'f', file: 'webpack://app/./a.ts' }, 'f webpack://app/./a.ts:7'],
  [{ name: 'push', file: '' }, 'push'],
  [{ name: '', file: '' }, '(native)'],
])('a frame is shown from the working directory on: %j', (frame, text) => {
  expect(formatFrame({ line: 7, column: 1, ...frame })).toBe(text);
});

test('a report is a table whose columns line up, with a sign at lines that are not certain, and the callers of a stack below', () => {
  const file = join(process.cwd(), 'a.ts');
  const stack = [
    { name: 'leak', file, line: 3, column: 1 },
    { name: 'main', file, line: 9, column: 1 },
  ];
  const report: MemoryReport = {
    at: 0,
    rows: [
      { objects: 1_200, objectsDiff: 100, bytes: 2_048, bytesDiff: 1_024, stack, exact: true },
      { objects: 3, objectsDiff: -3, bytes: 10, bytesDiff: -10, stack: stack.slice(1), exact: false },
    ],
    rssBytes: 2 ** 27,
    heapUsedBytes: 2 ** 25,
    heapTotalBytes: 2 ** 26,
    externalBytes: 2 ** 20,
    arrayBuffersBytes: 1_024,
    unattributedBytes: 0,
    unattributedBytesDiff: 0,
    samplingBytes: 524_288,
    pauseMs: 1.23,
  };
  const lines = formatReport(report, 'the start').split('\n');
  expect(lines).toEqual([
    'memory: RSS 128 MiB, heap 32.0 MiB of 64.0 MiB, external 1.0 MiB (buffers 1.0 KiB); ' +
      'differences since the start; sampled every 512 KiB, this report took 1.2 ms',
    '  Objects |  Obj.diff |     Memory |   Mem.diff | Call site',
    '     1200 |      +100 |    2.0 KiB |   +1.0 KiB | leak a.ts:3',
    '          |           |            |            |   < main a.ts:9',
    '        3 |        -3 |       10 B |      -10 B | main a.ts:~9',
  ]);
  const other = formatReport(
    { ...report, unattributedBytes: 2_048, unattributedBytesDiff: 1_024 },
    'the start',
  );
  expect(other.split('\n')).toEqual([
    ...lines,
    '          |           |    2.0 KiB |   +1.0 KiB | (buffers, not attributed)',
  ]);
});
