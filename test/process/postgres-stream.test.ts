import { expect, it } from 'vitest';
import { Child } from '../support/child.ts';
import { startPostgres } from '../support/postgres.ts';

it('streaming a million rows takes no more memory than a tenth of them', async () => {
  await using server = await startPostgres();
  await using child = new Child('stream-memory.ts', [server.url], ['--expose-gc']);
  const { code, stdout, stderr } = await child.exit;
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const { rows, sum, grownBytes } = JSON.parse(stdout) as { rows: number; sum: number; grownBytes: number };
  expect({ rows, sum }).toEqual({ rows: 1_000_000, sum: 500_000_500_000 });
  // The rows that are left after the first look are 180 MB of text alone.
  expect(grownBytes).toBeLessThan(10 * 2 ** 20);
}, 120_000);
