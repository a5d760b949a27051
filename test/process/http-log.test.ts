import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

interface Line {
  readonly [field: string]: unknown;
  readonly msg: string;
}

const conditions = '--conditions=bosun-source';
const lines: Line[] = [];
const answers: Response[] = [];
const children = new DisposableStack();

beforeAll(async () => {
  const child = spawn(process.execPath, [conditions, join(import.meta.dirname, 'fixtures/http-logging.ts')], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.defer(() => void child.kill('SIGKILL'));
  const closed = once(child, 'close');
  const ready = Promise.withResolvers<Record<string, readonly string[]>>();
  const waiting = Promise.withResolvers<void>();
  const given = Promise.withResolvers<void>();
  createInterface({ input: child.stdout }).on('line', (text) => {
    const line = JSON.parse(text) as Line;
    lines.push(line);
    if (line.msg === 'waiting') waiting.resolve();
    if (line.msg === 'given up') given.resolve();
    if (line.msg.startsWith('ready')) ready.resolve(line.addresses as Record<string, readonly string[]>);
  });
  const { loud, quiet, left } = await ready.promise;
  for (const [url, id] of [
    [`${loud}/?token=hidden`, 'one'],
    [`${loud}/throw`, 'two'],
    [`${quiet}/`, 'three'],
  ] as const) {
    const answer = await fetch(url, { headers: { 'x-request-id': id } });
    await answer.text();
    answers.push(answer);
  }
  const gone = new AbortController();
  const leaving = fetch(`${left}/`, { headers: { 'x-request-id': 'four' }, signal: gone.signal });
  await waiting.promise;
  gone.abort();
  await leaving.catch(() => {});
  await given.promise;
  child.kill('SIGTERM');
  await closed;
});

afterAll(() => {
  children.dispose();
  lines.length = 0;
  answers.length = 0;
});

const of = (reqId: string) => lines.filter((line) => line.reqId === reqId);

describe('the log', () => {
  it('has one line for each request at the level of the access log, without the query', () => {
    expect(of('one').map(({ msg }) => msg)).toEqual(['handling /', 'GET / 201']);
    expect(of('one')[1]).toMatchObject({
      level: 30,
      service: 'loud',
      method: 'GET',
      path: '/',
      status: 201,
      durationMs: expect.any(Number),
      client: '127.0.0.1',
    });
    expect(JSON.stringify(lines)).not.toContain('hidden');
  });

  it('has the error of a handler, with the id of the request, which the client is told too', () => {
    expect(of('two').map(({ level, msg }) => [level, msg])).toEqual([
      [30, 'handling /throw'],
      [50, 'GET /throw failed'],
      [30, 'GET /throw 500'],
    ]);
    expect(of('two')[1]).toMatchObject({ err: { message: 'secret' } });
    expect(answers[1]?.headers.get('x-request-id')).toBe('two');
  });

  it('has no line for a request by default, but the request’s own lines carry its id', () => {
    expect(of('three').map(({ msg }) => msg)).toEqual(['handling /']);
  });

  it('has no error for a client that has gone', () => {
    expect(of('four').map(({ level, msg }) => [level, msg])).toEqual([
      [30, 'waiting'],
      [30, 'given up'],
    ]);
  });
});

it('importing the service does not load fastify', async () => {
  const script = `import 'bosun/services/http'; import { createRequire } from 'node:module';
    const loaded = Object.keys(createRequire(import.meta.url).cache).filter((file) => file.includes('/fastify/'));
    console.log(loaded.length);`;
  const { stdout } = await promisify(execFile)(process.execPath, [
    conditions,
    '--input-type=module',
    '-e',
    script,
  ]);
  expect(stdout.trim()).toBe('0');
});
