import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { rename, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { EventOf, Service } from 'bosun';
import { transform } from 'esbuild';
import { describe, expect, test, vi } from 'vitest';
import type { HistogramSample, Sample } from '../../src/metrics.ts';
import { Child, type Exit } from '../support/child.ts';

vi.setConfig({ testTimeout: 60_000 });

const fixture = new URL('fixtures/stalls.ts', import.meta.url);
const lineOf = (comment: string) =>
  readFileSync(fixture, 'utf8')
    .split('\n')
    .findIndex((line) => line.endsWith(`// ${comment}`)) + 1;
const spinningLine = lineOf('the spinning line');
const handlerLines = [lineOf('the first line of the handler'), lineOf('its second line')];

type Stall = EventOf<'loop-stalled'>['stall'];
type Metric = ReturnType<Service['metrics']>[number];

/** What only a line says in which the stack has been seen. */
const NAMED = ', service ';

interface Line {
  readonly level?: number;
  readonly msg?: string;
  readonly service?: string;
  readonly culprit?: string;
  readonly durationMs?: number;
  readonly stack?: readonly string[];
  readonly event?: Stall;
  readonly metrics?: readonly Metric[];
  /** The longest time between two turns of the loop, and how long the innocent took, in ms. */
  readonly gap?: number;
  /** When that was measured, in ms since the epoch. */
  readonly from?: number;
  readonly until?: number;
  readonly innocent?: number;
}

/** A daemon in a process of its own, and the folder that lets go what blocks it. */
class Daemon extends Child {
  readonly folder: string;

  constructor(scenario: string, options: object = {}, flags: readonly string[] = []) {
    const folder = mkdtempSync(join(tmpdir(), 'bosun-stalls-'));
    spawnSync('mkfifo', [join(folder, 'fifo')]);
    super('stalls.ts', [scenario, folder, JSON.stringify({ thresholdMs: 100, ...options })], flags);
    this.folder = folder;
  }

  letGo(name = 'go'): void {
    writeFileSync(join(this.folder, name), '');
  }

  /** Ends it when it has nothing left to do. */
  async stop(scenario: string): Promise<Exit> {
    await this.line(`"done":"${scenario}"`);
    this.kill('SIGTERM');
    return await this.exit;
  }

  override async [Symbol.asyncDispose](): Promise<void> {
    await super[Symbol.asyncDispose]();
    rmSync(this.folder, { recursive: true });
  }
}

const linesOf = ({ stdout }: Exit): Line[] =>
  stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Line);

const stallsOf = (exit: Exit) => linesOf(exit).flatMap(({ event }) => (event === undefined ? [] : [event]));
const metricOf = (exit: Exit, name: string) =>
  linesOf(exit)
    .at(-1)
    ?.metrics?.find((metric) => metric.name === name);
const histogramOf = (exit: Exit, name: string) => metricOf(exit, name)?.samples[0] as HistogramSample;
const samplesOf = (exit: Exit, name: string) => metricOf(exit, name)?.samples as readonly Sample[];
const totalOf = (exit: Exit, name: string) =>
  samplesOf(exit, name)
    .map(({ value }) => value)
    .reduce(sum);
/** Whom stalls were counted for. */
const culpritsOf = (exit: Exit) =>
  samplesOf(exit, 'bosun_event_loop_stalls_total').map(({ labels }) => labels?.culprit);
const sum = (a: number, b: number) => a + b;
const told = (exit: Exit) => linesOf(exit).filter(({ msg }) => msg?.includes('blocked for'));

/** The line that says that a stall is over. */
const endOf = (exit: Exit, stall: Stall | undefined) =>
  told(exit).find(
    ({ msg, durationMs }) => msg?.startsWith('the main loop was') && durationMs === stall?.durationMs,
  );
/** On a busy machine the watching thread may not have looked for so long that it is not sure of the rest. */
const isSure = (stall: Stall | undefined) => stall?.lastSeen === false;

describe('code that blocks the loop is named, with its service, while it does', () => {
  const cases = [
    ['spin', 'first', 'spinUntil'],
    ['second', 'second', 'spinUntil'],
    ['awaited', 'first', 'spinUntil'],
    ['timer', 'first', 'spinUntil'],
    ['promise', 'first', 'spinUntil'],
    ['wait', 'first', 'wait'],
  ] as const;
  test.each(cases)('%s', async (scenario, service, name) => {
    await using daemon = new Daemon(scenario);
    // It blocks until this line has been read.
    await daemon.line(NAMED);
    daemon.letGo();
    const exit = await daemon.stop(scenario);
    expect(exit).toMatchObject({ code: 0, stderr: '' });
    const [stall] = stallsOf(exit);
    const first = told(exit).find(({ culprit }) => culprit !== undefined);
    const last = endOf(exit, stall);
    const place = name === 'spinUntil' ? `stalls.ts:${spinningLine}:` : 'stalls.ts:';
    expect(first?.msg).toMatch(
      new RegExp(
        `^the main loop has been blocked for \\d+ ms by \\S*${name} \\(/.*/${place}\\d+.*\\), service ${service}$`,
      ),
    );
    expect(first).toMatchObject({ level: 40, service: 'stall-detector', culprit: service });
    expect(last?.msg).toMatch(/^the main loop was blocked for \d+ ms/);
    expect(first?.durationMs).toBeGreaterThanOrEqual(100);
    expect(last?.durationMs).toBeGreaterThanOrEqual(first?.durationMs as number);
    expect(stall).toMatchObject({ id: 1, over: true, durationMs: last?.durationMs });
    if (isSure(stall)) expect(stall?.service).toBe(service);
    expect(stall?.stack.find(({ file }) => !file.startsWith('node:'))).toMatchObject({
      name: expect.stringContaining(name),
      file: fixture.pathname,
    });
  });

  test('twenty times in a row', async () => {
    await using daemon = new Daemon('often');
    for (let turn = 0; turn < 20; turn++) {
      await daemon.line(`turn${turn} (`);
      daemon.letGo(`go${turn}`);
    }
    const exit = await daemon.stop('often');
    const lines = told(exit).filter(({ msg }) => msg?.startsWith('the main loop has been'));
    expect(lines.length).toBeGreaterThanOrEqual(20);
    for (let turn = 0; turn < 20; turn++) {
      const seen = lines.filter(({ stack }) => stack?.some((frame) => frame.startsWith(`turn${turn} (`)));
      expect(seen.length).toBeGreaterThanOrEqual(1);
      expect(seen[0]?.stack?.[0]).toMatch(
        new RegExp(`^spinUntil \\(.*:${spinningLine}:\\d+\\)$|^node:|\\(node:`),
      );
    }
  });

  test('while a debugger may be attached', async () => {
    await using daemon = new Daemon('spin', {}, ['--inspect=127.0.0.1:0']);
    await daemon.line(NAMED);
    daemon.letGo();
    const exit = await daemon.stop('spin');
    expect(exit.code).toBe(0);
    expect(told(exit).at(-1)?.msg).toContain('spinUntil');
  });

  test('at the place where its author wrote it', async () => {
    await using daemon = new Daemon('mapped');
    const source = [
      'interface Done { (): boolean }',
      '',
      'export function work(done: Done): void {',
      '  while (!done()) {',
      '    Math.random();',
      '  }',
      '}',
    ].join('\n');
    const built = await transform(source, {
      loader: 'ts',
      minify: true,
      sourcemap: 'inline',
      sourcefile: 'work.ts',
    });
    // It is there as a whole, or not at all.
    await writeFile(join(daemon.folder, 'part.mjs'), built.code);
    await rename(join(daemon.folder, 'part.mjs'), join(daemon.folder, 'built.mjs'));
    await daemon.line(NAMED);
    daemon.letGo();
    const exit = await daemon.stop('mapped');
    const frame = stallsOf(exit)[0]?.stack.find(({ file }) => file.startsWith(daemon.folder));
    expect(frame).toMatchObject({
      file: join(daemon.folder, 'work.ts'),
      line: expect.toSatisfy((line) => line >= 3),
    });
  });

  test('in the format of the log, and without its secrets', async () => {
    await using daemon = new Daemon('spin', { log: { format: 'plain', redact: ['culprit'] } });
    await daemon.line(NAMED);
    daemon.letGo();
    const { stdout } = await daemon.stop('spin');
    expect(stdout).toMatch(
      /^\S+Z WARN \[stall-detector\] the main loop has been blocked for \d+ ms by .* culprit=\[Redacted\] stack=\[.*\]$/m,
    );
  });
});

test('the control plane tells of a stall under way', async () => {
  await using daemon = new Daemon('spin', { admin: true });
  await daemon.line(NAMED);
  const address = /http:\/\/127\.0\.0\.1:\d+/.exec(daemon.output)?.[0];
  const read = async () => (await (await fetch(`${address}/api/stalls`)).json()) as Stall[];
  const [stall] = await read();
  expect(stall).toMatchObject({ over: false, service: 'first' });
  expect(stall?.stack.map(({ name }) => name)).toContain('spinUntil');
  // It is told how long it is by now.
  let later = stall;
  while (later?.durationMs === stall?.durationMs) [later] = await read();
  expect(later).toMatchObject({ id: stall?.id, over: false });
  daemon.letGo();
  const exit = await daemon.stop('spin');
  expect(stallsOf(exit)[0]).toMatchObject({ id: stall?.id, over: true });
});

describe('native code that blocks the loop', () => {
  test.each(['exec', 'pbkdf2', 'regex'])('%s: its caller is seen when it has come back', async (scenario) => {
    await using daemon = new Daemon(scenario);
    const exit = await daemon.stop(scenario);
    const stall = stallsOf(exit).find(({ stack }) => stack.some(({ file }) => file === fixture.pathname));
    expect(stall?.over).toBe(true);
    // Named, when it was seen before and after; otherwise it is what was seen last.
    expect([undefined, 'first']).toContain(stall?.service);
    const own = stall?.stack.find(({ file }) => file === fixture.pathname);
    expect(own?.name).toContain(scenario);
  });

  test('that it blocks is told while it does', async () => {
    await using daemon = new Daemon('fifo');
    await daemon.line('its stack cannot be seen yet, it may be in native code');
    // Opening it lets go the other end.
    daemon.letGo('fifo');
    const exit = await daemon.stop('fifo');
    // On a busy machine there may be stalls after it.
    const last = told(exit).find(({ msg }) => msg?.startsWith('the main loop was'));
    expect(last?.msg).toMatch(
      /^the main loop was blocked for \d+ ms in native code, last seen: .*fifo \(.*stalls\.ts.*\)$/,
    );
    const stall = stallsOf(exit).find((other) => other.durationMs === last?.durationMs);
    expect(stall).toMatchObject({ over: true, lastSeen: true });
    expect(stall?.service).toBeUndefined();
  });
});

describe('who runs in the same turn of the loop is not taken for who blocks it', () => {
  test('when it comes after a long stall', async () => {
    await using daemon = new Daemon('innocent-later');
    await daemon.line(NAMED);
    daemon.letGo();
    const exit = await daemon.stop('innocent-later');
    const lines = told(exit).filter(({ culprit }) => culprit !== undefined);
    expect(lines.map(({ culprit }) => culprit)).not.toContain('second');
    expect(lines[0]?.msg).toMatch(/by spin(For|Until) \(.*, service first$/);
    expect(stallsOf(exit).map(({ service }) => service)).not.toContain('second');
    expect(culpritsOf(exit)).not.toContain('second');
  });

  test('when the two together take as long as the threshold', async () => {
    await using daemon = new Daemon('innocent-sum');
    const exit = await daemon.stop('innocent-sum');
    // Unless the machine had other things to do in the middle of it, and it was seen twice.
    const { innocent = 0 } = linesOf(exit).find((line) => line.innocent !== undefined) ?? {};
    if (innocent < 50) {
      expect(stallsOf(exit).map(({ service }) => service)).not.toContain('second');
      expect(culpritsOf(exit)).not.toContain('second');
    }
    expect(stallsOf(exit).length).toBeGreaterThanOrEqual(1);
  });

  test('when it is the first JavaScript after native code', async () => {
    await using daemon = new Daemon('innocent-native');
    const exit = await daemon.stop('innocent-native');
    const stalls = stallsOf(exit);
    expect(stalls.length).toBeGreaterThanOrEqual(1);
    expect(stalls.map(({ service }) => service)).not.toContain('second');
    expect(told(exit).map(({ culprit }) => culprit)).not.toContain('second');
    expect(culpritsOf(exit)).not.toContain('second');
  });
});

test('a handler of requests that takes 300 ms is named, by default', async () => {
  await using daemon = new Daemon('http', { thresholdMs: undefined });
  await daemon.line('"ready"');
  const address = await daemon.match(/http:\/\/127\.0\.0\.1:\d+/);
  const answer = fetch(address);
  await daemon.line(NAMED);
  daemon.letGo();
  expect((await answer).status).toBe(200);
  const exit = await daemon.stop('http');
  const stall = stallsOf(exit).find(({ stack }) => stack.some(({ name }) => name === 'handle'));
  const first = told(exit).find(({ culprit }) => culprit === 'api');
  const last = endOf(exit, stall);
  const inHandler = new RegExp(`^handle \\(/.*/stalls\\.ts:(${handlerLines.join('|')}):`);
  for (const line of [first, last]) expect(line?.stack).toContainEqual(expect.stringMatching(inHandler));
  expect(first?.msg).toMatch(
    /^the main loop has been blocked for \d+ ms by .*\(.*stalls\.ts:\d+:\d+\), service api$/,
  );
  expect(stall?.durationMs).toBeGreaterThanOrEqual(250);
  expect(stall?.stack.find(({ name }) => name === 'handle')).toMatchObject({
    file: fixture.pathname,
    line: expect.toSatisfy((line) => handlerLines.includes(line)),
  });
  if (!isSure(stall)) return;
  expect(last?.msg).toMatch(/^the main loop was blocked for \d+ ms by .*, service api$/);
  expect(stall?.service).toBe('api');
});

test('each stall of 150 ms is reported, and stands in the metrics, which tell what the mean hides', async () => {
  await using daemon = new Daemon('short');
  const exit = await daemon.stop('short');
  const stalls = stallsOf(exit);
  expect(stalls.length).toBeGreaterThanOrEqual(4);
  for (const { service } of stalls) expect([undefined, 'first']).toContain(service);
  // On a busy machine, one may be over before its stack can be seen.
  expect(stalls.flatMap(({ stack }) => stack.map(({ name }) => name))).toContain('runFor');
  const delay = histogramOf(exit, 'bosun_event_loop_delay_seconds');
  const slow = delay.counts.slice(delay.bounds.indexOf(0.1) + 1).reduce(sum);
  expect(slow).toBeGreaterThanOrEqual(4);
  const utilisation = histogramOf(exit, 'bosun_event_loop_utilisation');
  expect(utilisation.sum / utilisation.counts.reduce(sum)).toBeLessThan(0.6);
  expect(totalOf(exit, 'bosun_event_loop_stalls_total')).toBe(stalls.length);
  expect(totalOf(exit, 'bosun_event_loop_stall_seconds_total')).toBeGreaterThanOrEqual(0.4);
});

describe('no stall is reported', () => {
  test('when the process was suspended', async () => {
    await using daemon = new Daemon('idle', { thresholdMs: 400 });
    await daemon.line('"ready"');
    for (let turn = 0; turn < 5; turn++) {
      daemon.kill('SIGSTOP');
      await sleep(1_000);
      daemon.kill('SIGCONT');
      // Each time at another moment between two looks and beats.
      await sleep(137);
    }
    daemon.letGo();
    // The machine may be so busy that there is a stall beside that.
    const stalls = stallsOf(await daemon.stop('idle'));
    expect(stalls.filter(({ durationMs }) => durationMs >= 900)).toEqual([]);
  });

  test('when the loop is busy, but turns', async () => {
    await using daemon = new Daemon('busy', { thresholdMs: 100 });
    const exit = await daemon.stop('busy');
    const { gap = 0, from = 0, until = 0 } = linesOf(exit).find((line) => line.gap !== undefined) ?? {};
    expect(gap).toBeGreaterThanOrEqual(10);
    const stalls = stallsOf(exit).filter(
      ({ beganAt, durationMs }) => beganAt >= from && beganAt + durationMs <= until,
    );
    // On a busy machine there may be such, but none longer than what the loop has seen itself.
    expect(stalls.filter(({ durationMs }) => durationMs > gap + 50)).toEqual([]);
  });
});

describe('the end comes as it would without', () => {
  test('when it is asked to stop while it is blocked', async () => {
    await using daemon = new Daemon('spin');
    await daemon.line(NAMED);
    daemon.kill('SIGTERM');
    daemon.letGo();
    const exit = await daemon.exit;
    expect(exit).toMatchObject({ code: 0, stderr: '' });
    const order = linesOf(exit).flatMap(({ msg }) =>
      msg === undefined ? [] : [msg.split(' ').slice(0, 4).join(' ')],
    );
    expect(order.indexOf('the main loop was')).toBeGreaterThan(order.indexOf('the main loop has'));
    expect(stallsOf(exit).filter(({ stack }) => stack.some(({ name }) => name === 'spinUntil'))).toHaveLength(
      1,
    );
  });

  test('when the process exits while it is blocked', async () => {
    await using daemon = new Daemon('exits');
    await daemon.line(NAMED);
    daemon.letGo();
    expect(await daemon.exit).toMatchObject({ code: 3, signal: null, stderr: '' });
  });

  test('when the process exits while its stack is looked at', async () => {
    await using daemon = new Daemon('exits-at-once');
    // Node may say that it waits for a debugger, which is that look; then it has to end all the same.
    expect(await daemon.exit).toMatchObject({ code: 3, signal: null });
  });
});
