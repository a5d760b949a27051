import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { Child } from '../support/child.ts';
import { startDaemon } from '../support/daemon.ts';
import { temporaryFolder } from '../support/postgres.ts';

const busyLoop = fileURLToPath(new URL('fixtures/busy-loop.ts', import.meta.url));

describe('a daemon with a busy loop and a profiler in its config', () => {
  it('has it in the top row of the report that it logs, and in a file', async () => {
    await using folder = await temporaryFolder();
    const config = join(folder.path, 'bosun.yaml');
    const profiler =
      '{ use: profiler, interval: 1s, hertz: 200, top: 3, dir: profiles, formats: [cpuprofile, pprof] }';
    await writeFile(config, `services:\n  busy: { use: ${busyLoop} }\n  profiler: ${profiler}\n`);
    await using daemon = await startDaemon(config, { cwd: folder.path });
    const line = await daemon.logged((line) => line.profile !== undefined);
    expect(line).toMatchObject({ level: 30, service: 'profiler' });
    expect(line.msg).toMatch(/^1\.\d s at 200 Hz: busy \d+\.\d % of the time; busy \d/);
    const [, , top = ''] = line.msg.split('\n');
    expect(top).toMatch(/countToAMillion +.*busy-loop\.ts:15 +busy$/);
    const report = line.profile as { bySelf: Record<string, unknown>[]; byService: Record<string, number> };
    expect(report.bySelf[0]).toMatchObject({ function: 'countToAMillion', service: 'busy' });
    expect(report.bySelf.length).toBeLessThanOrEqual(3);
    daemon.kill('SIGTERM');
    expect(await daemon.exited).toBe(0);
    const files = await readdir(join(folder.path, 'profiles'));
    expect(files.filter((name) => name.endsWith('.cpuprofile')).length).toBeGreaterThan(0);
    expect(files.filter((name) => name.endsWith('.pb.gz')).length).toBeGreaterThan(0);
  });
});

describe('a daemon whose services burn the CPU in a handler, a timer and a chain of promises', () => {
  it.each(['service', 'on demand'])('has it put down to each of them, profiled %s', async (kind) => {
    await using child = new Child('burners.ts', [kind]);
    const { stdout, stderr, code } = await child.exit;
    expect({ stderr, code }).toEqual({ stderr: '', code: 0 });
    const { byService, burned } = JSON.parse(stdout);
    for (const [name, hits] of Object.entries<number>(burned)) {
      // The stack tells whose code ran, too. A service has some besides, and is not marked from the very first.
      const off = Math.abs(((byService[name] ?? 0) - hits) / hits);
      expect(off, `${name} of ${stdout}`).toBeLessThan(0.2);
    }
  });

  it('leaves one mark at most in a frame that outlives many profiles', async () => {
    const flags = ['--expose-internals', '--expose-gc'];
    await using child = new Child('profiled-frames.ts', ['10'], flags);
    const { stdout, stderr, code, signal } = await child.exit;
    expect({ stderr, code, signal }).toEqual({ stderr: '', code: 0, signal: null });
    const { before, after, shares } = JSON.parse(stdout);
    expect(after).toBe(before + 1);
    // Else the frame would not have been marked.
    for (const share of shares) expect(share).toBeGreaterThan(0);
  });

  it('can end in the middle of a profile', async () => {
    await using child = new Child('burners.ts', ['exit']);
    expect(await child.exit).toMatchObject({ code: 3, signal: null, stderr: '' });
  });
});
