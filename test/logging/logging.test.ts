import { closeSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { withLogFields } from 'bosun';
import { describe, expect, test } from 'vitest';
import type { z } from 'zod';
import { OptionsError } from '../../src/errors.ts';
import { createLogging, type Logging } from '../../src/logging/logging.ts';
import { logSchema } from '../../src/logging/options.ts';
import { parseOptions } from '../../src/options.ts';
import { fifo, linesOf, parsed } from './fifo.ts';

const open = (fd: number, options: z.input<typeof logSchema> = {}): Logging =>
  createLogging(logSchema.parse({ format: 'json', ...options }), { fd, env: {} });

/** Logs one thing and gives back the lines that came of it. */
async function logged(use: (logging: Logging) => unknown, options: z.input<typeof logSchema> = {}) {
  using pipe = fifo();
  const logging = open(pipe.fd, options);
  use(logging);
  await logging.close();
  return parsed(pipe.read());
}

const filler = 'x'.repeat(200);
/** More lines than the pipe's 64 KiB hold. */
const fill = ({ logger }: Logging, lines = 1_000) => {
  for (let i = 0; i < lines; i++) logger.info({ i }, filler);
};

describe('what is logged', () => {
  test('children carry their fields', async () => {
    const [line] = await logged(({ logger }) => logger.child({ service: 'api' }).info({ port: 1 }, 'up'));
    expect(line).toMatchObject({ level: 30, service: 'api', port: 1, msg: 'up' });
  });

  test('lines below the level are not written, and silent writes none', async () => {
    expect(await logged(({ logger }) => logger.debug('no'), { level: 'info' })).toEqual([]);
    expect(await logged(({ logger }) => logger.fatal('no'), { level: 'silent' })).toEqual([]);
  });

  test('a new level reaches the children that there are, and theirs', async () => {
    const lines = await logged(({ logger }) => {
      const child = logger.child({ service: 'api' });
      const grandchild = child.child({ reqId: 1 });
      grandchild.debug('before');
      logger.level = 'debug';
      grandchild.debug('raised');
      logger.level = 'error';
      child.info('lowered');
    });
    expect(lines.map((line) => line.msg)).toEqual(['raised']);
  });

  test('built-in secrets and those of the options are redacted', async () => {
    const [line] = await logged(
      ({ logger }) =>
        logger.info({ password: 'p', card: { number: 4 }, headers: { cookie: 'c' } }, 'at postgres://u:pw@h'),
      { redact: ['card.number'] },
    );
    expect(line).toMatchObject({
      password: '[Redacted]',
      card: { number: '[Redacted]' },
      headers: { cookie: '[Redacted]' },
      msg: 'at postgres://u:[Redacted]@h',
    });
  });

  test('plain lines can be had too', async () => {
    using pipe = fifo();
    const logging = open(pipe.fd, { format: 'plain' });
    logging.logger.warn({ token: 't' }, 'hot');
    await logging.close();
    expect(pipe.read()).toMatch(/^\S+Z WARN hot token=\[Redacted\]\n$/);
  });

  const circular: Record<string, unknown> = {};
  circular.self = circular;
  test.each<[string, unknown]>([
    ['a circular object', circular],
    ['a BigInt', { n: 12n, deep: { n: 12n } }],
    [
      'a getter that throws',
      {
        get bad() {
          throw new Error('getter');
        },
      },
    ],
    [
      'a nested getter that throws',
      {
        deep: {
          get bad() {
            throw new Error('getter');
          },
        },
      },
    ],
    [
      'a toJSON that throws',
      {
        toJSON: () => {
          throw new Error('toJSON');
        },
        deep: {
          toJSON: () => {
            throw new Error('toJSON');
          },
        },
      },
    ],
    [
      'an error whose message throws',
      Object.defineProperty(new Error('x'), 'message', {
        get() {
          throw new Error('message');
        },
      }),
    ],
    [
      'a revoked proxy',
      (() => {
        const { proxy, revoke } = Proxy.revocable({}, {});
        revoke();
        return { proxy };
      })(),
    ],
  ])('%s does not throw at the caller, and the line is written', async (_what, value) => {
    const lines = await logged(({ logger }) => {
      logger.info(value, 'the message');
      logger.info('next');
    });
    expect(lines.map((line) => line.msg)).toEqual(['the message', 'next']);
  });

  test('nothing that is thrown inside of a log call gets out, not even by the message', async () => {
    const bad = {
      toString: () => {
        throw new Error('toString');
      },
    };
    await logged(({ logger }) =>
      expect(() => logger.info({ bad }, '%s %d', bad, Symbol('s') as never)).not.toThrow(),
    );
  });
});

describe('fields in scope', () => {
  test('are on every line below, across awaits, and on none outside', async () => {
    using pipe = fifo();
    const logging = open(pipe.fd);
    await withLogFields({ reqId: 'r1' }, async () => {
      await turn();
      withLogFields({ traceId: 't1' }, () => logging.logger.info('inner'));
      logging.logger.info('outer');
    });
    logging.logger.info('outside');
    await logging.close();
    const [inner, outer, outside] = parsed(pipe.read());
    expect(inner).toMatchObject({ reqId: 'r1', traceId: 't1' });
    expect(outer).toMatchObject({ reqId: 'r1' });
    expect(outer).not.toHaveProperty('traceId');
    expect(outside).not.toHaveProperty('reqId');
  });

  test('give way to the line’s and the logger’s own, and no key is there twice', async () => {
    using pipe = fifo();
    const logging = open(pipe.fd);
    withLogFields({ reqId: 'scope', a: 'scope' }, () => {
      logging.logger.child({ reqId: 'child' }).info({ a: 'line' }, 'm');
    });
    await logging.close();
    const text = pipe.read();
    expect(parsed(text)[0]).toMatchObject({ reqId: 'child', a: 'line' });
    expect(text.match(/"reqId"/g)).toHaveLength(1);
  });
});

describe('a reader that does not read', () => {
  test('holds up neither the calls nor the loop, and gets every line in the end', async () => {
    using pipe = fifo();
    const logging = open(pipe.fd);
    fill(logging, 5_000);
    for (let i = 0; i < 10; i++) await turn();
    const closed = logging.close();
    const text = await pipe.readUntil((read) => read.includes('"i":4999'));
    await closed;
    expect(parsed(text).map((line) => line.i)).toEqual(Array.from({ length: 5_000 }, (_, i) => i));
    expect(logging.dropped).toBe(0);
  });

  test('costs lines once the buffer is full; how many is said where they are missing', async () => {
    using pipe = fifo();
    const logging = open(pipe.fd, { bufferBytes: 50_000 });
    fill(logging, 5_000);
    const { dropped } = logging;
    expect(dropped).toBeGreaterThan(4_000);
    const before = await pipe.readUntil((read) => read.includes('log lines dropped'));
    logging.logger.info('after');
    await logging.close();
    const lines = parsed(before + pipe.read());
    const delivered = lines.filter((line) => 'i' in line);
    expect(delivered.length + dropped).toBe(5_000);
    expect(delivered.at(-1).i).toBe(delivered.length - 1);
    expect(lines.slice(delivered.length)).toMatchObject([
      { level: 40, dropped, msg: `${dropped} log lines dropped` },
      { msg: 'after' },
    ]);
    expect(logging.dropped).toBe(dropped);
  });

  test('is spoken of outside of the fields of whoever logged', async () => {
    using pipe = fifo();
    const logging = open(pipe.fd, { bufferBytes: 50_000 });
    withLogFields({ reqId: 'r1' }, () => fill(logging));
    const text = await pipe.readUntil((read) => read.includes('log lines dropped'));
    await logging.close();
    const lines = parsed(text);
    expect(lines[0]).toHaveProperty('reqId', 'r1');
    expect(lines.find((line) => 'dropped' in line)).not.toHaveProperty('reqId');
  });

  test('costs lines from the first one that waits with bufferBytes: 0, but for one', async () => {
    using pipe = fifo();
    const logging = open(pipe.fd, { bufferBytes: 0 });
    logging.logger.info('one');
    logging.logger.info('two');
    logging.logger.info('three');
    expect(logging.dropped).toBe(1);
    await logging.close();
    expect(parsed(pipe.read()).map((line) => line.msg)).toEqual(['one', 'two', '1 log lines dropped']);
  });

  test('of several logs on one descriptor gets whole lines of each, in order', async () => {
    using pipe = fifo();
    const logs = [open(pipe.fd), open(pipe.fd), open(pipe.fd, { flushIntervalMs: 5 })];
    for (let i = 0; i < 1_000; i++)
      for (const [log, { logger }] of logs.entries()) logger.info({ log, i }, filler);
    const closed = Promise.all(logs.map((log) => log.close()));
    const isDone = (read: string) => logs.every((_, log) => read.includes(`"log":${log},"i":999,`));
    const lines = parsed(await pipe.readUntil(isDone));
    await closed;
    for (const log of logs.keys()) {
      expect(lines.filter((line) => line.log === log).map((line) => line.i)).toEqual(
        Array.from({ length: 1_000 }, (_, i) => i),
      );
    }
  });

  test('gets a line whole that is longer than the pipe and the buffer', async () => {
    using pipe = fifo();
    const logging = open(pipe.fd, { bufferBytes: 1_000 });
    const long = 'é'.repeat(200_000);
    logging.logger.info(long);
    const closed = logging.close();
    const text = await pipe.readUntil((read) => read.endsWith('\n'));
    await closed;
    expect(JSON.parse(Buffer.from(text, 'latin1').toString()).msg).toBe(long);
  });
});

test('what shares the log from another thread begins no line in the middle of one', async () => {
  using pipe = fifo();
  const logging = open(pipe.fd);
  // More than the pipe holds.
  logging.logger.info('x'.repeat(100_000));
  const begin = pipe.read();
  expect(begin).not.toContain('\n');
  const fd = openSync(`/proc/self/fd/${pipe.fd}`, 'w');
  const { options, target } = logging.share;
  const other = createLogging(options, { ...target, fd });
  other.logger.info('between');
  const rest = await pipe.readUntil((text) => text.includes('between'));
  expect(parsed(begin + rest).map(({ msg }) => (msg as string).length)).toEqual([100_000, 'between'.length]);
  await Promise.all([logging.close(), other.close()]);
  closeSync(fd);
});

describe('fatal', () => {
  test('is written when the call returns, after the lines before it', async () => {
    using pipe = fifo();
    const logging = open(pipe.fd, { flushIntervalMs: 60_000 });
    logging.logger.info('before');
    logging.logger.fatal('end');
    expect(parsed(pipe.read()).map((line) => line.msg)).toEqual(['before', 'end']);
    await logging.close();
  });

  test('goes ahead of the lines that wait when there is no room, without tearing one', async () => {
    using pipe = fifo();
    const logging = open(pipe.fd);
    // The long line fills the pipe and is written in part.
    logging.logger.info('y'.repeat(100_000));
    fill(logging, 100);
    logging.logger.fatal('end');
    const closed = logging.close();
    const text = await pipe.readUntil((read) => read.includes('"i":99,'));
    await closed;
    const lines = parsed(text);
    expect(lines.map((line) => line.level).slice(0, 3)).toEqual([30, 60, 30]);
    expect(lines).toHaveLength(102);
  });

  test('lines stay in their order, and are bounded too, when the reader stalls', async () => {
    using pipe = fifo();
    const logging = open(pipe.fd, { bufferBytes: 20_000 });
    fill(logging);
    for (let i = 0; i < 1_000; i++) logging.logger.fatal({ fatal: i }, filler);
    expect(logging.dropped).toBeGreaterThan(1_500);
    const closed = logging.close();
    const text = await pipe.readUntil((read) => read.includes('log lines dropped'));
    await closed;
    const fatal = parsed(text).filter((line) => line.level === 60);
    expect(fatal.length).toBeGreaterThan(10);
    expect(fatal.map((line) => line.fatal)).toEqual(Array.from(fatal, (_, i) => i));
  });

  test('is not dropped when the buffer is full: the newest lines make room', async () => {
    using pipe = fifo();
    const logging = open(pipe.fd, { bufferBytes: 20_000 });
    fill(logging);
    const { dropped } = logging;
    logging.logger.fatal({ filler: filler + filler }, 'end');
    expect(logging.dropped).toBeGreaterThan(dropped);
    const closed = logging.close();
    const text = await pipe.readUntil((read) => read.includes('log lines dropped'));
    await closed;
    expect(linesOf(text).filter((line) => line.includes('"end"'))).toHaveLength(1);
  });
});

describe('flushing', () => {
  test('a line is there at once with flushIntervalMs: 0, the rest of the turn at its end', async () => {
    using pipe = fifo();
    const logging = open(pipe.fd);
    logging.logger.info('one');
    logging.logger.info('two');
    expect(parsed(pipe.read()).map((line) => line.msg)).toEqual(['one']);
    await turn();
    await turn();
    expect(parsed(pipe.read()).map((line) => line.msg)).toEqual(['two']);
    await logging.close();
  });

  test('lines are gathered for flushIntervalMs, or up to 64 KiB', async () => {
    using pipe = fifo();
    const logging = open(pipe.fd, { flushIntervalMs: 60_000 });
    logging.logger.info('one');
    await turn();
    expect(pipe.read()).toBe('');
    await logging.flush();
    expect(parsed(pipe.read()).map((line) => line.msg)).toEqual(['one']);
    fill(logging, 400);
    expect(await pipe.readUntil((read) => read !== '')).toContain('"i":0');
    await logging.close();
  });

  test('pino’s own flush calls back when all is written', async () => {
    using pipe = fifo();
    const logging = open(pipe.fd, { flushIntervalMs: 60_000 });
    logging.logger.info('one');
    await new Promise<void>((resolve) => logging.logger.flush(() => resolve()));
    expect(linesOf(pipe.read())).toHaveLength(1);
    await logging.close();
  });

  test('close gives every caller the same promise, and leaves no descriptor or listener', async () => {
    using pipe = fifo();
    const descriptors = readdirSync('/proc/self/fd').length;
    const listeners = process.listenerCount('exit');
    const logging = open(pipe.fd);
    logging.logger.info('one');
    expect(readdirSync('/proc/self/fd').length).toBe(descriptors + 1);
    expect(logging.close()).toBe(logging.close());
    await logging.close();
    expect(readdirSync('/proc/self/fd').length).toBe(descriptors);
    expect(process.listenerCount('exit')).toBe(listeners);
  });

  test('a line that comes after close is written if there is room', async () => {
    using pipe = fifo();
    const descriptors = readdirSync('/proc/self/fd').length;
    const logging = open(pipe.fd);
    await logging.close();
    logging.logger.info('late');
    expect(parsed(pipe.read()).map((line) => line.msg)).toEqual(['late']);
    expect(readdirSync('/proc/self/fd').length).toBe(descriptors);
  });

  test('a file gets every line in order', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'bosun-log-'));
    const path = join(folder, 'log');
    const fd = openSync(path, 'w');
    const logging = open(fd);
    fill(logging, 5_000);
    await logging.close();
    closeSync(fd);
    expect(parsed(readFileSync(path, 'utf8')).map((line) => line.i)).toEqual(
      Array.from({ length: 5_000 }, (_, i) => i),
    );
    rmSync(folder, { recursive: true });
  });
});

test('a log cannot be asked to grow without bound', () => {
  expect(() => parseOptions('log', logSchema, { bufferBytes: Number.POSITIVE_INFINITY })).toThrow(
    OptionsError,
  );
  expect(() => parseOptions('log', logSchema, { level: 'loud' })).toThrow(/one of "trace"/);
  expect(() => parseOptions('log', logSchema, { flushIntervalMs: -1 })).toThrow(/at least 0/);
});
