import fc from 'fast-check';
import { expect, test } from 'vitest';
import { redactLine } from '../../src/logging/redact.ts';

const redacted = (value: unknown) => JSON.parse(redactLine(JSON.stringify(value)));

test.each([
  'password',
  'passwd',
  'passphrase',
  'pwd',
  'secret',
  'clientSecret',
  'token',
  'access_token',
  'refreshToken',
  'apiKey',
  'api_key',
  'x-api-key',
  'privateKey',
  'secretAccessKey',
  'Authorization',
  'proxy-authorization',
  'cookie',
  'cookies',
  'Set-Cookie',
  'credentials',
  'dbPassword',
])('the value of %s is not written, at any depth', (key) => {
  expect(
    redacted({ [key]: 'hush', a: { [key]: 'hush', b: { [key]: 'hush', c: [{ [key]: 'hush' }] } } }),
  ).toEqual({
    [key]: '[Redacted]',
    a: { [key]: '[Redacted]', b: { [key]: '[Redacted]', c: [{ [key]: '[Redacted]' }] } },
  });
});

test.each(['tokens', 'passwordPolicy', 'secretary', 'msg', 'keyboard', 'apiKeyId'])(
  '%s is written',
  (key) => {
    expect(redacted({ [key]: 'told' })).toEqual({ [key]: 'told' });
  },
);

test('what follows a secret of any type is still there', () => {
  for (const secret of ['a"}]{[,\\', '', 12, -1.5e3, true, null, [1, [2, '}']], { a: { b: ']' } }, [], {}]) {
    expect(redacted({ secret, after: [secret] })).toEqual({ secret: '[Redacted]', after: [secret] });
    expect(redacted([{ before: 1, secret }, 2])).toEqual([{ before: 1, secret: '[Redacted]' }, 2]);
  }
});

test('text that looks like a secret’s key inside of a string is no key', () => {
  const value = { msg: '{"password":"x","a":1}', b: 'token":' };
  expect(redacted(value)).toEqual(value);
});

test.each([
  ['postgres://user:hunter2@db/shop', 'postgres://user:[Redacted]@db/shop'],
  ['cannot reach redis://:hunter2@cache:6379/0 now', 'cannot reach redis://:[Redacted]@cache:6379/0 now'],
  ['https://u:p@ss@host', 'https://u:[Redacted]@host'],
  ['a://u:p@h b://v:q@i', 'a://u:[Redacted]@h b://v:[Redacted]@i'],
  ['http://localhost:8080/a@b', 'http://localhost:8080/a@b'],
  ['http://localhost:8080?mail=me@example.org', 'http://localhost:8080?mail=me@example.org'],
  ['http://localhost:8080 me@example.org', 'http://localhost:8080 me@example.org'],
  ['http://user@host', 'http://user@host'],
])('of the URL in %j the password is not written', (text, expected) => {
  expect(redacted({ msg: text, deep: [{ text }] })).toEqual({ msg: expected, deep: [{ text: expected }] });
});

test('it takes out the values of secret keys and nothing else, whatever the line', () => {
  const key = fc.oneof(fc.constantFrom('password', 'Set-Cookie', 'api_key'), fc.string());
  const { value } = fc.letrec((tie) => ({
    value: fc.oneof(
      { maxDepth: 4 },
      fc.string().filter((text) => !text.includes('://')),
      fc.double({ noNaN: true, noDefaultInfinity: true }),
      fc.constantFrom(null, true, false),
      fc.array(tie('value'), { maxLength: 3 }),
      fc.dictionary(key, tie('value'), { maxKeys: 4 }),
    ),
  }));
  const secret = /(password|set-cookie|api_key|pwd|secret|token|cookie|credential)s?$/i;
  const model = (given: unknown): unknown => {
    if (Array.isArray(given)) return given.map(model);
    if (typeof given !== 'object' || given === null) return given;
    return Object.fromEntries(
      Object.entries(given).map(([name, inner]) => [name, secret.test(name) ? '[Redacted]' : model(inner)]),
    );
  };
  fc.assert(
    fc.property(value, (given) => {
      const plain = JSON.parse(JSON.stringify({ line: given }));
      expect(redacted(plain)).toEqual(model(plain));
    }),
  );
});
