import { currentSignal, entrypoint, remainingMs } from 'bosun';
import { type Application, HttpService } from 'bosun/services/http';
import { FakeClock } from 'bosun/testing';
import { describe, expect, test } from 'vitest';
import { RawClient } from '../support/raw-client.ts';

const quiet = { log: { level: 'silent' }, ownsProcess: false } as const;
const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';

function serving(application: Application, deadlineMs?: number) {
  class Api extends HttpService {
    protected override createApplication() {
      return application;
    }
  }
  return new Api({ name: 'api', port: 0, ...(deadlineMs === undefined ? {} : { deadlineMs }) });
}

describe('the work for a request', () => {
  test('is bounded by deadlineMs, from its header on, in everything that it awaits', async () => {
    const clock = new FakeClock();
    const begun = Promise.withResolvers<number>();
    const ended = Promise.withResolvers<unknown>();
    const service = serving(async (_request, response) => {
      await Promise.resolve();
      const signal = currentSignal();
      signal.addEventListener('abort', () => {
        ended.resolve(signal.reason);
        response.end('late');
      });
      begun.resolve(remainingMs());
    }, 500);
    await using _daemon = await entrypoint([service], { ...quiet, clock });
    await using client = await RawClient.to(service.addresses[0] as string);
    await client.send(GET);
    expect(await begun.promise).toBe(500);
    await clock.advance(500);
    expect(await ended.promise).toMatchObject({ code: 'ERR_DEADLINE', limitMs: 500 });
    await client.until('late');
  });

  test('is given up when the client goes before it has its answer', async () => {
    const begun = Promise.withResolvers<void>();
    const ended = Promise.withResolvers<unknown>();
    const service = serving(() => {
      const signal = currentSignal();
      signal.addEventListener('abort', () => ended.resolve(signal.reason));
      begun.resolve();
    });
    await using _daemon = await entrypoint([service], quiet);
    const client = await RawClient.to(service.addresses[0] as string);
    await client.send(GET);
    await begun.promise;
    await client[Symbol.asyncDispose]();
    expect(await ended.promise).toMatchObject({ code: 'ERR_HTTP_CLIENT_GONE' });
  });

  test('is not given up by its own answer: what it leaves running goes on unbounded', async () => {
    const clock = new FakeClock();
    const signals: AbortSignal[] = [];
    const service = serving((_request, response) => {
      signals.push(currentSignal());
      response.end('answer');
    }, 500);
    await using _daemon = await entrypoint([service], { ...quiet, clock });
    await using client = await RawClient.to(service.addresses[0] as string);
    await client.send(`${GET}GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
    await client.all();
    await clock.advance(1_000);
    expect(signals.map((signal) => signal.aborted)).toEqual([false, false]);
  });
});
