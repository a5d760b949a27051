import { describe, expect, test } from 'vitest';
import { Child } from '../support/child.ts';

describe('a stray error', () => {
  test.each([
    ['rejection', 'stray rejection'],
    ['promise', 'stray rejection'],
    ['timer', 'stray exception'],
    ['immediate', 'stray exception'],
    ['clock', 'stray exception'],
    ['no-error', 'something that is no Error was thrown: "plain text"'],
  ])('(%s) is a failure of the service that caused it, which is restarted', async (scenario, message) => {
    await using child = new Child('strays.ts', [scenario]);
    await child.line('running again');
    child.kill('SIGTERM');
    const { code, stdout } = await child.exit;
    expect(stdout).toContain(`failed: subject, a stray error, ${message}\n`);
    expect(stdout).toContain('outcome 0; 2 runs');
    expect(stdout).not.toContain('down:');
    expect(code).toBe(0);
  });

  test.each(['nobody', 'nobody-throws'])(
    'that belongs to no service (%s) stops the daemon with code 1',
    async (scenario) => {
      await using child = new Child('strays.ts', [scenario]);
      const { code, stdout } = await child.exit;
      expect(code, 'only run() sets the exit code').toBe(0);
      expect(stdout).toMatch(
        /down: un(handledRejection|caughtException) that belongs to no service: mine alone\n/,
      );
      expect(stdout).toContain('outcome 1; 1 runs');
      expect(stdout).not.toContain('failed: ');
    },
  );

  test('while the service starts is a failure of its start', async () => {
    await using child = new Child('strays.ts', ['microtask']);
    const { stdout } = await child.exit;
    expect(stdout).toContain(
      'not started: service "nested" could not start: service "subject" could not start',
    );
    expect(stdout).toContain('outcome 1; 1 runs');
  });

  test('of a run that has ended is told, and changes nothing', async () => {
    await using child = new Child('strays.ts', ['late']);
    await child.line('stray: subject, late');
    child.kill('SIGTERM');
    const { stdout } = await child.exit;
    expect(stdout).not.toContain('failed: ');
    expect(stdout).toContain('outcome 0; 2 runs');
  });
});
