import { expect, test } from 'vitest';
import { Child } from '../support/child.ts';

test('ten thousand crashes and restarts leave the heap flat', async () => {
  await using child = new Child('memory.ts', ['10000'], ['--expose-gc']);
  const { stdout, stderr } = await child.exit;
  expect(stderr).toBe('');
  const { restarts, bytesPerCycle } = JSON.parse(stdout) as { restarts: number; bytesPerCycle: number };
  expect(restarts).toBe(15_000);
  // A run that is kept takes some kilobytes; a few hundred in all are noise.
  expect(bytesPerCycle).toBeLessThan(200);
}, 60_000);
