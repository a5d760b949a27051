import { expect, test } from 'vitest';
import { Child } from '../support/child.ts';

test('a thousand services give no warning of too many listeners', async () => {
  await using child = new Child('crowd.ts');
  expect(await child.exit).toMatchObject({ code: 0, stdout: 'outcome 0', stderr: '' });
});
