import { describe, expect, test } from 'vitest';
import { Child } from '../support/child.ts';

describe('run', () => {
  test.each(['SIGTERM', 'SIGINT'] as const)('ends gracefully with code 0 at the first %s', async (signal) => {
    await using child = new Child('signals.ts', ['plain']);
    await child.line('ready');
    child.kill(signal);
    const { code, stdout, stderr } = await child.exit;
    expect(stdout.split('\n').slice(2, -1)).toEqual([
      'stopping: shutdown',
      'stopped',
      'all stopped',
      'outcome 0',
    ]);
    expect([code, stderr]).toEqual([0, '']);
  });

  test('a signal during the start aborts it, gracefully, with code 0', async () => {
    await using child = new Child('signals.ts', ['slow-start']);
    await child.line('starting');
    child.kill('SIGTERM');
    const { code, stdout } = await child.exit;
    expect(code).toBe(0);
    expect(stdout).not.toContain('ready');
    expect(stdout).not.toContain('stopping');
  });

  test('handlers are there before the first start', async () => {
    await using child = new Child('signals.ts', ['pre-start']);
    await child.line('preStart');
    child.kill('SIGTERM');
    child.kill('SIGINT');
    const { code, stdout } = await child.exit;
    expect(code).toBe(70);
    expect(stdout).not.toContain('starting');
  });

  test('the second signal forces a start that ignores the first, with code 70', async () => {
    await using child = new Child('signals.ts', ['deaf-start']);
    await child.line('starting');
    child.kill('SIGTERM');
    child.kill('SIGINT');
    expect((await child.exit).code).toBe(70);
  });

  test('the second signal skips draining, with code 70', async () => {
    await using child = new Child('signals.ts', ['drains']);
    await child.line('ready');
    child.kill('SIGTERM');
    await child.line('stopping');
    child.kill('SIGTERM');
    const { code, stdout } = await child.exit;
    expect(stdout).toContain('stopped\nall stopped\n');
    expect(code).toBe(70);
  });

  test.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('the third signal, %s, ends it now with code %i', async (signal, expected) => {
    await using child = new Child('signals.ts', ['stuck']);
    await child.line('ready');
    child.kill('SIGTERM');
    await child.line('stopping');
    child.kill('SIGTERM');
    await child.line('aborting');
    child.kill(signal);
    const { code, stdout } = await child.exit;
    expect(code).toBe(expected);
    expect(stdout).not.toContain('stopped');
  });

  test('a hung stop is forced when the budget is spent, with code 70', async () => {
    await using child = new Child('signals.ts', ['hangs']);
    await child.line('ready');
    child.kill('SIGTERM');
    expect((await child.exit).code).toBe(70);
  });

  test.each([
    ['bad-start', 1],
    ['fails', 1],
    ['finishes', 0],
  ])('%s: ends by itself with code %i', async (scenario, expected) => {
    await using child = new Child('signals.ts', [scenario]);
    const { code, signal } = await child.exit;
    expect([code, signal]).toEqual([expected, null]);
  });

  test('a failed stop is code 1, never 0', async () => {
    await using child = new Child('signals.ts', ['bad-stop']);
    await child.line('ready');
    child.kill('SIGTERM');
    expect((await child.exit).code).toBe(1);
  });

  test('SIGHUP calls the reload hook and stops nothing', async () => {
    await using child = new Child('signals.ts', ['plain']);
    await child.line('ready');
    child.kill('SIGHUP');
    await child.line('reload');
    child.kill('SIGTERM');
    expect((await child.exit).code).toBe(0);
  });

  test('a handle that is left open does not keep the process; it is named', async () => {
    await using child = new Child('signals.ts', ['leaks']);
    await child.line('ready');
    child.kill('SIGTERM');
    const { code, stderr } = await child.exit;
    expect(code).toBe(0);
    expect(stderr).toContain('still open after the end');
    expect(stderr).toContain('Timeout');
  });
});
