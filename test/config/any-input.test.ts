import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compose } from '../../src/config/compose.ts';
import type { Config } from '../../src/config/load.ts';
import { ConfigError, renderProblems } from '../../src/config/problems.ts';
import { ConfigDir } from './config-dir.ts';

describe('whatever a file holds, it is taken or its problems are told', () => {
  const word = fc.constantFrom(
    'log',
    'level',
    'shutdown',
    'services',
    'use',
    'after',
    'port',
    'tls',
    '<<',
    'a',
  );
  const value = fc.letrec((tie) => ({
    any: fc.oneof(
      { depthSize: 'medium', withCrossShrink: true },
      fc.constantFrom(
        './services.ts#Api',
        './services.ts#Database',
        'supervisor',
        'a',
        '30s',
        null,
        -1,
        {},
        [],
      ),
      fc.jsonValue({ maxDepth: 1 }),
      fc.dictionary(fc.oneof(word, fc.string()), tie('any'), { maxKeys: 5 }),
      fc.array(tie('any'), { maxLength: 3 }),
    ),
  })).any;
  const env = { BOSUN_LOG_LEVEL: 'info', BOSUN_SHUTDOWN_DELAY: '1s', BOSUN_INTENSITY_WINDOW: '5s' };

  const expectTakenOrTold = async (loading: Promise<Config>) => {
    try {
      compose((await loading).services);
    } catch (error) {
      expect(error).toBeInstanceOf(ConfigError);
      expect(renderProblems((error as ConfigError).problems)).toContain('error: ');
    }
  };

  it.each(['bosun.json', 'bosun.yaml'])('as data, in %s', async (name) => {
    using dir = new ConfigDir();
    const given = fc.oneof(
      value,
      fc.record({ log: value, shutdown: value, services: value }, { requiredKeys: [] }),
      fc.record({ services: fc.dictionary(word, fc.record({ use: value, after: value, port: value })) }),
    );
    await fc.assert(
      fc.asyncProperty(given, (data) => expectTakenOrTold(dir.load(JSON.stringify(data), { name, env }))),
      { numRuns: 300 },
    );
  });

  it('as text', async () => {
    using dir = new ConfigDir();
    const piece = fc.oneof(
      fc.constantFrom(
        'services',
        'log',
        ': ',
        '\n',
        '\n  ',
        '{',
        '}',
        '[',
        '- ',
        '&a ',
        '*a',
        '!!',
        '<<',
        '"',
        '|',
        '${',
      ),
      fc.string({ maxLength: 3 }),
    );
    const text = fc.array(piece, { maxLength: 12 }).map((pieces) => pieces.join(''));
    await fc.assert(
      fc.asyncProperty(text, (given) => expectTakenOrTold(dir.load(given, { env }))),
      { numRuns: 500 },
    );
  });

  it('as a module, whose values may be of any type', async () => {
    using dir = new ConfigDir();
    const odd = [
      '() => 1',
      'new Date(0)',
      '10n',
      'Symbol()',
      'new Map()',
      'NaN',
      '"loud"',
      'null',
      'class {}',
    ];
    for (const [index, code] of odd.entries()) {
      const service = `{ use: './services.ts#Api', port: ${code}, buckets: ${code}, limits: { a: ${code} } }`;
      for (const [part, text] of [
        `{ log: ${code} }`,
        `{ log: { level: ${code} }, shutdown: ${code}, services: { a: ${service}, b: ${code} } }`,
        code,
      ].entries()) {
        const loading = dir.load(`const it = ${text};\nexport default it;\n`, {
          name: `${index}-${part}.ts`,
          env,
        });
        await expectTakenOrTold(loading);
        await expect(loading).rejects.toThrow(ConfigError);
      }
    }
  });
});
