import { expect, it } from 'vitest';
import { settingVariables, unknownVariables } from '../../src/config/settings.ts';
import { Entrypoint, settingsSchema } from '../../src/entrypoint.ts';
import { ConfigDir } from './config-dir.ts';

const services = 'services: { db: { use: ./services.ts#Database, url: x } }';

it('the environment outdoes the file, and the command line outdoes both', async () => {
  using dir = new ConfigDir();
  const text = `log: { level: warn, format: plain, buffer: 1MiB }\n${services}`;
  const config = await dir.load(text, {
    env: {
      BOSUN_LOG_LEVEL: 'debug',
      BOSUN_LOG_BUFFER: '2MiB',
      BOSUN_SHUTDOWN_TIMEOUT: '10s',
      BOSUN_WORKERS: '3',
    },
    overrides: [{ label: '--log-level', setting: 'log.level', text: 'trace' }],
  });
  expect(config.settings).toEqual({
    log: { level: 'trace', format: 'plain', bufferBytes: 2_097_152 },
    shutdown: { timeoutMs: 10_000 },
    workers: { threads: 3 },
  });
});

it('a variable that is empty counts as unset', async () => {
  using dir = new ConfigDir();
  expect((await dir.load(services, { env: { BOSUN_LOG_LEVEL: '' } })).settings).toEqual({});
});

it('a bad value names the variable or the flag, with those of the file', async () => {
  using dir = new ConfigDir();
  const problems = await dir.problems(`log: { level: loud }\n${services}`, {
    env: { BOSUN_LOG_FORMAT: 'jason', BOSUN_SHUTDOWN_DELAY: 'soon', BOSUN_WORKERS: '0' },
    overrides: [{ label: '--log-level', setting: 'log.level', text: 'quiet' }],
  });
  expect(problems.map(({ file: _, rule: __, ...rest }) => rest)).toEqual([
    { path: 'BOSUN_LOG_FORMAT', received: '"jason"', suggestion: 'json' },
    { path: 'BOSUN_WORKERS', received: '"0"' },
    { path: 'BOSUN_SHUTDOWN_DELAY', received: '"soon"' },
    { path: '--log-level', received: '"quiet"' },
    expect.objectContaining({ path: 'log.level', line: 1, received: '"loud"' }),
  ]);
});

it.each([
  ['workers.threads', 'BOSUN_WORKERS', '2', 'workers: { threads: 2 }', { workers: { threads: 2 } }],
  [
    'workers.maxQueued',
    'BOSUN_WORKERS_MAX_QUEUED',
    'infinity',
    'workers: { maxQueued: infinity }',
    { workers: { maxQueued: Number.POSITIVE_INFINITY } },
  ],
  ['debug', 'BOSUN_DEBUG', 'true', 'debug: true', { debug: true }],
  ['log.level', 'BOSUN_LOG_LEVEL', 'debug', 'log: { level: debug }', { log: { level: 'debug' } }],
  ['log.format', 'BOSUN_LOG_FORMAT', 'plain', 'log: { format: plain }', { log: { format: 'plain' } }],
  [
    'log.bufferBytes',
    'BOSUN_LOG_BUFFER',
    '1MiB',
    'log: { buffer: 1MiB }',
    { log: { bufferBytes: 1_048_576 } },
  ],
  [
    'log.flushIntervalMs',
    'BOSUN_LOG_FLUSH_INTERVAL',
    '200ms',
    'log: { flushInterval: 200ms }',
    { log: { flushIntervalMs: 200 } },
  ],
  [
    'log.flushTimeoutMs',
    'BOSUN_LOG_FLUSH_TIMEOUT',
    '2s',
    'log: { flushTimeout: 2s }',
    { log: { flushTimeoutMs: 2_000 } },
  ],
] as const)(
  '%s can be set in code, in the file and as %s',
  async (setting, variable, text, inFile, inCode) => {
    using dir = new ConfigDir();
    expect(settingVariables.get(setting)).toBe(variable);
    expect((await dir.load(services, { env: { [variable]: text } })).settings).toEqual(inCode);
    expect((await dir.load(`${inFile}\n${services}`)).settings).toEqual(inCode);
    expect(() => new Entrypoint([], inCode)).not.toThrow();
  },
);

it('every single setting of the schema has a variable, in its group', () => {
  const groups = new Set([...settingVariables.keys()].map((setting) => setting.split('.')[0]));
  expect([...groups].sort()).toEqual(
    Object.keys(settingsSchema.shape)
      .filter((key) => key !== 'ownsProcess')
      .sort(),
  );
});

it.each([
  ['BOSUN_LOGLEVEL', 'BOSUN_LOG_LEVEL'],
  ['BOSUN_SHUTDOWN_TIMOUT', 'BOSUN_SHUTDOWN_TIMEOUT'],
  ['BOSUN_WORKER', 'BOSUN_WORKERS'],
  ['BOSUN_LOG_COLOR', undefined],
])('%s is no setting, and %s may be meant', (name, suggestion) => {
  expect(unknownVariables({ [name]: 'x', PATH: '/bin' })).toEqual([{ name, suggestion }]);
});

it('variables that are nothing like a setting, empty, or settings are not found fault with', () => {
  const env = {
    BOSUN_HOME: '/srv',
    BOSUN_TOKEN: 'x',
    BOSUN_LOGLEVEL: '',
    BOSUN_LOG_LEVEL: 'info',
    BOSUN: '1',
  };
  expect(unknownVariables(env)).toEqual([]);
});

it('what is wrong only beside what the file says names what was given outside', async () => {
  using dir = new ConfigDir();
  const problems = await dir.problems(`shutdown: { timeout: 10s }\n${services}`, {
    env: {},
    overrides: [{ label: '--shutdown-delay', setting: 'shutdown.delayMs', text: '40s' }],
  });
  expect(problems).toEqual([
    {
      path: 'shutdown.delay',
      rule: '(with --shutdown-delay) must be less than the timeout, of which it is a part',
      received: '40s',
    },
  ]);
});
