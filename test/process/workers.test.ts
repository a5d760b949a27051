import { describe, expect, test } from 'vitest';
import { Child } from '../support/child.ts';

type Line = Readonly<Record<string, unknown>>;

const linesOf = (stdout: string): Line[] =>
  stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Line);

describe.each(['thread', 'process'])('tasks on a %s', (isolation) => {
  test('log through the log of their service, with its name and the fields of the caller', async () => {
    await using child = new Child('workers.ts', ['log', isolation]);
    const { code, stdout, stderr } = await child.exit;
    expect([code, stderr]).toEqual([0, '']);
    const lines = linesOf(stdout).filter((line) => line.reqId === 7);
    for (const line of lines) expect(line.service).toBe('caller');
    expect(lines).toMatchObject([
      { level: 30, msg: 'from a worker' },
      { level: 40, msg: 'with an object', rows: 2, inner: 1 },
      { level: 50, msg: 'with an error', err: { message: 'logged', code: 'ERR_REFUSED' } },
      { level: 50, err: { message: 'inside' } },
      { level: 30, msg: 'with a function', kept: 1 },
    ]);
    expect(lines).toHaveLength(5);
  });

  test('of a module that another service has not loaded do not load it in its log', async () => {
    await using child = new Child('workers.ts', ['log-init', isolation]);
    const { code, stdout } = await child.exit;
    expect(code).toBe(0);
    const said: unknown[] = ['loaded', 'initialised', 'called'];
    const lines = linesOf(stdout).filter(({ msg }) => said.includes(msg));
    expect(lines.map(({ service, msg }) => [service, msg])).toEqual([['second', 'called']]);
  });

  test('that log more than is read lose lines, and their count is told', async () => {
    await using child = new Child('workers.ts', ['log-many', isolation]);
    const { code, stdout } = await child.exit;
    expect(code).toBe(0);
    const lines = linesOf(stdout).filter((line) => line.msg === 'one of many');
    expect(lines.length).toBeGreaterThanOrEqual(1_000);
    const numbers = lines.map((line) => line.i as number);
    expect(numbers).toEqual([...numbers].sort((a, b) => a - b));
    let expected = 0;
    for (const { i, dropped = 0 } of lines) {
      expected += dropped as number;
      expect(i).toBe(expected);
      expected += 1;
    }
  });

  test('leave idle workers that do not keep the process, which ends by itself', async () => {
    await using child = new Child('workers.ts', ['idle', isolation]);
    const { code, stdout, stderr } = await child.exit;
    expect([code, stderr]).toEqual([0, '']);
    expect(JSON.parse(stdout)).toMatchObject({ workers: 1, busy: 0, done: 1 });
  });

  test('end with a daemon that is killed', async () => {
    await using child = new Child('workers.ts', ['wait', isolation]);
    await child.line('working');
    child.kill('SIGKILL');
    // Its output is closed when nobody holds it any more: the worker has it, too.
    expect((await child.exit).signal).toBe('SIGKILL');
  });
});
