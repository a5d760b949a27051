import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { rename, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { EventOf, Service } from 'bosun';
import { transform } from 'esbuild';
import { describe, expect, test, vi } from 'vitest';
import { Child, type Exit } from '../support/child.ts';

vi.setConfig({ testTimeout: 60_000 });

const fixture = new URL('fixtures/stalls.ts', import.meta.url);
const spinningLine =
  readFileSync(fixture, 'utf8')
    .split('\n')
    .findIndex((line) => line.includes('the spinning line')) + 1;

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
const told = (exit: Exit) => linesOf(exit).filter(({ msg }) => msg?.includes('blocked for'));

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
    const named = told(exit).filter(({ culprit }) => culprit !== undefined);
    const [first, last] = [named[0], named.at(-1)];
    const place = name === 'spinUntil' ? `stalls.ts:${spinningLine}:` : 'stalls.ts:';
    expect(first?.msg).toMatch(
      new RegExp(
        `^the main loop has been blocked for \\d+ ms by \\S*${name} \\(/.*/${place}\\d+.*\\), service ${service}$`,
      ),
    );
    expect(first).toMatchObject({ level: 40, service: 'stall-detector', culprit: service });
    expect(last?.msg).toMatch(/^the main loop was blocked for \d+ ms by/);
    expect(first?.durationMs).toBeGreaterThanOrEqual(100);
    expect(last?.durationMs).toBeGreaterThanOrEqual(first?.durationMs as number);
    const [stall] = stallsOf(exit);
    expect(stall).toMatchObject({ id: 1, over: true, service, durationMs: last?.durationMs });
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
      expect(seen).toHaveLength(1);
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
  test.each(['exec', 'pbkdf2', 'regex'])(
    '%s: its caller is named when it has come back',
    async (scenario) => {
      await using daemon = new Daemon(scenario);
      const exit = await daemon.stop(scenario);
      const stall = stallsOf(exit).find(({ stack }) => stack.some(({ file }) => file === fixture.pathname));
      expect(stall).toMatchObject({ service: 'first', over: true });
      const own = stall?.stack.find(({ file }) => file === fixture.pathname);
      expect(own?.name).toContain(scenario);
    },
  );

  test('that it blocks is told while it does', async () => {
    await using daemon = new Daemon('fifo');
    await daemon.line('its stack cannot be seen yet, it may be in native code');
    // Opening it lets go the other end.
    daemon.letGo('fifo');
    const exit = await daemon.stop('fifo');
    expect(told(exit).at(-1)?.msg).toMatch(
      /^the main loop was blocked for \d+ ms in native code called by .*fifo \(.*stalls\.ts.*\), service first$/,
    );
  });
});

test('each stall of 150 ms is reported, and stands in the metrics, which tell what the mean hides', async () => {
  await using daemon = new Daemon('short');
  const exit = await daemon.stop('short');
  const stalls = stallsOf(exit);
  expect(stalls.length).toBeGreaterThanOrEqual(5);
  // On a busy machine, one may be over before its stack can be seen.
  expect(stalls.flatMap(({ stack }) => stack.map(({ name }) => name))).toContain('spinFor');
  const metrics = new Map(
    linesOf(exit)
      .at(-1)
      ?.metrics?.map((metric) => [metric.name, metric]),
  );
  const delay = metrics.get('bosun_event_loop_delay_seconds')?.samples[0] as {
    readonly bounds: readonly number[];
    readonly counts: readonly number[];
  };
  const slow = delay.counts.slice(delay.bounds.indexOf(0.1) + 1).reduce((sum, count) => sum + count, 0);
  expect(slow).toBeGreaterThanOrEqual(5);
  const total = (name: string) => {
    const samples = metrics.get(name)?.samples as readonly { readonly value: number }[];
    return samples.reduce((sum, { value }) => sum + value, 0);
  };
  expect(total('bosun_event_loop_stalls_total')).toBe(stalls.length);
  expect(total('bosun_event_loop_stall_seconds_total')).toBeGreaterThanOrEqual(0.5);
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
    expect(told(await daemon.stop('idle'))).toEqual([]);
  });

  test('when the loop is busy, but turns', async () => {
    await using daemon = new Daemon('busy', { thresholdMs: 500 });
    expect(told(await daemon.stop('busy'))).toEqual([]);
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
    expect(stallsOf(exit).filter(({ service }) => service === 'first')).toHaveLength(1);
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
