import type { IncomingMessage, ServerResponse } from 'node:http';
import { entrypoint, remainingMs, type Scope } from 'bosun';
import { HttpService } from 'bosun/services/http';
import { describe, expect, it, vi } from 'vitest';
import { logFields } from '../../src/logging/fields.ts';
import { RawClient } from '../support/raw-client.ts';

const quiet = { log: { level: 'silent' }, ownsProcess: false } as const;

/** What surrounds the code that handles a request. */
interface Around {
  readonly path: string | undefined;
  readonly reqId: unknown;
  readonly hasDeadline: boolean;
}

const around = ({ url }: IncomingMessage): Around => ({
  path: url,
  reqId: logFields()?.reqId,
  hasDeadline: remainingMs() !== Number.POSITIVE_INFINITY,
});

class Api extends HttpService {
  readonly seen: Around[] = [];

  log!: Scope['log'];

  protected override createApplication({ log }: Scope) {
    this.log = log;
    return (request: IncomingMessage, response: ServerResponse) => {
      this.seen.push(around(request));
      setImmediate(() => response.end(`${request.url}`));
    };
  }
}

const get = (path: string, id: string) => `GET ${path} HTTP/1.1\r\nHost: a\r\nX-Request-Id: ${id}\r\n\r\n`;

describe('what comes in one piece', () => {
  it('is surrounded each by what is its own: requests', async () => {
    const api = new Api({ port: 0, deadlineMs: 60_000 });
    await using _daemon = await entrypoint([api], quiet);
    await using client = await RawClient.to(api.addresses[0] as string);
    await client.send(get('/a', 'one') + get('/b', 'two'));
    await client.until('/b');
    await client.send(get('/c', 'three'));
    await client.until('/c');
    expect(api.seen).toEqual([
      { path: '/a', reqId: 'one', hasDeadline: true },
      { path: '/b', reqId: 'two', hasDeadline: true },
      { path: '/c', reqId: 'three', hasDeadline: true },
    ]);
  });

  it('is surrounded each by what is its own: a request, and an upgrade after it', async () => {
    const api = new Api({ port: 0, deadlineMs: 60_000 });
    await using _daemon = await entrypoint([api], quiet);
    const upgraded: Around[] = [];
    using _mounted = api.mountUpgrade('/socket', (request, socket) => {
      upgraded.push(around(request));
      socket.end('HTTP/1.1 101 Switching Protocols\r\n\r\n');
    });
    await using client = await RawClient.to(api.addresses[0] as string);
    const upgrade = get('/socket', 'two').replace('Host', 'Connection: upgrade\r\nUpgrade: x\r\nHost');
    await client.send(get('/a', 'one') + upgrade);
    await client.until('101 Switching');
    expect(upgraded).toEqual([{ path: '/socket', reqId: 'two', hasDeadline: false }]);
  });

  it('is surrounded each by what is its own: a request, and what is none', async () => {
    const api = new Api({ port: 0 });
    await using _daemon = await entrypoint([api], quiet);
    const said: unknown[] = [];
    // Called where a line is logged.
    vi.spyOn(api.log, 'debug').mockImplementation(() => void said.push(logFields()?.reqId));
    await using client = await RawClient.to(api.addresses[0] as string);
    await client.send(`${get('/a', 'one')}rubbish\r\n\r\n`);
    await client.all();
    expect(api.seen).toHaveLength(1);
    expect(said).toEqual([undefined]);
  });
});
