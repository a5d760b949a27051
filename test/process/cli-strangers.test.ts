import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, it } from 'vitest';
import { bosun, Project } from './cli.ts';

/** Runs `bosun` against a server that is no daemon. */
async function against(args: readonly string[], listener: RequestListener) {
  using dir = new Project();
  const server = createServer(listener).listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    const admin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    return await bosun([...args, '--admin', admin], { cwd: dir.path });
  } finally {
    server.close();
    server.closeAllConnections();
  }
}

const answering =
  (type: string, body: string, status = 200): RequestListener =>
  (_, response) =>
    response.writeHead(status, { 'content-type': type }).end(body);

const page = answering('text/html', '<h1>Hello</h1>');
const nothing = answering('application/json', '{}');

it.each([
  ['a page, for the state', ['ps'], page],
  ['a page, for lines', ['logs'], page],
  ['a page, for a profile', ['profile', '--out', 'a.pb.gz'], page],
  ['an object without anything, for the state', ['ps'], nothing],
  ['an object without anything, for a restart', ['restart', 'api'], nothing],
  ['an object without anything, for the stalls', ['stalls'], nothing],
  ['an object without anything, for a heap snapshot', ['heap'], nothing],
  ['an object without anything, for a profile', ['profile'], nothing],
  ['null', ['top'], answering('application/json', 'null')],
  ['what is no JSON', ['ps'], answering('application/json', '<h1>')],
  ['an error of its own', ['ps'], answering('text/plain', 'nothing', 404)],
  ['an error in JSON of another kind', ['ps'], answering('application/json', '{"error":{}}', 502)],
])('%s is no answer of a daemon: exits with 69', async (_, args, listener) => {
  const { code, stdout, stderr } = await against(args, listener);
  expect({ code, stdout }).toEqual({ code: 69, stdout: '' });
  expect(stderr).toMatch(
    /no Bosun daemon answers at http:\/\/127\.0\.0\.1:\d+ \(from --admin\): the answer /,
  );
  expect(stderr).not.toMatch(/^\s+at /m);
});

it.each([
  ['the state', ['ps'], 'application/json'],
  ['lines', ['logs'], 'application/x-ndjson'],
])(
  'a connection that is lost in the middle of %s is no daemon any more: exits with 69',
  async (_, args, type) => {
    const { code, stderr } = await against(args, (_request, response) => {
      response.writeHead(200, { 'content-type': type, 'content-length': 100 });
      response.write('{"services":', () => response.destroy());
    });
    expect({ code, stderr }).toEqual({
      code: 69,
      stderr: expect.stringContaining('has closed the connection'),
    });
    expect(stderr).not.toMatch(/^\s+at /m);
  },
);

it('a line of the log ends at a newline alone, wherever it is cut on its way', async () => {
  const lines = ['{"msg":"a\u2028b\u2029c"}', '{"msg":"grün"}', '{"msg":"last"}'];
  const { code, stdout } = await against(['logs', '--json'], async (_, response) => {
    response.writeHead(200, { 'content-type': 'application/x-ndjson' });
    for (const byte of Buffer.from(lines.join('\n'))) {
      await new Promise((written) => response.write(Buffer.of(byte), written));
    }
    response.end();
  });
  expect({ code, stdout }).toEqual({ code: 0, stdout: `${lines.join('\n')}\n` });
});
