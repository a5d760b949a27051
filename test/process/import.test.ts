import { expect, test } from 'vitest';
import { Child } from '../support/child.ts';

test("`import 'bosun'` loads zod alone, and a daemon the log; none loads what only some services use", async () => {
  await using child = new Child('imports.ts');
  const { stdout, stderr } = await child.exit;
  expect(stderr).toBe('');
  const { imported, run, watching } = JSON.parse(stdout) as Record<'imported' | 'run' | 'watching', string[]>;
  expect(imported).toEqual(['zod']);
  expect(run).toContain('pino');
  for (const name of ['pg', 'fastify', 'ws', 'piscina']) expect(run).not.toContain(name);
  // Neither the watcher thread nor the inspector, which are for those who asked for them.
  expect(watching).toEqual([]);
});
