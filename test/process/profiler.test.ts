import { describe, expect, it } from 'vitest';
import { Child } from '../support/child.ts';

/** Each one's part of the whole, in percent. */
function shares(parts: Readonly<Record<string, number>>, names: readonly string[]): number[] {
  const all = Object.values(parts).reduce((sum, part) => sum + part, 0);
  return names.map((name) => (100 * (parts[name] ?? 0)) / all);
}

describe('a daemon whose services burn the CPU in a handler, a timer and a chain of promises', () => {
  it.each(['service', 'on demand'])('has it put down to each of them, profiled %s', async (kind) => {
    await using child = new Child('burners.ts', [kind]);
    const { stdout, stderr, code } = await child.exit;
    expect({ stderr, code }).toEqual({ stderr: '', code: 0 });
    const { samples, burnedMs } = JSON.parse(stdout);
    const names = ['in-handler', 'in-timer', 'in-chain'];
    const seen = shares(samples, names);
    for (const [i, share] of shares(burnedMs, names).entries()) {
      expect(Math.abs((seen[i] as number) - share), `${names[i]} of ${stdout}`).toBeLessThan(10);
    }
  });

  it('can end in the middle of a profile', async () => {
    await using child = new Child('burners.ts', ['exit']);
    expect(await child.exit).toMatchObject({ code: 3, signal: null, stderr: '' });
  });
});
