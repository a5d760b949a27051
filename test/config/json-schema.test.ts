import { createRequire } from 'node:module';
import { homedir, hostname, tmpdir } from 'node:os';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { flatten } from '../../src/config/definition.ts';
import { configJsonSchema } from '../../src/config/json-schema.ts';
import { builtInClasses } from '../../src/config/use.ts';
import { ConfigDir } from './config-dir.ts';

// Fastify's own validator: one that editors could use, and no dependency more.
const requireFromFastify = createRequire(createRequire(import.meta.url).resolve('fastify'));
const { default: Ajv } = requireFromFastify('ajv/dist/2020') as {
  default: new (
    options: object,
  ) => { compile(schema: object): { (value: unknown): boolean; errors?: unknown } };
};

const good = `
log: { level: info, buffer: 64MiB, redact: [a.b] }
workers: { threads: "\${N:-2}", maxQueued: infinity }
shutdown: { timeout: 1h30m, delay: 250 }
intensity: { maxFailures: 3, window: infinity }
services:
  db: { use: ./services.ts#Database, url: "\${URL}" }
  api: { use: ./services.ts#Api, port: "\${PORT:-1}", database: db, replicas: [db], idle: 5m, secure: true,
         after: [db], limits: { a: { window: 1s, max: 1 } }, retry: { pause: 2s }, buckets: [1s, 5], drain: never, maxMs: 5s,
         tls: { mode: on, renew: 1d, cert: x }, store: memory }
  group: { use: supervisor, strategy: one-for-all, services: { inner: { use: ./services.ts#Database, url: x } } }
`;

async function validator() {
  using dir = new ConfigDir();
  const definitions = flatten((await dir.load(good, { env: { URL: 'x' } })).services);
  const uses = await builtInClasses();
  for (const { use, Class } of definitions) uses.set(use, Class);
  const schema = configJsonSchema({ uses, services: definitions });
  return { schema, valid: new Ajv({ strict: false }).compile(schema) };
}

describe('the JSON schema of a config', () => {
  it('accepts what the loader accepts', async () => {
    const { valid } = await validator();
    valid(parse(good));
    expect(valid.errors ?? []).toEqual([]);
    expect(valid({ services: { x: { use: './not-known.ts', any: 'thing' } } })).toBe(true);
  });

  it.each([
    ['an unknown setting', 'shutdwon: {}', {}],
    ['a bad level', 'log: { level: loud }', {}],
    ['a bad duration', 'shutdown: { timeout: soon }', {}],
    ['a bad size', 'log: { buffer: 5 apples }', {}],
    ['a bad count', 'workers: { maxQueued: -1 }', {}],
    ['the name in code', 'shutdown: { timeoutMs: 5 }', {}],
  ])('refuses %s', async (_what, line) => {
    const { valid } = await validator();
    expect(valid(parse(`${line}\nservices: { db: { use: ./services.ts#Database, url: x } }`))).toBe(false);
  });

  it.each([
    ['an unknown option', '{ use: ./services.ts#Api, port: 1, hots: x }'],
    ['a missing option', '{ use: ./services.ts#Api }'],
    ['an option of the wrong type', '{ use: ./services.ts#Api, port: one }'],
    ['a reference to no service', '{ use: ./services.ts#Api, port: 1, database: nobody }'],
    ['a reference to a service of another class', '{ use: ./services.ts#Api, port: 1, database: api }'],
    ['another word than the one beside durations', '{ use: ./services.ts#Api, port: 1, drain: ever }'],
    ['an order after no service', '{ use: ./services.ts#Api, port: 1, after: [nobody] }'],
    ['a service without use', '{ port: 1 }'],
    ['the same within a supervisor', '{ use: supervisor, services: { y: { use: ./services.ts#Api } } }'],
    ['a supervisor without services', '{ use: supervisor }'],
  ])('refuses %s', async (_what, service) => {
    const { valid } = await validator();
    expect(valid(parse(`services: { x: ${service} }`))).toBe(false);
  });

  it('shows defaults as a file would give them, and offers the names of services', async () => {
    const { schema } = await validator();
    const text = JSON.stringify(schema);
    expect(text).toContain('"default":"30s"');
    expect(text).toContain('"default":"8MiB"');
    expect(text).toContain('{"enum":["db","api","group","inner"]}');
    expect(text).toContain('{"enum":["db","inner"]}');
    expect(text).not.toContain('"idleMs"');
  });

  it('is the same on every machine', async () => {
    const { schema } = await validator();
    expect(schema.properties).toHaveProperty('workers.properties.threads');
    expect(schema.properties).not.toHaveProperty('workers.properties.threads.default');
    const text = JSON.stringify(schema);
    for (const own of [hostname(), homedir(), tmpdir(), process.cwd()]) {
      expect(text).not.toContain(JSON.stringify(own));
    }
  });
});
