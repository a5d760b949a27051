import { execFile } from 'node:child_process';
import { readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { bosun, Cli, Project } from './cli.ts';

const services = `
import { type Scope, Service, service } from 'bosun';
import { z } from 'zod';

export class Base extends Service.extend({ text: z.string().default('hello') }) {
  override start({ log }: Scope): void {
    log.info(\`says \${this.options.text}\`);
  }
}
export class Needy extends Service.extend({ base: service(Base) }) {
  override start(): void {}
}
export class Broken extends Service {
  override start(): void {
    throw new Error('the disk is full');
  }
}
`;

function project(config: string, name = 'bosun.yaml'): Project {
  const made = new Project();
  made.write('services.ts', services);
  made.write(name, config);
  return made;
}

const good = `
services:
  needy: { use: ./services.ts#Needy, base: base }
  base: { use: ./services.ts#Base, text: "\${TEXT:-hello}" }
`;

describe('bosun run', () => {
  it('runs until SIGTERM and exits with 0', async () => {
    using dir = project(good);
    await using cli = new Cli(['run'], { cwd: dir.path });
    await cli.seen(/says hello/);
    await cli.seen(/ready in/);
    cli.kill('SIGTERM');
    expect(await cli.exited).toBe(0);
    expect(cli.stderr).toBe('');
  });

  it('takes a TypeScript config, the environment and flags', async () => {
    using dir = project(
      `const text: string = '\${TEXT}';
       export default { log: { level: 'error' }, services: { base: { use: './services.ts#Base', text } } };`,
      'bosun.ts',
    );
    await using cli = new Cli(
      ['run', '--log-level', 'debug', '--workers', '2', '--shutdown-timeout', '10s'],
      {
        cwd: dir.path,
        env: { TEXT: 'good-bye', BOSUN_LOG_LEVEL: 'silent' },
      },
    );
    await cli.seen(/says good-bye/);
    await cli.seen(/ready in/);
    cli.kill('SIGINT');
    expect(await cli.exited).toBe(0);
    expect(cli.stdout).toContain('"stopping"');
  });

  it('logs at level debug with BOSUN_DEBUG', async () => {
    using dir = project('services: { broken: { use: ./services.ts#Broken } }');
    const { code, stdout } = await bosun(['run'], { cwd: dir.path, env: { BOSUN_DEBUG: 'true' } });
    expect(code).toBe(1);
    expect(stdout).toContain('"starting"');
  });

  it('exits with 78 and every problem on stderr when the config is bad, without a stack', async () => {
    using dir = project(`
services:
  base: { use: ./services.ts#Base, txt: 1 }
  other: { use: ./services.ts#Bse }
  ghost: { use: nothing-of-the-kind }
`);
    const { code, stdout, stderr } = await bosun(['run', '--log-level', 'loud'], { cwd: dir.path });
    expect(code).toBe(78);
    expect(stdout).toBe('');
    expect(stderr).toContain('--log-level must be one of');
    expect(stderr).toContain(
      'bosun.yaml:3:36: error: services.base.txt does not exist, received 1 (did you mean "text"?)',
    );
    expect(stderr).toContain('(did you mean "./services.ts#Base"?)');
    expect(stderr).toContain('services.ghost.use is no built-in kind');
    expect(stderr).toContain('4 problems');
    expect(stderr).not.toMatch(/^\s+at /m);
  });

  it('warns of a variable that is misspelt, and of no other, and goes on', async () => {
    using dir = project(good);
    const env = { BOSUN_LOGLEVEL: 'debug', BOSUN_HOME: '/srv' };
    const { code, stderr } = await bosun(['check'], { cwd: dir.path, env });
    expect(code).toBe(0);
    const warning = 'is ignored: there is no such setting (did you mean BOSUN_LOG_LEVEL?)';
    expect(stderr).toBe(`bosun: warning: BOSUN_LOGLEVEL ${warning}\n`);
    await using cli = new Cli(['run'], { cwd: dir.path, env });
    await cli.seen(/ready in/);
    cli.kill('SIGTERM');
    expect(await cli.exited).toBe(0);
    expect(cli.stderr).toBe(stderr);
  });

  it('exits with 78 when a flag does not go with the file', async () => {
    using dir = project(`shutdown: { timeout: 5s }\n${good}`);
    const { code, stderr } = await bosun(['run', '--shutdown-delay', '6s'], { cwd: dir.path });
    expect(code).toBe(78);
    expect(stderr).toContain('error: shutdown.delay (with --shutdown-delay) must be less than');
  });

  it('exits with 1 when a service cannot start', async () => {
    using dir = project('services: { broken: { use: ./services.ts#Broken } }');
    const { code, stdout } = await bosun(['run'], { cwd: dir.path });
    expect(code).toBe(1);
    expect(stdout).toContain('the disk is full');
  });

  it('exits with 78 when there is no config, and says which names it looked for', async () => {
    using dir = new Project();
    const { code, stderr } = await bosun(['run'], { cwd: dir.path });
    expect(code).toBe(78);
    expect(stderr).toContain('there is no bosun.yaml, bosun.yml, bosun.json, bosun.ts in');
  });

  it('exits with 78 when the config file does not exist', async () => {
    using dir = project(good);
    const { code, stderr } = await bosun(['run', 'bosn.yaml'], { cwd: dir.path });
    expect(code).toBe(78);
    expect(stderr).toContain('bosn.yaml: error: the file does not exist (did you mean "bosun.yaml"?)');
  });
});

describe('a module', () => {
  it('that does not parse is told of with its line', async () => {
    using dir = project('services: { one: { use: ./broken.ts } }');
    dir.write('broken.ts', 'export const a = 1;\nexport const = 2;\n');
    const { code, stderr } = await bosun(['check'], { cwd: dir.path });
    expect(code).toBe(78);
    expect(stderr).toMatch(/could not be loaded: SyntaxError: .*\(broken\.ts:2/);
    expect(stderr).not.toMatch(/^\s+at /m);
  });

  it('may be a package that is there for import alone', async () => {
    using dir = project('services: { one: { use: "my-services#Mine" }, two: { use: my-services } }');
    dir.package(
      'my-services',
      { type: 'module', exports: { import: './index.js' } },
      {
        'index.js': "import { Service } from 'bosun';\nexport class Mine extends Service { start() {} }\n",
      },
    );
    const { code, stdout } = await bosun(['check'], { cwd: dir.path });
    expect(stdout).toContain('ok: 2 services');
    expect(code).toBe(0);
  });
});

describe('bosun check', () => {
  it('prints the start order and starts nothing', async () => {
    using dir = project(good);
    const { code, stdout, stderr } = await bosun(['check'], { cwd: dir.path });
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toBe(`ok: 2 services, in start order (independent ones start together)
  1  base   ./services.ts#Base
  2  needy  ./services.ts#Needy  after base
`);
  });

  it('prints JSON for scripts, also of the problems', async () => {
    using dir = project(good);
    const ok = await bosun(['check', '--json'], { cwd: dir.path });
    expect(JSON.parse(ok.stdout)).toMatchObject({
      ok: true,
      services: [
        { name: 'base', type: 'Base', use: './services.ts#Base', after: [] },
        { name: 'needy', type: 'Needy', after: ['base'] },
      ],
    });
    dir.write('bosun.yaml', good.replace('base: base', 'base: bse'));
    const bad = await bosun(['check', '--json'], { cwd: dir.path });
    expect(bad).toMatchObject({ code: 78, stderr: '' });
    expect(JSON.parse(bad.stdout)).toEqual({
      ok: false,
      problems: [
        {
          file: join(dir.path, 'bosun.yaml'),
          line: 3,
          column: 44,
          path: 'services.needy.base',
          rule: 'names no service',
          received: '"bse"',
          suggestion: 'base',
          excerpt: '  needy: { use: ./services.ts#Needy, base: bse }',
        },
      ],
    });
  });
});

describe('bosun schema', () => {
  it('prints the JSON schema, with the modules of a config', async () => {
    using dir = project(good);
    const plain = await bosun(['schema'], { cwd: dir.path });
    expect(JSON.parse(plain.stdout)).toMatchObject({ required: ['services'] });
    expect(plain.stdout).not.toContain('./services.ts');
    const known = await bosun(['schema', 'bosun.yaml'], { cwd: dir.path });
    expect(known.stdout).toContain('"const": "./services.ts#Needy"');
  });
});

describe('bosun init', () => {
  it('writes a project that runs', async () => {
    using dir = new Project();
    const init = await bosun(['init', 'fresh'], { cwd: dir.path });
    expect(init).toMatchObject({ code: 0, stderr: '' });
    const fresh = join(dir.path, 'fresh');
    expect(readFileSync(join(fresh, 'bosun.yaml'), 'utf8')).toMatch(
      /^# yaml-language-server: \$schema=bosun\.schema\.json\n/,
    );
    expect(JSON.parse(readFileSync(join(fresh, 'bosun.schema.json'), 'utf8'))).toMatchObject({
      title: 'Bosun config',
    });
    expect(JSON.parse(readFileSync(join(fresh, 'package.json'), 'utf8'))).toMatchObject({
      name: 'fresh',
      scripts: { start: 'bosun run', check: 'bosun check' },
    });
    // The packages are found in the directory above.
    const env = { PORT: '0', ECHO_PORT: '0', BOSUN_LOG_FORMAT: 'json' };
    expect(await bosun(['check'], { cwd: fresh, env })).toMatchObject({ code: 0, stderr: '' });
    await using cli = new Cli(['run'], { cwd: fresh, env });
    await cli.seen(/ready in/);
    const [, url] = /hello (http:\S+?),/.exec(cli.stdout) ?? [];
    const response = await fetch(`${url}/?name=Ada`, { headers: { connection: 'close' } });
    expect(await response.json()).toEqual({ message: 'hello, Ada' });
    cli.kill('SIGTERM');
    expect(await cli.exited).toBe(0);
    expect(cli.stderr).toBe('');
  });

  it('writes a service that passes a strict type check', async () => {
    using dir = new Project();
    await bosun(['init', 'fresh'], { cwd: dir.path });
    const options = ['--noEmit', '--strict', '--module', 'nodenext', '--types', 'node', '--skipLibCheck'];
    const tsc = join(import.meta.dirname, '../../node_modules/.bin/tsc');
    symlinkSync(
      join(import.meta.dirname, '../../node_modules/@types'),
      join(dir.path, 'node_modules/@types'),
    );
    const { stdout } = await promisify(execFile)(
      process.execPath,
      [
        tsc,
        ...options,
        '--customConditions',
        'bosun-source',
        '--allowImportingTsExtensions',
        'fresh/hello.ts',
      ],
      { cwd: dir.path },
    );
    expect(stdout).toBe('');
  });

  it('overwrites nothing', async () => {
    using dir = project('mine: yes');
    const { code, stderr } = await bosun(['init'], { cwd: dir.path });
    expect(code).toBe(1);
    expect(stderr).toContain('exist already: package.json, bosun.yaml');
    expect(readFileSync(join(dir.path, 'bosun.yaml'), 'utf8')).toBe('mine: yes');
  });
});

describe('bosun', () => {
  it('prints its version and its help, with examples', async () => {
    using dir = new Project();
    const { version } = JSON.parse(readFileSync(join(import.meta.dirname, '../../package.json'), 'utf8'));
    expect(await bosun(['--version'], { cwd: dir.path })).toEqual({
      code: 0,
      stdout: `${version}\n`,
      stderr: '',
    });
    for (const command of [[], ['run'], ['check'], ['schema'], ['init']]) {
      const { code, stdout } = await bosun([...command, '--help'], { cwd: dir.path });
      expect(code).toBe(0);
      expect(stdout).toContain('Examples:\n  $ bosun');
    }
  });

  it('exits with 78 on a command or a flag that does not exist, and suggests one', async () => {
    using dir = new Project();
    const command = await bosun(['chek'], { cwd: dir.path });
    expect(command).toMatchObject({ code: 78, stderr: expect.stringContaining('Did you mean check?') });
    const flag = await bosun(['run', '--log-levle', 'info'], { cwd: dir.path });
    expect(flag).toMatchObject({ code: 78, stderr: expect.stringContaining('Did you mean --log-level?') });
  });

  it('says which Node it needs before it loads anything that an older one could not', async () => {
    using dir = new Project();
    const pretend = "Object.defineProperty(process.versions, 'node', { value: '20.11.1' })";
    const { code, stdout, stderr } = await bosun(['--version'], {
      cwd: dir.path,
      nodeOptions: ['--import', `data:text/javascript,${encodeURIComponent(pretend)}`],
    });
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toMatch(/^bosun: Node\.js >= 24 is needed; this is 20\.11\.1 \(.*\)\n$/);
    expect(readFileSync(join(import.meta.dirname, '../../src/cli/main.ts'), 'utf8')).not.toMatch(/^import /m);
  });
});
