import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

const fixture = join(import.meta.dirname, 'fixtures/http-cycles.ts');
const CYCLES = 10_000;

it('starting and stopping an http service 10 000 times leaves the heap flat and nothing open', async () => {
  const { stdout } = await promisify(execFile)(process.execPath, [
    '--expose-gc',
    '--conditions=bosun-source',
    fixture,
    String(CYCLES),
  ]);
  const { before, after, handles } = JSON.parse(stdout) as {
    before: number;
    after: number;
    handles: string[];
  };
  // A hundred bytes a cycle would be found.
  expect(after - before).toBeLessThan(CYCLES * 100);
  expect(handles.filter((kind) => kind === 'TCPServerWrap')).toHaveLength(1);
  expect(handles).not.toContain('TCPSocketWrap');
}, 180_000);
