import type { IncomingMessage } from 'node:http';
import { FakeClock } from 'bosun/testing';
import { expect, test } from 'vitest';
import type { AuditEntry, MainMethods } from '../../src/control/protocol.ts';
import type { Rpc } from '../../src/control/rpc.ts';
import { Audit } from '../../src/control/thread/audit.ts';

const request = (url: string) =>
  ({
    socket: { remoteAddress: '127.0.0.1', remotePort: 4_711 },
    headers: {},
    method: 'GET',
    url,
  }) as IncomingMessage;

function auditing() {
  const clock = new FakeClock();
  const told: string[] = [];
  const main = {
    tell: (_: string, { path, status, unsaid }: AuditEntry) =>
      void told.push(`${status} ${path} +${unsaid ?? 0}`),
  } as unknown as Rpc<MainMethods>;
  return { clock, told, audit: new Audit(main, 'admin', clock) };
}

test('the first who is refused is told at once, the last after ten seconds, with the number of those between', async () => {
  const { clock, told, audit } = auditing();
  for (const url of ['/a', '/b', '/c?secret', '/d']) audit.refused(request(url), 401, 'no');
  expect(told).toEqual(['401 /a +0']);
  await clock.advance(10_000);
  expect(told).toEqual(['401 /a +0', '401 /d +2']);
  await clock.advance(10_000);
  expect(told).toHaveLength(2);
  expect(clock.pending).toBe(0);
  audit.refused(request('/e'), 401, 'no');
  expect(told.at(-1)).toBe('401 /e +0');
  audit[Symbol.dispose]();
});

test('many of one kind do not hide one of another', () => {
  const { told, audit } = auditing();
  for (let i = 0; i < 100; i++) audit.refused(request('/a'), 401, 'no');
  audit.refused(request('/b'), 403, 'no');
  expect(told).toEqual(['401 /a +0', '403 /b +0']);
  audit[Symbol.dispose]();
});

test('at the end nothing stays unsaid, and no timer is left', () => {
  const { clock, told, audit } = auditing();
  for (const url of ['/a', '/b']) audit.refused(request(url), 401, 'no');
  audit[Symbol.dispose]();
  expect(told).toEqual(['401 /a +0', '401 /b +0']);
  expect(clock.pending).toBe(0);
});
