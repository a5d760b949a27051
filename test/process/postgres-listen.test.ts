import { expect, it } from 'vitest';
import { Child } from '../support/child.ts';
import { startPostgres } from '../support/postgres.ts';

it('a handler that throws fails the service that has subscribed, which then subscribes anew', async () => {
  await using server = await startPostgres();
  await using child = new Child('listen-stray.ts', [server.url]);
  await child.line('listening');
  await server.query("SELECT pg_notify('jobs', 'one'), pg_notify('jobs', 'bad')");
  await child.line('failed reader: cannot read this\nlistening');
  await server.query("SELECT pg_notify('jobs', 'two')");
  await child.line('heard two');
  child.kill('SIGTERM');
  const { code, stdout } = await child.exit;
  expect(code).toBe(0);
  expect(stdout).toBe('listening\nheard one\nfailed reader: cannot read this\nlistening\nheard two\n');
});
