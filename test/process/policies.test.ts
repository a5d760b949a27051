import { expect, test } from 'vitest';
import { Child } from '../support/child.ts';

test('policies whose limits are an hour away do not keep a process from ending', async () => {
  await using child = new Child('policies.ts');
  expect(await child.exit).toEqual({ code: 0, signal: null, stdout: 'broken\n', stderr: '' });
});
