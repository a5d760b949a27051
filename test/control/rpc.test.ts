import { getEventListeners } from 'node:events';
import { MessageChannel } from 'node:worker_threads';
import { afterEach, describe, expect, it } from 'vitest';
import { type Methods, Rpc } from '../../src/control/rpc.ts';
import { BosunError } from '../../src/errors.ts';

class OwnError extends BosunError {
  readonly code = 'ERR_OWN';
}

const ports: { close(): void }[] = [];
afterEach(() => {
  for (const port of ports.splice(0)) port.close();
});

function connect<Remote extends Methods>(methods: Remote) {
  const { port1, port2 } = new MessageChannel();
  ports.push(port1, port2);
  const remote = new Rpc<Methods>(port2, methods);
  return { local: new Rpc<Remote>(port1, {}), remote };
}

describe('calls between threads', () => {
  it('gives the result of the other side', async () => {
    const { local } = connect({ double: (value: number) => value * 2 });
    await expect(Promise.all([local.call('double', 2), local.call('double', 3)])).resolves.toEqual([4, 6]);
  });

  it('rejects with name, code and message of what was thrown there', async () => {
    const { local } = connect({
      fail: async (message: string) => {
        throw new OwnError(message);
      },
    });
    await expect(local.call('fail', 'no room')).rejects.toMatchObject({
      name: 'OwnError',
      code: 'ERR_OWN',
      message: 'no room',
    });
  });

  it('gives up after its time, and tells the other side', async () => {
    const aborted = Promise.withResolvers<unknown>();
    const { local } = connect({
      wait: (_argument: undefined, signal: AbortSignal) =>
        new Promise((_resolve, reject) => {
          signal.addEventListener('abort', () => {
            aborted.resolve(signal.reason);
            reject(signal.reason);
          });
        }),
    });
    await expect(local.call('wait', undefined, { timeoutMs: 5 })).rejects.toMatchObject({
      code: 'ERR_NO_ANSWER',
      message: 'no answer within 5 ms',
    });
    await expect(aborted.promise).resolves.toMatchObject({ code: 'ERR_NO_ANSWER' });
  });

  it('rejects with the reason of a signal that aborts, at once when it has', async () => {
    const { local } = connect({ wait: () => new Promise(() => {}) });
    const controller = new AbortController();
    const waiting = local.call('wait', undefined as never, { signal: controller.signal });
    const reason = new Error('gone');
    controller.abort(reason);
    await expect(waiting).rejects.toBe(reason);
    await expect(local.call('wait', undefined as never, { signal: controller.signal })).rejects.toBe(reason);
  });

  it('keeps nothing of a call whose argument cannot be sent', async () => {
    const { local } = connect({ take: (_argument: unknown) => {} });
    const { signal } = new AbortController();
    await expect(local.call('take', () => {}, { signal, timeoutMs: 60_000 })).rejects.toThrow(
      /could not be cloned/,
    );
    expect(getEventListeners(signal, 'abort')).toEqual([]);
  });

  it('rejects what waits, and what comes, when the other side has ended', async () => {
    const { local } = connect({ wait: () => new Promise(() => {}) });
    const waiting = local.call('wait', undefined as never);
    const end = new Error('it has ended');
    local.close(end);
    await expect(waiting).rejects.toBe(end);
    await expect(local.call('wait', undefined as never)).rejects.toBe(end);
    expect(() => local.tell('wait', undefined as never)).not.toThrow();
  });

  it('tells in the order of the calls', async () => {
    const told: number[] = [];
    const { local } = connect({ add: (value: number) => void told.push(value), read: () => [...told] });
    for (let i = 0; i < 5; i++) local.tell('add', i);
    await expect(local.call('read', undefined as never)).resolves.toEqual([0, 1, 2, 3, 4]);
  });

  it('says which function is not offered', async () => {
    const { local } = connect({} as { missing: () => void });
    await expect(local.call('missing', undefined as never)).rejects.toMatchObject({
      code: 'ERR_NOT_OFFERED',
      message: 'missing is not offered',
    });
  });
});
