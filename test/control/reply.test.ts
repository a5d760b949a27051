import { once } from 'node:events';
import { createServer } from 'node:http';
import { Readable } from 'node:stream';
import { expect, onTestFinished, test } from 'vitest';
import { sendReply } from '../../src/control/thread/reply.ts';
import { ask } from '../support/ask.ts';

test('what a HEAD would be answered with is let go at once', async () => {
  const body = new Readable({ read() {} });
  body.push('a backlog');
  const destroyed: boolean[] = [];
  const server = createServer((_request, response) => {
    sendReply(response, { headers: { 'content-type': 'text/event-stream' }, body });
    destroyed.push(body.destroyed);
  }).listen(0, '127.0.0.1');
  onTestFinished(() => void server.close());
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  const answer = await ask(`http://127.0.0.1:${port}`, '/', { method: 'HEAD' });
  expect([answer.status, answer.headers['content-type'], answer.body]).toEqual([
    200,
    'text/event-stream',
    '',
  ]);
  expect(destroyed).toEqual([true]);
});
