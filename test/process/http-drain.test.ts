import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { describe, expect, it } from 'vitest';
import { Heartbeat } from '../../src/control/heartbeat.ts';
import { LoopMeter } from '../../src/control/loop-meter.ts';
import { owned } from '../support/owned.ts';

const fixture = join(import.meta.dirname, 'fixtures/http-daemon.ts');
const CONNECTIONS = 200;
const REPETITIONS = 20;
/** The server keeps a connection for 100 ms after an answer; clients pause for 20, and may be held up for so long. */
const HELD_UP_MS = 50;
const request = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';

/** What the clients have seen. */
interface Tally {
  answered: number;
  /** Requests that got no byte of an answer. */
  unanswered: number;
  /** Answers that broke off. */
  torn: number;
}

async function startDaemon(): Promise<{ child: ChildProcess; port: number }> {
  const child = owned(
    spawn(process.execPath, ['--conditions=bosun-source', fixture], { stdio: ['ignore', 'pipe', 'inherit'] }),
  );
  const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
  return { child, port: Number(new URL(line).port) };
}

/**
 * Sends `depth` requests at once, and again when all are answered, for as long as the server keeps the
 * connection; with `pauses`, after a moment of idleness. Resolves when the server has closed it.
 */
function client(port: number, tally: Tally, depth: number, pauses: boolean): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const socket = connect(port, '127.0.0.1').setEncoding('latin1').setNoDelay(true);
  let received = '';
  let open = 0;
  let told = false;
  const ask = () => {
    // A connection that the server has ended, or said that it will, is not used any more.
    if (told || socket.readableEnded || socket.destroyed) return;
    open += depth;
    socket.write(request.repeat(depth));
  };
  socket.on('connect', ask);
  socket.on('data', (chunk: string) => {
    received += chunk;
    for (let end = received.indexOf('answer'); end !== -1; end = received.indexOf('answer')) {
      told ||= /connection: close/i.test(received.slice(0, end));
      received = received.slice(received.indexOf('answer') + 'answer'.length);
      open -= 1;
      tally.answered += 1;
    }
    if (open > 0) return;
    if (told) socket.end();
    else if (pauses) setTimeout(ask, Math.random() * 20);
    else ask();
  });
  socket.on('error', () => {});
  socket.on('close', () => {
    if (received !== '') tally.torn += 1;
    // What follows an answer with Connection: close was refused by it (RFC 9112, 9.6).
    else if (open > 0 && !told) tally.unanswered += open;
    resolve();
  });
  return promise;
}

describe('SIGTERM under load', () => {
  it.each([
    ['clients that ask again at once', 1, false],
    ['clients that pause', 1, true],
    ['clients that pipeline', 4, false],
  ])(
    'fails no request of %s, in any of many runs',
    async (_, depth, pauses) => {
      let repetition = 0;
      for (let attempt = 0; repetition < REPETITIONS; attempt++) {
        const { child, port } = await startDaemon();
        const tally: Tally = { answered: 0, unanswered: 0, torn: 0 };
        const clients = Array.from({ length: CONNECTIONS }, () => client(port, tally, depth, pauses));
        while (tally.answered < 1_000 + Math.random() * 500)
          await new Promise((resolve) => setImmediate(resolve));
        using heartbeat = new Heartbeat();
        const meter = new LoopMeter(heartbeat);
        child.kill('SIGTERM');
        const exit = once(child, 'exit');
        await Promise.all(clients);
        const [code] = await exit;
        // The machine let the clients pause for longer than they wanted to.
        const heldUp = meter.takeMaxDelayMs() > HELD_UP_MS;
        if (tally.unanswered > 0 && heldUp && attempt < 2 * REPETITIONS) continue;
        expect({ ...tally, code, repetition }).toEqual({
          answered: expect.any(Number),
          unanswered: 0,
          torn: 0,
          code: 0,
          repetition,
        });
        repetition += 1;
      }
    },
    120_000,
  );
});
