import { expect, it } from 'vitest';
import { describePlan, planReload } from '../../src/config/reload-plan.ts';
import { ConfigDir } from './config-dir.ts';

const base = `
log: { level: info }
services:
  db: { use: ./services.ts#Database, url: x }
  api: { use: ./services.ts#Api, port: 1, database: db, idle: 60s }
  other: { use: ./services.ts#Api, port: 2 }
  later: { use: ./services.ts#Api, port: 3, after: [api] }
  group: { use: supervisor, services: { inner: { use: ./services.ts#Api, port: 4 }, bystander: { use: ./services.ts#Api, port: 5 } } }
`;

async function plan(after: string, before = base) {
  using dir = new ConfigDir();
  const old = await dir.load(before);
  return planReload(old, await dir.load(after));
}

it('is empty when nothing but the spelling and the order have changed', async () => {
  const respelt = base.replace('60s', '1m').replace(/( {2}db: .*\n)([\s\S]*)/, '$2$1');
  const result = await plan(`# a comment\n${respelt}`);
  expect(result).toEqual({ added: [], removed: [], changed: [], stop: [], start: [], settings: [] });
  expect(describePlan(result)).toBeUndefined();
});

it('adds what is new after what it needs, and removes dependents first', async () => {
  const more = `${base}  one: { use: ./services.ts#Api, port: 6, database: two }\n  two: { use: ./services.ts#Database, url: x }\n`;
  expect(await plan(more)).toMatchObject({
    added: ['two', 'one'],
    start: ['two', 'one'],
    stop: [],
    changed: [],
  });
  expect(await plan(base, more)).toMatchObject({ removed: ['one', 'two'], stop: ['one', 'two'], start: [] });
});

it('replaces what has changed, and all that starts after it, however far', async () => {
  expect(await plan(base.replace('url: x', 'url: y'))).toMatchObject({
    changed: ['db', 'api', 'later'],
    stop: ['later', 'api', 'db'],
    start: ['db', 'api', 'later'],
    added: [],
    removed: [],
  });
  expect(await plan(base.replace('port: 2', 'port: 9'))).toMatchObject({ changed: ['other'] });
});

it('replaces what had depended on a service that is gone', async () => {
  const without = base.replace(/ {2}db: .*\n/, '').replace('database: db, ', '');
  expect(await plan(without)).toMatchObject({
    removed: ['db'],
    changed: ['api', 'later'],
    stop: ['later', 'api', 'db'],
  });
});

it('replaces a service of another class under the same name', async () => {
  const other = base.replace(
    'other: { use: ./services.ts#Api, port: 2 }',
    'other: { use: ./services.ts#Database, url: x }',
  );
  expect(await plan(other)).toMatchObject({ changed: ['other'] });
});

it('replaces a supervisor as a whole, and what needs one of its services', async () => {
  const needing = base.replace('port: 2', 'port: 2, after: [bystander]');
  expect(await plan(needing.replace('port: 4', 'port: 9'), needing)).toMatchObject({
    changed: ['group', 'other'],
    stop: ['other', 'group'],
  });
});

it('moves a service into a supervisor', async () => {
  const moved = base
    .replace(/ {2}other: .*\n/, '')
    .replace('services: { inner', 'services: { other: { use: ./services.ts#Api, port: 2 }, inner');
  expect(await plan(moved)).toMatchObject({
    removed: ['other'],
    changed: ['group'],
    stop: ['group', 'other'],
  });
});

it('names the settings that differ', async () => {
  const result = await plan(
    base.replace('log: { level: info }', 'log: { level: debug, redact: [a] }\nstrategy: one-for-all'),
  );
  expect(result.settings).toEqual(['log.level', 'log.redact', 'strategy']);
  expect(describePlan(result)).toBe('settings: log.level, log.redact, strategy');
});
