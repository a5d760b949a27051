import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, it, type TestContext } from 'vitest';
import { temporaryFolder } from '../support/postgres.ts';

const root = resolve(import.meta.dirname, '../..');

/** clinic is fetched by npx: in the CI only, and where that has been done before. */
function needsClinic(skip: TestContext['skip']): void {
  if (process.env.CI === 'true') return;
  const { status } = spawnSync('npx', ['--yes', '--offline', 'clinic@13', '--version']);
  if (status !== 0) skip('clinic is not there: npm run clinic:doctor fetches it');
}

/** Runs the script; all that it leaves while it runs is below `tmp`. */
function clinic(tmp: string, args: readonly string[]) {
  const child = spawn(process.execPath, ['--conditions=bosun-source', 'scripts/clinic.ts', ...args], {
    cwd: root,
    // A level that hides the line by which the daemon says that it is ready.
    env: {
      ...process.env,
      TMPDIR: tmp,
      LOG_LEVEL: 'warn',
      BOSUN_LOG_LEVEL: 'error',
      NODE_DISABLE_COMPILE_CACHE: '1',
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let shown = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (chunk: string) => {
      shown += chunk;
    });
  }
  const exited = once(child, 'close').then(([code, signal]) => code ?? signal);
  return {
    child,
    exited,
    shown: () => shown,
    async [Symbol.asyncDispose]() {
      child.kill('SIGTERM');
      await exited;
    },
  };
}

/** The processes whose environment or command line names the folder. */
function processesOf(folder: string): string[] {
  const names = (pid: string) => {
    try {
      return ['cmdline', 'environ'].some((file) => readFileSync(`/proc/${pid}/${file}`).includes(folder));
    } catch {
      return false; // It has ended meanwhile.
    }
  };
  return readdirSync('/proc').filter((pid) => /^\d+$/.test(pid) && names(pid));
}

const onLinux = it.runIf(process.platform === 'linux');

onLinux(
  'clinic:doctor leaves a page about the reference daemon, and nothing else',
  { timeout: 300_000 },
  async ({ skip }) => {
    needsClinic(skip);
    await using folder = await temporaryFolder();
    await using out = await temporaryFolder();
    await using run = clinic(folder.path, ['doctor', '--seconds', '0.5', '--out', out.path]);
    expect(await run.exited, run.shown()).toBe(0);
    const [page = '', ...others] = readdirSync(out.path);
    expect(others).toEqual([]);
    expect(page).toMatch(/^\d+\.clinic-doctor\.html$/);
    expect(readFileSync(join(out.path, page), 'utf8')).toContain('Clinic Doctor');
    expect(readdirSync(folder.path)).toEqual([]);
    expect(processesOf(folder.path)).toEqual([]);
  },
);

onLinux(
  'clinic:heap leaves nothing behind, daemon and database included, when a signal ends it',
  { timeout: 300_000 },
  async ({ skip }) => {
    needsClinic(skip);
    await using folder = await temporaryFolder();
    await using run = clinic(folder.path, ['heap', '--seconds', '100']);
    const { child, exited, shown } = run;
    const ended = exited.then(() => true);
    while (!/loads http/.test(shown())) {
      if (await Promise.race([once(child.stdout, 'data').then(() => false), ended])) throw new Error(shown());
    }
    // The script, npx, clinic, the daemon, the database.
    expect(processesOf(folder.path).length).toBeGreaterThanOrEqual(5);
    child.kill('SIGTERM');
    expect(await exited).toBe('SIGTERM');
    expect(processesOf(folder.path)).toEqual([]);
    expect(readdirSync(folder.path)).toEqual([]);
  },
);
