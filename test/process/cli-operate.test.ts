import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { mountSmallDisk } from '../support/small-disk.ts';
import { bosun, Cli, Project } from './cli.ts';
import { Operated } from './control.ts';

const talker = 'talker: { use: ./services.ts#Talker }';

describe('a command for a running daemon', () => {
  it('says where it looked, and how a daemon is reached, when there is nothing to look at', async () => {
    using dir = new Project();
    for (const command of [
      ['ps'],
      ['top'],
      ['logs'],
      ['restart', 'api'],
      ['reload'],
      ['profile'],
      ['heap'],
      ['stalls'],
    ]) {
      const { code, stdout, stderr } = await bosun(command, { cwd: dir.path });
      expect({ code, stdout }).toEqual({ code: 69, stdout: '' });
      expect(stderr).toContain(`there is no config file in ${dir.path}`);
      expect(stderr).toContain('admin: { use: admin, path: ');
    }
    dir.write('bosun.yaml', 'services: { echo: { use: tcp-echo } }');
    const without = await bosun(['ps'], { cwd: dir.path });
    expect(without).toMatchObject({ code: 69, stdout: '' });
    expect(without.stderr).toContain('bosun.yaml has no service of the kind "admin"');
    dir.write('bosun.yaml', `services: { admin: { use: admin, port: "\${PORT}" } }`);
    const free = await bosun(['ps'], { cwd: dir.path, env: { PORT: '0' } });
    expect(free).toMatchObject({ code: 69, stderr: expect.stringContaining('take any free port (port: 0)') });
    const unset = await bosun(['ps'], { cwd: dir.path });
    expect(unset.code).toBe(78);
    expect(unset.stderr).toContain('needs the environment variable PORT, which is not set');
  });

  it('says that nobody answers, and where it knows that place from', async () => {
    using dir = new Project();
    const socket = await bosun(['ps', '--admin', './no.sock'], { cwd: dir.path });
    expect(socket).toMatchObject({ code: 69, stdout: '' });
    expect(socket.stderr).toContain('unix:./no.sock (from --admin): there is no such socket');
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    await once(server.close(), 'close');
    const refused = await bosun(['ps'], { cwd: dir.path, env: { BOSUN_ADMIN: `http://127.0.0.1:${port}` } });
    expect(refused.code).toBe(69);
    expect(refused.stderr).toContain(`http://127.0.0.1:${port} (from BOSUN_ADMIN): nobody listens there`);
  });

  it('exits with 78 on options that cannot be used, and names option, rule and value', async () => {
    using dir = new Project();
    dir.write('bad.txt', 'two words');
    const cases: [string[], string][] = [
      [['ps', '--admin', 'nowhere'], '--admin must be http://<host>:<port>, or the path of a Unix socket'],
      [['ps', '--admin', 'ftp://host'], 'received "ftp://host"'],
      [['ps', '--admin', 'http://host/api'], 'received "http://host/api"'],
      [['ps', '--admin', './a.sock', '--token-file', 'none.txt'], '--token-file cannot be read'],
      [['ps', '--admin', './a.sock', '--token-file', 'bad.txt'], '--token-file "bad.txt" must hold a token'],
      [['logs', '--level', 'loud'], "argument 'loud' is invalid"],
      [
        ['profile', '--out', 'a.txt'],
        '--out must end in one of .cpuprofile, .pb.gz, .json, received "a.txt"',
      ],
      [['restart'], "missing required argument 'service'"],
      [['ps', '--josn'], 'Did you mean --json?'],
    ];
    for (const [args, message] of cases) {
      const { code, stderr } = await bosun(args, { cwd: dir.path });
      expect({ args, code, stderr }).toEqual({ args, code: 78, stderr: expect.stringContaining(message) });
      expect(stderr).not.toMatch(/^\s+at /m);
    }
  });

  it('loads no more than it needs: nothing of what runs a daemon, or reads a config', async () => {
    using dir = new Project();
    const hook = `
      import { registerHooks } from 'node:module';
      const load = (url, context, next) => {
        const [, name] = /node_modules\\/((?:@[^/]+\\/)?[^/]+)/.exec(url) ?? [];
        if (name !== undefined) process.stderr.write('loads ' + name + '\\n');
        return next(url, context);
      };
      registerHooks({ load });`;
    const nodeOptions = ['--import', `data:text/javascript,${encodeURIComponent(hook)}`];
    const { code, stderr } = await bosun(['ps', '--admin', './no.sock'], { cwd: dir.path, nodeOptions });
    expect(code).toBe(69);
    expect(new Set(stderr.match(/(?<=loads ).*/g))).toEqual(new Set(['commander']));
  });

  it('has a help text with examples', async () => {
    using dir = new Project();
    for (const name of ['ps', 'top', 'logs', 'restart', 'reload', 'profile', 'heap', 'stalls']) {
      const { code, stdout } = await bosun([name, '--help'], { cwd: dir.path });
      expect(code).toBe(0);
      expect(stdout).toContain(`Examples:\n  $ bosun ${name}`);
    }
  });
});

describe('bosun ps', () => {
  it('shows the services as a tree, and as JSON; where the daemon is comes from the config', async () => {
    await using daemon = await Operated.start(
      [talker, `group: { use: supervisor, services: { echo: { use: tcp-echo, port: "\${ECHO_PORT}" } } }`],
      { env: { ECHO_PORT: '0' } },
    );
    // ECHO_PORT is not set here: what is wrong elsewhere in the config does not matter.
    const { code, stdout, stderr } = await daemon.bosun(['ps']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const lines = stdout.split('\n');
    expect(lines[0]).toMatch(/^SERVICE +STATE +UP +RESTARTS +ADDRESSES +LAST ERROR$/);
    expect(stdout).toMatch(/^admin +running +\S.* +0 +unix:\S+admin\.sock +-$/m);
    expect(stdout).toMatch(/^talker +running +\S.* +0 +- +-$/m);
    expect(stdout).toMatch(/^group +running .*\n {2}echo +running +\S.* 0 +tcp:\/\/127\.0\.0\.1:\d+ +-$/m);
    expect(stdout).not.toContain('\x1b');
    const json = await daemon.bosun(['ps', '--json']);
    expect(JSON.parse(json.stdout)).toMatchObject({
      phase: 'ready',
      pid: expect.any(Number),
      services: expect.arrayContaining([
        {
          name: 'echo',
          type: 'TcpEchoService',
          state: 'running',
          sinceMs: expect.any(Number),
          uptimeMs: expect.any(Number),
          health: { ok: true },
          restarts: 0,
          lastError: null,
          critical: true,
          dependencies: [],
          supervisor: 'group',
          servesControl: false,
          addresses: [expect.stringMatching(/^tcp:/)],
        },
      ]),
    });
  });

  it('finds an admin service of a class of its own, and names the modules that it could not look into', async () => {
    using dir = new Project();
    dir.write(
      'own-admin.ts',
      `import { service } from 'bosun';
      import { AdminService } from 'bosun/services/admin';
      import { TcpEchoService } from 'bosun/services/tcp-echo';
      export class OwnAdmin extends AdminService.extend({ team: service(TcpEchoService) }) {}`,
    );
    dir.write('broken.ts', 'export class Broken {');
    const config = (admin: string) => `services:
      group: { use: supervisor, services: { admin: { ${admin} } } }
      echo: { use: tcp-echo, port: 0 }\n`;
    dir.write('bosun.yaml', config('use: ./own-admin.ts, path: ./own.sock, team: echo'));
    await using daemon = new Cli(['run'], { cwd: dir.path });
    await daemon.seen(/"ready in/);
    expect(await bosun(['ps'], { cwd: dir.path })).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/admin +running/),
    });
    dir.write('bosun.yaml', config('use: ./broken.ts'));
    const { code, stderr } = await bosun(['ps'], { cwd: dir.path });
    expect({ code, stderr }).toEqual({ code: 69, stderr: expect.stringContaining('bosun ps --admin /run') });
    expect(stderr).toContain('or of a class that extends it (not loaded: "./broken.ts")');
  });

  it('finds the daemon by --config, --admin and BOSUN_ADMIN, in that order of what outdoes what', async () => {
    await using daemon = await Operated.start();
    using elsewhere = new Project();
    const cwd = elsewhere.path;
    const file = join(daemon.directory, 'bosun.yaml');
    const env = { BOSUN_ADMIN: './wrong.sock' };
    expect(await bosun(['ps', '--admin', daemon.socket], { cwd, env })).toMatchObject({ code: 0 });
    expect(await bosun(['ps', '--admin', `unix:${daemon.socket}`], { cwd })).toMatchObject({ code: 0 });
    expect(await bosun(['ps'], { cwd, env: { BOSUN_ADMIN: daemon.socket } })).toMatchObject({ code: 0 });
    expect(await bosun(['ps', '--config', file], { cwd: daemon.directory, env })).toMatchObject({ code: 0 });
    expect(await bosun(['ps'], { cwd, env })).toMatchObject({ code: 69 });
  });

  it('sends the token, which is never shown, and the one of a config only to the address of that', async () => {
    const token = 'geheim-geheim-geheim-geheim';
    await using daemon = await Operated.start([], {
      admin: `path: ./admin.sock, token: "\${TOKEN}"`,
      env: { TOKEN: token },
    });
    expect(await daemon.bosun(['ps'], { env: { TOKEN: token } })).toMatchObject({ code: 0 });
    daemon.project.write('token.txt', `${token}\n`);
    const address = ['--admin', daemon.socket];
    expect(await daemon.bosun(['ps', ...address, '--token-file', 'token.txt'])).toMatchObject({ code: 0 });
    expect(await daemon.bosun(['ps', ...address], { env: { BOSUN_ADMIN_TOKEN: token } })).toMatchObject({
      code: 0,
    });
    const without = await daemon.bosun(['ps', ...address], { env: { TOKEN: token } });
    expect(without.code).toBe(1);
    expect(without.stderr).toContain('it wants a token (--token-file <file>, or BOSUN_ADMIN_TOKEN)');
    const wrong = await daemon.bosun(['ps', ...address], {
      env: { BOSUN_ADMIN_TOKEN: 'falsch-falsch-falsch' },
    });
    expect(wrong.code).toBe(1);
    expect(wrong.stderr).toContain('the token is not the right one');
    expect(wrong.stderr).not.toContain('falsch');
    expect(daemon.cli.stdout).not.toContain(token);
  });
});

describe('bosun restart', () => {
  it('restarts a service, and says what it cannot do', async () => {
    await using daemon = await Operated.start([
      talker,
      'once: { use: ./services.ts#Once, restart: never, critical: false }',
    ]);
    const done = await daemon.bosun(['restart', 'talker']);
    expect(done).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^talker runs again, after \d+ms\n$/),
    });
    const json = await daemon.bosun(['restart', 'talker', '--json']);
    expect(JSON.parse(json.stdout)).toEqual({ name: 'talker', durationMs: expect.any(Number) });
    const unknown = await daemon.bosun(['restart', 'talkr']);
    expect(unknown).toMatchObject({
      code: 1,
      stderr: 'bosun: error: there is no service named "talkr" (did you mean "talker"?)\n',
    });
    const own = await daemon.bosun(['restart', 'admin']);
    expect(own).toMatchObject({ code: 1, stderr: expect.stringContaining('cannot be restarted by it') });
    const failed = await daemon.bosun(['restart', 'once']);
    expect(failed.code).toBe(1);
    // What an error says cannot steer the terminal.
    expect(failed.stderr).toBe(
      'bosun: error: service "once" could not start: the disk is full\\u001b[31m\\u009b1m\\u202e\n',
    );
    const status = await daemon.bosun(['ps']);
    expect(status.stdout).toMatch(/^talker +running .* 2 +- +-$/m);
    expect(status.stdout).toMatch(/^once +failed .*the disk is full\\u001b\[31m\\u009b1m\\u202e$/m);
  });

  it('is refused while the daemon stops', async () => {
    await using daemon = await Operated.start([talker, 'slow: { use: ./services.ts#Slow }']);
    daemon.cli.kill('SIGTERM');
    await daemon.cli.seen(/stopping: SIGTERM/);
    const { code, stderr } = await daemon.bosun(['restart', 'talker']);
    expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringContaining('is stopping') });
    daemon.cli.kill('SIGTERM');
    expect(await daemon.cli.exited).toBe(70);
  });
});

describe('bosun reload', () => {
  it('applies what has changed in the config, and fails with what is wrong in it, or does not start', async () => {
    await using daemon = await Operated.start([talker]);
    const file = join(daemon.directory, 'bosun.yaml');
    const config = readFileSync(file, 'utf8');
    daemon.project.write('bosun.yaml', `${config}  second: { use: ./services.ts#Talker }\n`);
    expect(await daemon.bosun(['reload'])).toMatchObject({ code: 0, stderr: '' });
    expect((await daemon.bosun(['ps'])).stdout).toMatch(/^second +running/m);
    daemon.project.write('bosun.yaml', config.replace('#Talker', '#Talkr'));
    const { code, stderr } = await daemon.bosun(['reload']);
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: expect.stringContaining('did you mean "./services.ts#Talker"'),
    });
    expect((await daemon.bosun(['ps'])).stdout).toMatch(/^talker +running/m);
    daemon.project.write('bosun.yaml', `${config}  broken: { use: ./services.ts#Broken }\n`);
    const incomplete = await daemon.bosun(['reload']);
    expect(incomplete).toMatchObject({ code: 1, stderr: expect.stringContaining('are left out: broken') });
  });
});

describe('bosun logs', () => {
  it('shows the last lines for people, of a service, of a level, so many; and as JSON', async () => {
    await using daemon = await Operated.start([talker], { env: { BOSUN_LOG_LEVEL: 'debug' } });
    // Lines from before the admin service ran are not there.
    await daemon.bosun(['restart', 'talker']);
    const lines = async (...args: string[]) =>
      (await daemon.bosun(['logs', ...args])).stdout.split('\n').slice(0, -1);
    await expect
      .poll(() => lines('--service', 'talker', '--level', 'warn'), { timeout: 20_000 })
      .toEqual(expect.arrayContaining([expect.stringMatching(/^\d{4}-.*Z ERROR \[talker\] trouble$/)]));
    const warnings = await lines('--service', 'talker', '--level', 'warn');
    for (const line of warnings) expect(line).toMatch(/ (WARN|ERROR) \[talker\] /);
    expect(await lines('--service', 'talker', '--level', 'error', '--lines', '1')).toEqual([
      expect.stringMatching(/trouble$/),
    ]);
    expect(await lines('--lines', '0')).toEqual([]);
    const json = (await lines('--json', '--service', 'talker', '--level', 'info')).map((line) =>
      JSON.parse(line),
    );
    expect(json).toContainEqual(
      expect.objectContaining({ level: 30, service: 'talker', msg: 'hello', password: '[Redacted]' }),
    );
    const unknown = await daemon.bosun(['logs', '--service', 'talkr']);
    expect(unknown).toMatchObject({ code: 1, stderr: expect.stringContaining('did you mean "talker"') });
    const bad = await daemon.bosun(['logs', '--lines', 'many']);
    expect(bad.code).toBe(78);
    expect(bad.stderr).toContain('option "lines" must be an integer between 0 and 10000, received "many"');
  });

  it('follows the log until the daemon ends, and says that it has', async () => {
    await using daemon = await Operated.start([talker, 'chatty: { use: ./services.ts#Chatty }']);
    await using follower = new Cli(['logs', '--follow', '--service', 'talker', '--json', '--lines', '0'], {
      cwd: daemon.directory,
    });
    await using chat = new Cli(['logs', '-f'], { cwd: daemon.directory });
    const from = await chat.seen(/another thing/);
    await chat.seen(/another thing/, from);
    // It may not follow yet: then there is another restart.
    const seen = follower.seen(/"trouble"/);
    let done = false;
    void seen.then(() => {
      done = true;
    });
    while (!done) expect(await daemon.bosun(['restart', 'talker'])).toMatchObject({ code: 0 });
    await seen;
    for (const line of follower.stdout.trim().split('\n'))
      expect(JSON.parse(line)).toMatchObject({ service: 'talker' });
    daemon.cli.kill('SIGTERM');
    expect(await daemon.cli.exited).toBe(0);
    expect(await follower.exited).toBe(69);
    expect(follower.stderr).toContain('has closed the connection');
  });

  it('ends quietly when nobody reads on, and at once on Ctrl-C', async () => {
    await using daemon = await Operated.start(['chatty: { use: ./services.ts#Chatty }']);
    await using head = new Cli(['logs', '-f'], { cwd: daemon.directory });
    await head.seen(/another thing/);
    head.closeStdout();
    expect(await head.exited).toBe(0);
    expect(head.stderr).toBe('');
    await using interrupted = new Cli(['logs', '-f'], { cwd: daemon.directory });
    await interrupted.seen(/another thing/);
    interrupted.kill('SIGINT');
    expect(await interrupted.exited).toBe('SIGINT');
    expect(interrupted.stderr).toBe('');
  });
});

describe('bosun profile', () => {
  it('writes files that open, or shows a table; of a daemon without a profiler service', async () => {
    await using daemon = await Operated.start(['chatty: { use: ./services.ts#Chatty }']);
    const file = join(daemon.directory, 'a.cpuprofile');
    const done = await daemon.bosun(['profile', '--seconds', '1', '--hertz', '500', '--out', 'a.cpuprofile']);
    expect(done).toMatchObject({
      code: 0,
      stdout: '',
      stderr: expect.stringMatching(/^profiling for 1 s\nwrote a\.cpuprofile, /),
    });
    const profile = JSON.parse(readFileSync(file, 'utf8'));
    expect(profile.nodes.length).toBeGreaterThan(0);
    expect(profile.timeDeltas).toHaveLength(profile.samples.length);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const pprof = await daemon.bosun(['profile', '--seconds', '1', '--out', 'a.pb.gz', '--json']);
    expect(JSON.parse(pprof.stdout)).toEqual({ file: 'a.pb.gz', format: 'pprof', bytes: expect.any(Number) });
    expect(gunzipSync(readFileSync(join(daemon.directory, 'a.pb.gz'))).length).toBeGreaterThan(0);
    const shown = await daemon.bosun(['profile', '--seconds', '1']);
    expect(shown).toMatchObject({ code: 0, stdout: expect.stringMatching(/^\d\.\d s at 1000 Hz: busy /) });
    const json = await daemon.bosun(['profile', '--seconds', '1', '--json']);
    expect(JSON.parse(json.stdout)).toMatchObject({
      hertz: 1000,
      bySelf: expect.any(Array),
      flame: { hits: expect.any(Number) },
    });
  });

  it('is one at a time, says what is wrong with its options, and leaves no file when it fails or is interrupted', async () => {
    await using daemon = await Operated.start();
    const cwd = daemon.directory;
    const bad = await daemon.bosun(['profile', '--seconds', '0', '--out', 'bad.cpuprofile']);
    expect(bad.code).toBe(78);
    expect(bad.stderr).toContain('option "seconds" must be an integer between 1 and 300, received "0"');
    await using long = new Cli(['profile', '--seconds', '300', '--out', 'long.cpuprofile'], { cwd });
    await long.complained(/profiling for 300 s/);
    const rival = () => daemon.bosun(['profile', '--seconds', '1', '--out', 'rival.cpuprofile']);
    await expect.poll(rival, { timeout: 20_000 }).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('a profile is being taken already'),
    });
    rmSync(join(cwd, 'rival.cpuprofile'), { force: true });
    long.kill('SIGINT');
    expect(await long.exited).toBe('SIGINT');
    // The daemon gives the long one up when its client goes.
    await expect.poll(rival, { timeout: 20_000 }).toMatchObject({ code: 0 });
    expect(readdirSync(cwd).filter((name) => /profile/.test(name))).toEqual(['rival.cpuprofile']);
    await using cut = new Cli(['profile', '--seconds', '300', '--out', 'cut.cpuprofile'], { cwd });
    await cut.complained(/profiling for 300 s/);
    const nowhere = await daemon.bosun(['profile', '--out', 'no/such/folder.cpuprofile']);
    expect(nowhere).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('cannot write no/such/folder.cpuprofile'),
    });
    await expect.poll(rival, { timeout: 20_000 }).toMatchObject({ code: 1 });
    daemon.cli.kill('SIGKILL');
    expect(await cut.exited).toBe(69);
    expect(cut.stderr).toContain('the connection was closed before the answer');
    expect(readdirSync(cwd).filter((name) => /profile/.test(name))).toEqual(['rival.cpuprofile']);
  });
});

describe('bosun heap', () => {
  it('takes a snapshot and fetches it, when it is told to; the next one has to wait', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'bosun-snapshots-'));
    try {
      await using daemon = await Operated.start([], { admin: `path: ./admin.sock, snapshotDir: ${dir}` });
      const asked = await daemon.bosun(['heap', '--out', 'a.heapsnapshot']);
      expect(asked).toMatchObject({ code: 78, stdout: '' });
      expect(asked.stderr).toMatch(
        /The heap holds .* will do nothing else for about .* the file will be about /,
      );
      expect(asked.stderr).toContain('--yes is required where nobody can be asked');
      const done = await daemon.bosun(['heap', '--out', 'a.heapsnapshot', '--yes', '--json']);
      expect(done.code).toBe(0);
      const file = join(daemon.directory, 'a.heapsnapshot');
      const { bytes, path } = JSON.parse(done.stdout) as { bytes: number; path: string };
      expect(path).toMatch(new RegExp(`^${dir}/`));
      expect(statSync(file)).toMatchObject({ size: bytes });
      expect(statSync(file).mode & 0o777).toBe(0o600);
      expect(done.stderr).toContain(`The daemon keeps ${path}`);
      expect(statSync(path)).toMatchObject({ size: bytes });
      expect(JSON.parse(readFileSync(file, 'utf8'))).toMatchObject({
        snapshot: { meta: expect.any(Object) },
      });
      const again = await daemon.bosun(['heap', '--yes']);
      expect(again).toMatchObject({ code: 1, stderr: expect.stringContaining('no snapshot can be taken: ') });
    } finally {
      rmSync(dir, { recursive: true });
    }
  });

  it('leaves nothing on a disk that is full, and says why', async ({ skip }) => {
    const mounted = await mountSmallDisk(65_536, 0).catch((error: Error) => {
      if (process.env.CI === 'true' && process.getuid?.() === 0) throw error;
      return skip(`it takes root, who may mount a file system: ${error.message}`);
    });
    await using disk = mounted;
    const dir = mkdtempSync(join(tmpdir(), 'bosun-snapshots-'));
    try {
      await using daemon = await Operated.start([], { admin: `path: ./admin.sock, snapshotDir: ${dir}` });
      const out = join(disk.path, 'a.heapsnapshot');
      const { code, stderr } = await daemon.bosun(['heap', '--yes', '--out', out]);
      expect(code).toBe(1);
      expect(stderr).toContain(`cannot write ${out}: ENOSPC`);
      expect(readdirSync(disk.path)).toEqual([]);
    } finally {
      rmSync(dir, { recursive: true });
    }
  });

  it('leaves the snapshot with the daemon, in a folder of its own, when nobody fetches it', async () => {
    await using daemon = await Operated.start();
    const { code, stdout } = await daemon.bosun(['heap', '--yes']);
    expect(code).toBe(0);
    const [, path = '', folder = ''] = /^((.*\/bosun-\d+-\w+)\/[^/]+\.heapsnapshot): /.exec(stdout) ?? [];
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(statSync(folder).mode & 0o777).toBe(0o700);
  });
});

describe('bosun stalls', () => {
  it('fails where nothing looks for stalls, and says what does', async () => {
    await using daemon = await Operated.start();
    for (const args of [['stalls'], ['stalls', '--json']]) {
      const { code, stdout, stderr } = await daemon.bosun(args);
      expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
      expect(stderr).toContain('nothing looks for stalls: add `stalls: { use: stall-detector }`');
    }
  });

  it('says that none were seen', async () => {
    await using daemon = await Operated.start(['stalls: { use: stall-detector, threshold: 1m }']);
    expect(await daemon.bosun(['stalls'])).toMatchObject({ code: 0, stdout: 'none were seen\n' });
  });

  it('shows what blocked the main loop', async () => {
    await using daemon = await Operated.start([
      'blocker: { use: ./services.ts#Blocker, block: 2s }',
      'stalls: { use: stall-detector, threshold: 100ms }',
    ]);
    expect(await daemon.bosun(['restart', 'blocker'])).toMatchObject({ code: 0 });
    const shown = () => daemon.bosun(['stalls']);
    await expect.poll(shown, { timeout: 20_000 }).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/Z the main loop (was|has been) blocked for \d+ ms.*services\.ts:\d+/),
    });
    const json = await daemon.bosun(['stalls', '--json']);
    expect(JSON.parse(json.stdout)).toContainEqual(
      expect.objectContaining({ id: expect.any(Number), durationMs: expect.any(Number), service: 'blocker' }),
    );
  });
});
