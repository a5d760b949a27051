import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { Entrypoint, type EntrypointOptions, entrypoint } from 'bosun';
import { PostgresService } from 'bosun/services/postgres';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { commandOf } from '../../src/services/postgres/data-folder.ts';
import { temporaryFolder, until } from '../support/postgres.ts';

const quiet: EntrypointOptions = { log: { level: 'silent' }, ownsProcess: false };

// One folder for all tests: making one takes most of a test's time.
let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let dataDir: string;

beforeAll(async () => {
  folder = await temporaryFolder();
  // Made by the service, in a folder that does not exist either.
  dataDir = join(folder.path, 'deep', 'data');
});

afterAll(async () => {
  await folder[Symbol.asyncDispose]();
});

const service = (name = 'database') => new PostgresService({ url: 'embedded', dataDir, name });

const lockFile = (data = dataDir) => join(data, 'cluster', 'postmaster.pid');
const serverPid = async (data = dataDir) => Number.parseInt(await readFile(lockFile(data), 'utf8'), 10);
const isAlive = async (pid: number) => (await commandOf(pid)) !== '';

/** What a daemon in a process of its own says, line by line. */
class Daemon implements AsyncDisposable {
  readonly process: ChildProcess;
  readonly exited: Promise<[number | null, NodeJS.Signals | null]>;
  readonly #lines: string[] = [];
  errors = '';

  constructor(folder = dataDir) {
    const program = fileURLToPath(new URL('fixtures/postgres-daemon.ts', import.meta.url));
    this.process = spawn(process.execPath, ['--conditions=bosun-source', program, folder], {
      // The leader of its own group, as a shell makes it for the terminal's Ctrl-C.
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.exited = once(this.process, 'exit') as Promise<[number | null, NodeJS.Signals | null]>;
    createInterface({ input: this.process.stdout as Readable }).on('line', (line) => this.#lines.push(line));
    this.process.stderr?.on('data', (data) => {
      this.errors += data;
    });
  }

  get pid(): number {
    return this.process.pid ?? 0;
  }

  async says(start: string): Promise<string> {
    let found: string | undefined;
    await until(() => {
      found = this.#lines.find((line) => line.startsWith(start));
      return found !== undefined || this.process.exitCode !== null;
    });
    return found ?? `exited with ${this.process.exitCode}: ${this.#lines.join('\n')} ${this.errors}`;
  }

  /** Waits until it runs; how often daemons have been started on the folder, as the database has it. */
  async starts(): Promise<number> {
    const said = await this.says('started');
    expect(said).toMatch(/^started \d+$/);
    return Number(said.slice('started '.length));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.process.exitCode === null && this.process.signalCode === null) this.process.kill('SIGKILL');
    await this.exited;
  }
}

describe('an embedded server', () => {
  it('is set up on first use, serves, and keeps its data over a restart of the service', async () => {
    const listeners = process.eventNames().map((name) => [name, process.listenerCount(name)]);
    const database = service();
    await using daemon = await entrypoint([database], quiet);
    expect(database.addresses).toEqual([expect.stringMatching(/^postgres:\/\/127\.0\.0\.1:\d+\/postgres$/)]);
    await database.query("CREATE TABLE kept AS SELECT 'yes' AS kept");
    const before = await serverPid();
    await daemon.restart('database');
    expect(await serverPid()).not.toBe(before);
    expect((await database.query('SELECT kept FROM kept')).rows).toEqual([{ kept: 'yes' }]);
    await daemon.stop();
    expect(await isAlive(before)).toBe(false);
    expect(database.addresses).toEqual([]);
    await expect(stat(lockFile())).rejects.toMatchObject({ code: 'ENOENT' });
    expect(process.eventNames().map((name) => [name, process.listenerCount(name)])).toEqual(listeners);
  });

  it('keeps its password to itself and takes nobody without it', async () => {
    const database = service();
    await using _daemon = await entrypoint([database], quiet);
    const { mode } = await stat(join(dataDir, 'cluster', 'bosun.password'));
    expect(mode & 0o777).toBe(0o600);
    const [address = ''] = database.addresses;
    const url = address.replace('postgres://', 'postgres://postgres:guess@');
    const intruder = new Entrypoint([new PostgresService({ url })], quiet);
    await expect(intruder.start()).rejects.toThrow('password authentication failed');
    await intruder.closed;
  });

  it('is started again when it dies', async () => {
    const database = service();
    await using daemon = await entrypoint([database], quiet);
    const failed = Promise.withResolvers<Error>();
    const running = Promise.withResolvers<void>();
    daemon.on('service-failed', ({ error }) => failed.resolve(error));
    daemon.on('service-running', () => running.resolve());
    process.kill(await serverPid(), 'SIGKILL');
    expect(await failed.promise).toMatchObject({
      code: 'ERR_EMBEDDED_POSTGRES',
      message: 'the embedded postgres ended unexpectedly: signal SIGKILL',
    });
    await running.promise;
    expect((await database.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
  });

  it('ends at once when its stop is forced, and recovers at the next start', async () => {
    const database = service();
    const daemon = await entrypoint([database], quiet);
    const pid = await serverPid();
    const holding = database.withClient(() => new Promise(() => {}));
    void holding;
    await until(() => database.waitingFor().length > 0);
    const stopped = daemon.stop().catch(() => {});
    await daemon.abort().catch(() => {});
    await stopped;
    await until(async () => !(await isAlive(pid)));
    await using _again = await entrypoint([database], quiet);
    expect((await database.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
  });

  it('refuses a folder that another service of the process uses', async () => {
    await using _daemon = await entrypoint([service()], quiet);
    const second = new Entrypoint([service('second')], quiet);
    await expect(second.start()).rejects.toMatchObject({ cause: { code: 'ERR_POSTGRES_DATA_IN_USE' } });
    await second.closed;
    expect(await isAlive(await serverPid())).toBe(true);
  });

  it('starts in spite of a lock file whose number is another process by now', async () => {
    await writeFile(lockFile(), `${process.pid}\n${join(dataDir, 'cluster')}\n0\n5432\n\n\n`);
    const database = service();
    await using _daemon = await entrypoint([database], quiet);
    expect((await database.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
  });

  it('removes what an interrupted set-up has left', async () => {
    await mkdir(join(dataDir, 'init-999999999'));
    await using _daemon = await entrypoint([service()], quiet);
    expect(await readdir(dataDir)).toEqual(['cluster']);
  });

  it('says what is wrong with a folder that it cannot use', async () => {
    const cluster = join(folder.path, 'odd', 'cluster');
    await mkdir(cluster, { recursive: true });
    const odd = new PostgresService({ url: 'embedded', dataDir: join(folder.path, 'odd') });
    const failing = new Entrypoint([odd], quiet);
    await expect(failing.start()).rejects.toThrow(`${cluster} was not made by this service`);
    await failing.closed;
  });
});

describe('a daemon with an embedded server', () => {
  it('stops it in its turn when the terminal sends Ctrl-C to the whole group', async () => {
    await using daemon = new Daemon();
    await daemon.starts();
    const pid = await serverPid();
    process.kill(-daemon.pid, 'SIGINT');
    expect(await daemon.says('stopping')).toBe('stopping 1');
    expect(await daemon.exited).toEqual([0, null]);
    expect(daemon.errors).toBe('');
    expect(await isAlive(pid)).toBe(false);
  });

  it('takes it along when it is killed, and starts again on the same folder', async () => {
    await using first = new Daemon();
    const starts = await first.starts();
    const pid = await serverPid();
    first.process.kill('SIGKILL');
    await first.exited;
    await until(async () => !(await isAlive(pid)));
    await using second = new Daemon();
    expect(await second.starts()).toBe(starts + 1);
    second.process.kill('SIGTERM');
    expect(await second.exited).toEqual([0, null]);
  });

  it('stops a server that has outlived its killed daemon', async () => {
    await using first = new Daemon();
    const starts = await first.starts();
    const pid = await serverPid();
    // A server that is stopped by SIGSTOP cannot follow its daemon.
    process.kill(pid, 'SIGSTOP');
    first.process.kill('SIGKILL');
    await first.exited;
    await using second = new Daemon();
    await until(async () => second.process.exitCode !== null || (await commandOf(second.pid)) !== '');
    process.kill(pid, 'SIGCONT');
    expect(await second.starts()).toBe(starts + 1);
    expect(await isAlive(pid)).toBe(false);
    second.process.kill('SIGTERM');
    expect(await second.exited).toEqual([0, null]);
  });

  it('starts when daemon and server were killed alike', async () => {
    await using first = new Daemon();
    const starts = await first.starts();
    const pid = await serverPid();
    first.process.kill('SIGKILL');
    process.kill(pid, 'SIGKILL');
    await first.exited;
    await using second = new Daemon();
    expect(await second.starts()).toBe(starts + 1);
    second.process.kill('SIGTERM');
    expect(await second.exited).toEqual([0, null]);
  });

  it('refuses a folder that another live daemon uses, and leaves that alone', async () => {
    await using first = new Daemon();
    await first.starts();
    const pid = await serverPid();
    await using second = new Daemon();
    expect((await second.exited)[0]).toBe(1);
    expect(await second.says('started')).toContain(
      `is in use by the daemon with pid ${first.pid} (its server has pid ${pid})`,
    );
    first.process.kill('SIGTERM');
    expect(await first.says('stopping')).toBe('stopping 1');
    expect(await first.exited).toEqual([0, null]);
  });
});

const CAP_DAC_OVERRIDE = 2n;

/** Why the tests of root's server cannot run here; nothing when they can. */
const rootless = (() => {
  if (process.getuid?.() !== 0) return 'not root';
  const capability = ['--inh-caps=+dac_override', '--ambient-caps=+dac_override'];
  const { status } = spawnSync('setpriv', [...capability, '--securebits=+no_setuid_fixup', 'true']);
  return status === 0 ? undefined : 'no setpriv, or not the capabilities for it';
})();

describe.skipIf(rootless)(
  `root's server in a folder that only root can enter${rootless ? ` (${rootless})` : ''}`,
  () => {
    let closed: Awaited<ReturnType<typeof temporaryFolder>>;
    let hidden: string;

    beforeEach(async () => {
      closed = await temporaryFolder();
      await chmod(closed.path, 0o700);
      hidden = join(closed.path, 'deep', 'data');
    });

    afterEach(async () => {
      vi.unstubAllEnvs();
      await closed[Symbol.asyncDispose]();
    });

    const capabilitiesOf = async (pid: number) =>
      BigInt(`0x${/^CapEff:\s*(\w+)$/m.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1]}`);

    it('runs as another user with one capability, and as a plain user once the folder is open', async () => {
      const database = new PostgresService({ url: 'embedded', dataDir: hidden, name: 'database' });
      await using daemon = await entrypoint([database], quiet);
      await database.query("CREATE TABLE kept AS SELECT 'yes' AS kept");
      const owner = await stat(join(hidden, 'cluster'));
      expect(owner.uid).not.toBe(0);
      const before = await serverPid(hidden);
      expect(await stat(`/proc/${before}`)).toMatchObject({ uid: owner.uid, gid: owner.gid });
      expect(await capabilitiesOf(before)).toBe(CAP_DAC_OVERRIDE);

      await chmod(closed.path, 0o755);
      await daemon.restart('database');
      expect((await database.query('SELECT kept FROM kept')).rows).toEqual([{ kept: 'yes' }]);
      const after = await serverPid(hidden);
      expect(await stat(`/proc/${after}`)).toMatchObject({ uid: owner.uid, gid: owner.gid });
      expect(await capabilitiesOf(after)).toBe(0n);
      const files = await readdir(hidden, { recursive: true });
      const owners = await Promise.all(files.map(async (file) => (await stat(join(hidden, file))).uid));
      expect(new Set(owners)).toEqual(new Set([owner.uid]));
    });

    it('ends with its killed daemon, and starts again', async () => {
      await using first = new Daemon(hidden);
      expect(await first.starts()).toBe(1);
      const pid = await serverPid(hidden);
      first.process.kill('SIGKILL');
      await first.exited;
      await until(async () => !(await isAlive(pid)));
      await using second = new Daemon(hidden);
      expect(await second.starts()).toBe(2);
      process.kill(-second.pid, 'SIGINT');
      expect(await second.says('stopping')).toBe('stopping 1');
      expect(await second.exited).toEqual([0, null]);
    });

    it('says what it needs when the system has no setpriv', async () => {
      const programs = join(closed.path, 'bin');
      await mkdir(programs);
      const id = spawnSync('which', ['id'], { encoding: 'utf8' }).stdout.trim();
      await symlink(id, join(programs, 'id'));
      vi.stubEnv('PATH', programs);
      const failing = new Entrypoint([new PostgresService({ url: 'embedded', dataDir: hidden })], quiet);
      await expect(failing.start()).rejects.toThrow(
        /as user \d+, who needs access to every folder .+ give root the program setpriv/,
      );
      await failing.closed;
    });
  },
);
