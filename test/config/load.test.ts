import { describe, expect, it } from 'vitest';
import { compose } from '../../src/config/compose.ts';
import type { Config } from '../../src/config/load.ts';
import { ConfigDir } from './config-dir.ts';
import { Database } from './fixtures/services.ts';

const optionsOf = (config: Config, name: string) => compose(config.services).get(name)?.options as never;

const api = (options: string) => `services:\n  api: { use: ./services.ts#Api, port: 1, ${options} }\n`;

describe('a config file', () => {
  it('gives settings and services as code takes them', async () => {
    using dir = new ConfigDir();
    const config = await dir.load(`
log: { level: debug, buffer: 1MiB }
workers: { threads: 2 }
shutdown: { timeout: 30s, delay: 250ms }
strategy: rest-for-one
intensity: { maxFailures: 3, window: 1h30m }
services:
  main: { use: ./services.ts#Database, url: embedded }
  api: { use: ./services.ts#Api, port: 8080, database: main, stopTimeout: infinity, after: [main] }
`);
    expect(config.settings).toEqual({
      log: { level: 'debug', bufferBytes: 1_048_576 },
      workers: { threads: 2 },
      shutdown: { timeoutMs: 30_000, delayMs: 250 },
      strategy: 'rest-for-one',
      intensity: { maxFailures: 3, windowMs: 5_400_000 },
    });
    const services = compose(config.services);
    expect([...services.keys()]).toEqual(['main', 'api']);
    expect(services.get('api')?.options).toMatchObject({
      name: 'api',
      port: 8080,
      database: services.get('main'),
      stopTimeoutMs: Number.POSITIVE_INFINITY,
      after: ['main'],
    });
  });

  it('may be JSON, indented with tabs, with the place of a schema', async () => {
    using dir = new ConfigDir();
    const text =
      '{\n\t"$schema": "x.json",\n\t"services": {\n\t\t"db": { "use": "./services.ts#Database", "url": 5 }\n\t}\n}';
    expect(await dir.problems(text, { name: 'bosun.json' })).toMatchObject([
      { line: 4, column: 51, path: 'services.db.url', rule: 'must be a string', received: '5' },
    ]);
    const config = await dir.load(text.replace('5', '"x"'), { name: 'bosun.json' });
    expect(config.services.map(({ name }) => name)).toEqual(['db']);
  });

  it('may be a module that exports the config, or a function that gives it', async () => {
    using dir = new ConfigDir();
    const body = `{ shutdown: { timeout: '5s' }, services: { db: { use: './services.ts#Database', url: '\${URL}' } } }`;
    for (const [name, text] of [
      ['object.ts', `const config = ${body};\nexport default config;\n`],
      ['function.ts', `export default async () => (${body});\n`],
      ['plain.js', `export default ${body};\n`],
    ] as const) {
      const config = await dir.load(text, { name, env: { URL: 'embedded' } });
      expect(config.settings).toEqual({ shutdown: { timeoutMs: 5_000 } });
      expect(optionsOf(config, 'db')).toMatchObject({ url: 'embedded' });
    }
  });

  it('resolves anchors, aliases and merge keys', async () => {
    using dir = new ConfigDir();
    const config = await dir.load(`
services:
  one: &db { use: "./services.ts#Database", url: a, critical: false }
  two: { <<: *db, url: b }
`);
    expect(optionsOf(config, 'two')).toMatchObject({ url: 'b', critical: false });
  });

  it('builds supervisors within supervisors, and references across them', async () => {
    using dir = new ConfigDir();
    const config = await dir.load(`
services:
  api: { use: ./services.ts#Api, port: 1, database: inner }
  group:
    use: supervisor
    strategy: one-for-all
    services:
      deeper:
        use: supervisor
        services:
          inner: { use: ./services.ts#Database, url: x }
`);
    const services = compose(config.services);
    expect(services.get('api')?.options).toMatchObject({ database: services.get('inner') });
    expect(services.get('group')?.options).toMatchObject({
      strategy: 'one-for-all',
      services: [services.get('deeper')],
    });
    expect(config.services.map(({ name }) => name)).toEqual(['api', 'group']);
  });

  it('takes a supervisor without services, to which a reload may add some', async () => {
    using dir = new ConfigDir();
    const config = await dir.load('services: { group: { use: supervisor, services: {} } }');
    expect(optionsOf(config, 'group')).toMatchObject({ services: [] });
  });

  it('takes references in arrays', async () => {
    using dir = new ConfigDir();
    const config = await dir.load(`${api('replicas: [a, b]')}
  a: { use: ./services.ts#Database, url: x }
  b: { use: ./services.ts#Database, url: x }
`);
    const services = compose(config.services);
    expect(services.get('api')?.options).toMatchObject({ replicas: [services.get('a'), services.get('b')] });
    expect(services.get('a')).toBeInstanceOf(Database);
  });
});

describe('units', () => {
  it('are taken in options, in nested objects, in records and in lists', async () => {
    using dir = new ConfigDir();
    const config = await dir.load(
      api(
        'idle: 90, retry: { pause: 2s }, body: 64KiB, buckets: [5ms, 1s], limits: { a: { window: 1m, max: 3 } }',
      ),
    );
    expect(optionsOf(config, 'api')).toMatchObject({
      idleMs: 90,
      retry: { pauseMs: 2_000, factor: 2 },
      bodyBytes: 65_536,
      bucketsMs: [5, 1_000],
      limits: { a: { windowMs: 60_000, max: 3 } },
    });
  });

  it('are asked for by name when they are wrong, also in a bound', async () => {
    using dir = new ConfigDir();
    expect(await dir.problems(api('idle: soon, body: 64M, retry: { pause: 5ms }'))).toMatchObject([
      { path: 'services.api.idle', rule: expect.stringContaining('must be a duration'), received: '"soon"' },
      { path: 'services.api.body', rule: expect.stringContaining('must be a size'), received: '"64M"' },
      { path: 'services.api.retry.pause', rule: 'must be at least 1s', received: '"5ms"' },
    ]);
  });

  it('stay in a name that would be that of another option without', async () => {
    using dir = new ConfigDir();
    const config = await dir.load(api('maxMs: 2s, maxBytes: 2kB'));
    expect(optionsOf(config, 'api')).toMatchObject({ maxMs: 2_000, maxBytes: 2_000 });
    expect(await dir.problems(api('max: 2'))).toMatchObject([{ path: 'services.api.max' }]);
  });

  it('do not belong to the names in a file', async () => {
    using dir = new ConfigDir();
    expect(await dir.problems(api('idleMs: 5'))).toMatchObject([
      {
        path: 'services.api.idleMs',
        rule: expect.stringContaining('is the name in code'),
        suggestion: 'idle',
      },
    ]);
  });
});

describe('an option of several types', () => {
  it('takes each of them', async () => {
    using dir = new ConfigDir();
    const config = await dir.load(
      `${api('linger: never, drain: 5s, store: db, tls: { mode: on, renew: 2d, cert: x }')}  db: { use: ./services.ts#Database, url: x }\n`,
    );
    const services = compose(config.services);
    expect(services.get('api')?.options).toMatchObject({
      linger: 'never',
      drainMs: 5_000,
      store: services.get('db'),
      tls: { mode: 'on', renewMs: 172_800_000, cert: 'x' },
    });
    expect(optionsOf(await dir.load(api('drain: never, store: memory')), 'api')).toMatchObject({
      drainMs: 'never',
      store: 'memory',
    });
  });

  it('is no reference where the type that fits has a text', async () => {
    using dir = new ConfigDir();
    const db = 'db: { use: ./services.ts#Database, url: x }';
    const [service] = (await dir.load(`${api('sink: { to: db, loud: true }')}  ${db}\n`)).services;
    expect(service?.references.size).toBe(0);
    const [other] = (await dir.load(`${api('sink: { to: db }')}  ${db}\n`)).services;
    expect([...(other?.references.values() ?? [])]).toEqual(['db']);
  });

  it('names the alternatives, or what is wrong with the one that was meant', async () => {
    using dir = new ConfigDir();
    const problems = await dir.problems(
      api('linger: ever, drain: soon, store: nobody, tls: { mode: on, renew: later, cret: x }'),
    );
    expect(problems).toMatchObject([
      { path: 'services.api.linger', rule: 'must be a number, or must be "never"', received: '"ever"' },
      { path: 'services.api.drain', rule: expect.stringContaining('must be "never"'), received: '"soon"' },
      { path: 'services.api.store', rule: expect.stringContaining('names no service'), received: '"nobody"' },
      { path: 'services.api.tls.cert', rule: 'is required' },
      { path: 'services.api.tls.renew', received: '"later"' },
      { path: 'services.api.tls.cret', suggestion: 'cert' },
    ]);
  });
});

describe('the environment', () => {
  it('gives a number where the schema asks for one, and text where it asks for text', async () => {
    using dir = new ConfigDir();
    const env = { PORT: '8080', HOST: '10', SECURE: 'true', IDLE: '5m' };
    const text = `services:
  api:
    use: ./services.ts#Api
    port: "\${PORT}"
    host: \${HOST}
    secure: \${SECURE}
    idle: \${IDLE}
    label: \${PORT}
    startTimeout: \${START:-45}
`;
    expect(optionsOf(await dir.load(text, { env }), 'api')).toMatchObject({
      port: 8080,
      host: '10',
      secure: true,
      idleMs: 300_000,
      label: '8080',
      startTimeoutMs: 45,
    });
  });

  it('has defaults for what is unset or empty, and an escape', async () => {
    using dir = new ConfigDir();
    const text = `services: { db: { use: ./services.ts#Database, url: "\${A:-x}-\${B:-y:-z}-\${C}-$\${D}-\${E:-}" } }`;
    const config = await dir.load(text, { env: { A: '', C: 'c' } });
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the escape gives it
    expect(optionsOf(config, 'db')).toMatchObject({ url: 'x-y:-z-c-${D}-' });
  });

  it('must have what is asked for: each missing variable is a problem of its own', async () => {
    using dir = new ConfigDir();
    const text = `services:\n  db:\n    use: ./services.ts#Database\n    url: "\${USER_NAME}@\${HOST_NAME}"\n`;
    expect(await dir.problems(text)).toMatchObject([
      {
        line: 4,
        column: 10,
        path: 'services.db.url',
        rule: expect.stringContaining('USER_NAME, which is not set'),
      },
      {
        line: 4,
        column: 10,
        path: 'services.db.url',
        rule: expect.stringContaining('HOST_NAME, which is not set'),
      },
    ]);
  });

  it.each(['{1A}', '{A', `{A:-$${'{B}}'}`, '{}', '{A-b}'])(
    'does not take $%s for a substitution',
    async (bad) => {
      using dir = new ConfigDir();
      const text = `services: { db: { use: ./services.ts#Database, url: '$${bad}' } }`;
      expect((await dir.problems(text, { env: { A: 'x', B: 'y' } }))[0]).toMatchObject({
        path: 'services.db.url',
        rule: expect.stringContaining('which is neither'),
      });
    },
  );

  it('is not read beside what is passed in', async () => {
    using dir = new ConfigDir();
    // PATH is set in the process that runs this test.
    expect(
      await dir.problems(`services: { db: { use: ./services.ts#Database, url: "\${PATH}" } }`),
    ).toHaveLength(1);
  });
});
