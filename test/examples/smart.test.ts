import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { freePort } from 'bosun/testing';
import { expect, test } from 'vitest';
import { startDaemon } from '../support/daemon.ts';

const example = (name: string) => fileURLToPath(new URL(`../../examples/smart/${name}`, import.meta.url));

type Listener = (request: IncomingMessage, response: ServerResponse, calls: number) => unknown;

/** An upstream that answers as it is told; `calls` counts the requests so far, this one included. */
async function startUpstream(listener: Listener, port = 0) {
  let calls = 0;
  const server = createServer((request, response) => listener(request, response, ++calls)).listen(
    port,
    '127.0.0.1',
  );
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    get calls() {
      return calls;
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

const busy = (response: ServerResponse, word = 'busy', headers = {}) =>
  response.writeHead(503, { 'content-type': 'text/plain', ...headers }).end(word);

function start(upstream: string, retryFor = '3s') {
  return startDaemon(example('bosun.yaml'), {
    env: { UPSTREAM: upstream, RETRY_FOR: retryFor, PROXY_PORT: '0', QUOTES_PORT: '0' },
  });
}

test('a proxy and a service ask again while the upstream answers 503, and their clients see the answer', async () => {
  await using upstream = await startUpstream((request, response, calls) => {
    if (calls % 3 !== 0) busy(response);
    else response.setHeader('content-type', 'application/json').end(`{"rate":2,"path":"${request.url}"}`);
  });
  await using daemon = await start(upstream.url);
  const proxied = await fetch(`${daemon.address('proxy')}/rates/EUR?a=1`);
  expect(proxied.status).toBe(200);
  expect(await proxied.json()).toEqual({ rate: 2, path: '/rates/EUR?a=1' });
  expect(upstream.calls).toBe(3);

  const quote = await fetch(`${daemon.address('quotes')}/quote/EUR?price=21`);
  expect(await quote.json()).toEqual({ currency: 'EUR', price: 42 });
  expect(upstream.calls).toBe(6);
});

test('what is no "not now" is passed on at once, and a POST is never sent twice', async () => {
  await using upstream = await startUpstream(async (request, response) => {
    const body = await buffer(request);
    if (request.method === 'POST') busy(response, `refused ${body}`);
    else response.writeHead(request.url === '/401' ? 401 : 403, { 'x-why': 'because' }).end('no');
  });
  await using daemon = await start(upstream.url);
  for (const status of [401, 403]) {
    const answer = await fetch(`${daemon.address('proxy')}/${status}`);
    expect(answer.status).toBe(status);
    expect(answer.headers.get('x-why')).toBe('because');
    expect(await answer.text()).toBe('no');
  }
  expect(upstream.calls).toBe(2);
  const posted = await fetch(`${daemon.address('proxy')}/orders`, { method: 'POST', body: 'one' });
  expect([posted.status, await posted.text()]).toEqual([503, 'refused one']);
  expect(upstream.calls).toBe(3);
  expect((await fetch(`${daemon.address('quotes')}/quote/EUR?price=1`)).status).toBe(403);
});

test('when the time is over, the client gets what the upstream said last', async () => {
  let said = 0;
  await using upstream = await startUpstream((_request, response, calls) => {
    said = calls;
    busy(response, `busy ${calls}`);
  });
  await using daemon = await start(upstream.url, '400ms');
  const answer = await fetch(daemon.address('proxy'));
  expect(answer.status).toBe(503);
  expect(await answer.text()).toBe(`busy ${said}`);
  expect(said).toBeGreaterThan(1);
});

test('an upstream that is not there, or does not answer, or asks for a longer wait, gives 502, 504 and 503', async () => {
  const port = await freePort();
  await using daemon = await start(`http://127.0.0.1:${port}`, '300ms');
  expect((await fetch(daemon.address('proxy'))).status).toBe(502);
  await using upstream = await startUpstream((request, response) => {
    if (request.url === '/later') busy(response, 'in an hour', { 'retry-after': '3600' });
  }, port);
  expect((await fetch(daemon.address('proxy'))).status).toBe(504);
  const before = upstream.calls;
  const later = await fetch(`${daemon.address('proxy')}/later`);
  expect([later.status, later.headers.get('retry-after')]).toEqual([503, '3600']);
  expect(upstream.calls).toBe(before + 1);
});

test('so does a client of its own', async () => {
  await using upstream = await startUpstream((_request, response, calls) => {
    if (calls < 3) busy(response);
    else response.end('hello');
  });
  const child = execFile(process.execPath, ['--conditions=bosun-source', example('client.ts'), upstream.url]);
  const [said] = await Promise.all([child.stdout?.setEncoding('utf8').toArray(), once(child, 'exit')]);
  expect(said?.join('')).toBe('200 hello\n');
  expect(upstream.calls).toBe(3);
});
