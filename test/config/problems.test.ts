import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { compose } from '../../src/config/compose.ts';
import { loadConfig } from '../../src/config/load.ts';
import { type ConfigProblem, renderProblems } from '../../src/config/problems.ts';
import { ConfigDir, problemsOf } from './config-dir.ts';

const db = 'db: { use: ./services.ts#Database, url: x }';

/** Config, what is wrong with it, and where. */
const cases: readonly [string, string, Partial<Record<keyof ConfigProblem, unknown>>][] = [
  [
    'an unknown setting',
    `shutdwon: { timeout: 1s }\nservices: { ${db} }`,
    { line: 1, column: 1, path: 'shutdwon', rule: 'does not exist', suggestion: 'shutdown' },
  ],
  [
    'a setting that is out of range',
    `services: { ${db} }\nworkers: { threads: 0 }`,
    { line: 2, column: 21, path: 'workers.threads', rule: 'must be at least 1', received: '0' },
  ],
  [
    'whose the process is, as that is not for the file to say',
    `ownsProcess: false\nservices: { ${db} }`,
    { line: 1, path: 'ownsProcess', rule: expect.stringContaining('does not exist') },
  ],
  [
    'an unknown kind',
    'services:\n  group: { use: supervisr, services: {} }',
    {
      line: 2,
      column: 17,
      path: 'services.group.use',
      rule: expect.stringContaining('is no built-in kind'),
      suggestion: 'supervisor',
    },
  ],
  [
    'no kind',
    'services:\n  one: { url: x }',
    { line: 2, column: 3, path: 'services.one.use', rule: expect.stringContaining('is required') },
  ],
  [
    'a kind that is no text',
    'services:\n  one: { use: [a] }',
    { line: 2, column: 10, path: 'services.one.use', received: 'a list' },
  ],
  [
    'an unknown option',
    'services:\n  one: { use: ./services.ts#Api, port: 1, hots: x }',
    {
      line: 2,
      column: 43,
      path: 'services.one.hots',
      rule: 'does not exist',
      received: '"x"',
      suggestion: 'host',
    },
  ],
  [
    'an option of the wrong type',
    'services:\n  one:\n    use: ./services.ts#Api\n    port: eighty\n',
    { line: 4, column: 11, path: 'services.one.port', rule: 'must be a number', received: '"eighty"' },
  ],
  [
    'an option that is out of range',
    'services:\n  one:\n    use: ./services.ts#Api\n    port: 70000\n',
    { line: 4, column: 11, path: 'services.one.port', rule: 'must be at most 65535', received: '70000' },
  ],
  [
    'a missing option',
    'services:\n  one:\n    use: ./services.ts#Api\n',
    { line: 2, column: 3, path: 'services.one.port', rule: 'is required' },
  ],
  [
    'a word that is none of those allowed',
    'services:\n  one: { use: ./services.ts#Database, url: x, restart: allways }',
    { line: 2, path: 'services.one.restart', received: '"allways"', suggestion: 'always' },
  ],
  [
    'a name among the options',
    'services:\n  one: { use: ./services.ts#Database, url: x, name: two }',
    { line: 2, path: 'services.one.name', rule: expect.stringContaining('key is its name') },
  ],
  [
    'a name that cannot be one',
    'services:\n  one two: { use: ./services.ts#Database, url: x }',
    { line: 2, column: 3, path: 'services.one two', rule: 'must be made of letters, digits and _ . : -' },
  ],
  [
    'a name that is there twice',
    `services:\n  ${db}\n  ${db}`,
    { line: 3, column: 3, path: 'services.db', rule: 'is there twice: first in line 2' },
  ],
  [
    'an option that is there twice',
    'services:\n  db: { use: ./services.ts#Database, url: x, url: y }',
    { line: 2, column: 46, path: 'services.db.url', rule: 'is there twice: first in line 2' },
  ],
  [
    'a name that is there twice in the tree',
    `services:\n  ${db}\n  group: { use: supervisor, services: { ${db} } }`,
    { line: 3, path: 'services.group.services.db', rule: expect.stringContaining('(services.db)') },
  ],
  [
    'a reference to a service that is missing',
    `services:\n  database: { use: ./services.ts#Database, url: x }\n  api: { use: ./services.ts#Api, port: 1, database: databse }`,
    {
      line: 3,
      column: 53,
      path: 'services.api.database',
      rule: 'names no service',
      received: '"databse"',
      suggestion: 'database',
    },
  ],
  [
    'a reference to a service of another class',
    'services:\n  one: { use: ./services.ts#Api, port: 1, database: two }\n  two: { use: ./services.ts#Api, port: 1 }',
    {
      line: 2,
      path: 'services.one.database',
      rule: 'must be a service of class Database; "two" is of class Api',
    },
  ],
  [
    'a reference that is no name',
    'services:\n  one: { use: ./services.ts#Api, port: 1, database: { use: x } }',
    {
      line: 2,
      path: 'services.one.database',
      rule: 'must be the name of a service of class Database',
      received: 'a map',
    },
  ],
  [
    'a reference within a list to a service that is missing',
    `services:\n  ${db}\n  one: { use: ./services.ts#Api, port: 1, replicas: [db, bd] }`,
    { line: 3, path: 'services.one.replicas.1', rule: 'names no service', suggestion: 'db' },
  ],
  [
    'an order after a service that is missing',
    `services:\n  ${db}\n  one: { use: ./services.ts#Api, port: 1, after: [dbb] }`,
    { line: 3, path: 'services.one.after.0', rule: 'names no service', suggestion: 'db' },
  ],
  [
    'services that need each other',
    'services:\n  a: { use: ./services.ts#Database, url: x, after: [b] }\n  b: { use: ./services.ts#Database, url: x, after: [a] }',
    { line: 2, path: 'services.a', rule: 'depends on itself in a circle: a -> b -> a' },
  ],
  [
    'a service that needs itself',
    'services:\n  a: { use: ./services.ts#Database, url: x, after: [a] }',
    { line: 2, path: 'services.a', rule: 'depends on itself in a circle: a -> a' },
  ],
  [
    'a circle through a supervisor',
    `services:\n  ${db.replace('url: x', 'url: x, after: [inner]')}\n  group:\n    use: supervisor\n    services:\n      inner: { use: ./services.ts#Database, url: x }\n      other: { use: ./services.ts#Api, port: 1, database: db }`,
    { line: 2, path: 'services.db', rule: 'depends on itself in a circle: db -> group -> db' },
  ],
  [
    'a service that needs its own supervisor',
    'services:\n  group:\n    use: supervisor\n    services:\n      inner: { use: ./services.ts#Database, url: x, after: [group] }',
    {
      line: 5,
      path: 'services.group.services.inner',
      rule: 'depends on itself in a circle: inner -> group -> inner',
    },
  ],
  [
    'a module that does not exist',
    'services:\n  one: { use: ./servces.ts#Database, url: x }',
    {
      line: 2,
      column: 15,
      path: 'services.one.use',
      rule: expect.stringContaining('does not exist'),
      suggestion: './services.ts',
    },
  ],
  [
    'a package that does not exist',
    'services:\n  one: { use: no-such-package#Thing, url: x }',
    { line: 2, path: 'services.one.use', rule: expect.stringContaining('no package of that name') },
  ],
  [
    'a module that throws when it is imported',
    'services:\n  one: { use: ./throws.ts }',
    {
      line: 2,
      path: 'services.one.use',
      rule: expect.stringMatching(/could not be loaded: TypeError: no luck today \(throws\.ts:3:/),
    },
  ],
  [
    'a module with an import that does not exist',
    'services:\n  one: { use: ./imports.ts }',
    { line: 2, path: 'services.one.use', rule: expect.stringContaining('could not be loaded') },
  ],
  [
    'a directory',
    'services:\n  one: { use: ./ }',
    { line: 2, path: 'services.one.use', rule: expect.stringContaining('names a directory, not a module') },
  ],
  [
    'a group of settings that is no map',
    `log: loud\nservices: { ${db} }`,
    { line: 1, column: 6, path: 'log', rule: 'must be a map', received: '"loud"' },
  ],
  [
    'an option that is no list',
    'services:\n  db: { use: ./services.ts#Database, url: x, after: db }',
    { line: 2, path: 'services.db.after', rule: 'must be a list', received: '"db"' },
  ],
  [
    'a duration that is negative',
    `shutdown: { delay: -1 }\nservices: { ${db} }`,
    { line: 1, path: 'shutdown.delay', rule: expect.stringContaining('must be a duration'), received: '-1' },
  ],
  [
    'an export that does not exist',
    'services:\n  one: { use: "./services.ts#Databse" }',
    {
      line: 2,
      path: 'services.one.use',
      rule: expect.stringContaining('Databse, which does not exist'),
      suggestion: './services.ts#Database',
    },
  ],
  [
    'an export that is no service',
    'services:\n  one: { use: "./services.ts#version" }',
    { line: 2, path: 'services.one.use', rule: 'names the export version, which is no Service class' },
  ],
  [
    'a module without a service',
    'services:\n  one: { use: ./nothing.ts }',
    { line: 2, path: 'services.one.use', rule: 'names a module that exports no Service class' },
  ],
  [
    'a module with several services',
    'services:\n  one: { use: ./services.ts }',
    {
      line: 2,
      path: 'services.one.use',
      rule: expect.stringContaining('./services.ts#Api, ./services.ts#Database'),
    },
  ],
  ['no services', 'log: {}', { line: 1, path: 'services', rule: expect.stringContaining('is required') }],
  [
    'an empty map of services',
    'services: {}',
    { line: 1, path: 'services', rule: 'must name at least one service' },
  ],
  ['services that are no map', 'services: [a]', { line: 1, path: 'services', received: 'a list' }],
  [
    'a service that is no map',
    'services: { a: tcp }',
    { line: 1, column: 16, path: 'services.a', received: '"tcp"' },
  ],
  [
    'a supervisor without services',
    'services: { a: { use: supervisor } }',
    { line: 1, path: 'services.a.services', rule: expect.stringContaining('is required') },
  ],
  ['an empty file', '# nothing\n', { path: '', rule: expect.stringContaining('is empty') }],
  [
    'a file that is no map',
    'hello',
    { line: 1, column: 1, rule: expect.stringContaining('must be a map'), received: '"hello"' },
  ],
  [
    'a syntax error',
    'services:\n\ta: 1',
    { line: 2, column: 1, rule: expect.stringContaining('Tabs are not allowed') },
  ],
  [
    'an unknown tag',
    `log: !env x\nservices: { ${db} }`,
    { line: 1, column: 6, path: '', rule: expect.stringContaining('Unresolved tag') },
  ],
  [
    'an alias without an anchor',
    `services: { ${db} }\nlog: *nope`,
    { line: 2, rule: expect.stringContaining('no anchor') },
  ],
  [
    'an alias that contains itself',
    `services: { ${db} }\nlog: &x { level: *x }`,
    { line: 2, rule: expect.stringContaining('contains itself') },
  ],
];

describe('a config with', () => {
  it.each(cases)('%s is told so, with the place', async (_what, text, expected) => {
    using dir = new ConfigDir();
    dir.write('throws.ts', "const luck = false;\n\nif (!luck) throw new TypeError('no luck today');\n");
    dir.write('imports.ts', "import './gone.ts';\n");
    dir.write('nothing.ts', 'export const nothing = 0;\n');
    const problems = await dir.problems(text);
    const [problem] = problems.filter(({ path }) => path === (expected.path ?? path));
    expect(problem).toMatchObject({ file: join(dir.path, 'bosun.yaml'), ...expected });
  });
});

it('reports every problem at once, in the order of the file', async () => {
  using dir = new ConfigDir();
  const problems = await dir.problems(`
log: { level: loud }
services:
  api: { use: ./services.ts#Api, port: none, idle: soon, database: nobody, hots: x }
  other: { use: ./nowhere.ts }
  api: {}
  a: { use: ./services.ts#Database, url: x, after: [b] }
  b: { use: ./services.ts#Database, url: x, after: [a] }
extra: 1
`);
  expect(problems.map(({ line, path }) => `${line} ${path}`)).toEqual([
    '2 log.level',
    '4 services.api.port',
    '4 services.api.idle',
    '4 services.api.database',
    '4 services.api.hots',
    '5 services.other.use',
    '6 services.api',
    '7 services.a',
    '9 extra',
  ]);
});

describe('a file', () => {
  it('that does not exist is told so, with the nearest name', async () => {
    using dir = new ConfigDir();
    dir.write('bosun.yaml', '');
    const problems = await problemsOf(loadConfig(join(dir.path, 'bosum.yaml'), { env: {} }));
    expect(problems).toMatchObject([{ rule: 'the file does not exist', suggestion: 'bosun.yaml' }]);
  });

  it('that is a directory, or of another form, is told so', async () => {
    using dir = new ConfigDir();
    mkdirSync(join(dir.path, 'sub.yaml'));
    const inDirectory = await problemsOf(loadConfig(join(dir.path, 'sub.yaml'), { env: {} }));
    expect(inDirectory).toMatchObject([{ rule: 'is a directory, not a file' }]);
    expect(await dir.problems('x=1', { name: 'bosun.ini' })).toMatchObject([
      { rule: expect.stringContaining('.yaml, .yml, .json') },
    ]);
  });

  it('that is a module says where it throws, and that it exports nothing', async () => {
    using dir = new ConfigDir();
    expect(await dir.problems("\nthrow new Error('not today');\n", { name: 'bosun.ts' })).toMatchObject([
      { line: 2, rule: 'could not be loaded: not today' },
    ]);
    expect(await dir.problems('export const x = 1;\n', { name: 'other.ts' })).toMatchObject([
      { rule: expect.stringContaining('no default export') },
    ]);
  });
});

describe('what a constructor throws', () => {
  it('stands where the option does, when it is a rule on one', async () => {
    using dir = new ConfigDir();
    const config = await dir.load('services:\n  echo: { use: tcp-echo, path: /run/echo.sock, port: 5 }');
    expect(await problemsOf((async () => compose(config.services))())).toMatchObject([
      {
        line: 2,
        column: 54,
        path: 'services.echo.port',
        rule: 'cannot be combined with "path": a Unix socket has none',
        received: '5',
      },
    ]);
  });

  it('is a problem of the service, and those of all services are reported', async () => {
    using dir = new ConfigDir();
    const config = await dir.load(
      'services:\n  one: { use: ./services.ts#Picky, token: a }\n  two: { use: ./services.ts#Picky, token: b }',
    );
    const problems = await problemsOf((async () => compose(config.services))());
    expect(problems).toMatchObject([
      {
        line: 2,
        column: 3,
        path: 'services.one',
        rule: 'could not be constructed: this token will not do: a',
      },
      { line: 3, column: 3, path: 'services.two' },
    ]);
  });
});

describe('a secret', () => {
  const leaks = (value: unknown) => JSON.stringify(value).includes('hunter2');

  it.each([
    ['from the environment', `services: { api: { use: ./services.ts#Api, port: "\${PORT}" } }`],
    [
      'within a text from the environment',
      `services: { api: { use: ./services.ts#Api, port: "x\${PORT}" } }`,
    ],
    ['under a telling name', 'services: { api: { use: ./services.ts#Api, port: 1, password: hunter2 } }'],
    [
      'under a telling name that does not exist',
      'services: { api: { use: ./services.ts#Api, port: 1, apiKey: hunter2 } }',
    ],
    ['in a URL', 'services: { api: { use: ./services.ts#Api, port: "postgres://me:hunter2@db/x" } }'],
    [
      'beside what is wrong',
      'services: { api: { use: ./services.ts#Api, port: x, password: hunter2hunter2 } }',
    ],
    [
      'in a multi-line text',
      'services:\n  api:\n    use: ./services.ts#Api\n    port: x\n    password: |\n      hunter2\n     x: 1\n',
    ],
  ])('%s is shown neither as the value nor in the line', async (_where, text) => {
    using dir = new ConfigDir();
    const problems = await dir.problems(text, { env: { PORT: 'hunter2' } });
    expect(problems.length).toBeGreaterThan(0);
    expect(leaks(problems)).toBe(false);
    expect(leaks(renderProblems(problems))).toBe(false);
  });

  it('is not repeated from what a constructor says', async () => {
    using dir = new ConfigDir();
    const text = `services: { one: { use: ./services.ts#Picky, token: "\${TOKEN}" } }`;
    const config = await dir.load(text, { env: { TOKEN: 'hunter2' } });
    expect(await problemsOf((async () => compose(config.services))())).toMatchObject([
      { rule: 'could not be constructed: this token will not do: ***' },
    ]);
  });
});

describe('for people, a problem', () => {
  it('comes with its line, a caret below it, and a count at the end', async () => {
    using dir = new ConfigDir();
    const problems = await dir.problems('services:\n  one: { use: ./services.ts#Api, port: 1, hots: x }\n');
    expect(
      renderProblems(problems, dir.path),
    ).toBe(`bosun.yaml:2:43: error: services.one.hots does not exist, received "x" (did you mean "host"?)
  2 |   one: { use: ./services.ts#Api, port: 1, hots: x }
                                                ^

1 problem
`);
  });

  it('shows the part of a long line that holds it', async () => {
    using dir = new ConfigDir();
    const text = `services: { one: { use: ./services.ts#Api, host: ${'x'.repeat(300)}, port: bad } }`;
    const [, line = '', caret = ''] = renderProblems(await dir.problems(text)).split('\n');
    expect(line.length).toBeLessThan(120);
    expect(line.slice(caret.indexOf('^'))).toMatch(/^bad/);
  });
});
