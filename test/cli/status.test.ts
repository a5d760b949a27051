import { describe, expect, it } from 'vitest';
import { type RowsOptions, serviceRows, summary } from '../../src/cli/status.ts';
import type { Status } from '../../src/control/shown.ts';

type Service = Status['services'][number];

const service = (name: string, more: Partial<Service> = {}): Service => ({
  name,
  type: 'TcpService',
  state: 'running',
  sinceMs: 1_000,
  uptimeMs: 1_000,
  restarts: 0,
  lastError: null,
  critical: true,
  dependencies: [],
  supervisor: null,
  addresses: [],
  health: null,
  servesControl: false,
  ...more,
});

const status = (services: readonly Service[], more: Partial<Status> = {}): Status => ({
  name: 'shop',
  host: 'host',
  pid: 1,
  node: 'v24.0.0',
  version: '1.0.0',
  phase: 'ready',
  uptimeMs: 5_000,
  blockedMs: 0,
  process: {
    rssBytes: 0,
    heapUsedBytes: 0,
    heapTotalBytes: 0,
    externalBytes: 0,
    arrayBuffersBytes: 0,
    cpuShare: 0,
    loopDelayMaxMs: null,
    loopUtilisation: null,
    requestsPerSecond: null,
    requestP99Ms: null,
  },
  services: [...services],
  features: { memory: false, profiler: false, stalls: false },
  ...more,
});

const names = (services: readonly Service[], options?: RowsOptions) =>
  serviceRows(status(services), options)
    .slice(1)
    .map(([cell]) => cell);

describe('the services', () => {
  it('stand below their supervisors; one whose supervisor is not listed, by itself', () => {
    const services = [
      service('orphan', { supervisor: 'gone' }),
      service('inner', { supervisor: 'group' }),
      service('group'),
      service('innermost', { supervisor: 'inner' }),
    ];
    expect(names(services)).toEqual(['orphan', 'group', '  inner', '    innermost']);
  });

  it('are begun by those that do not run, the worst first, where there is no room for all', () => {
    const services = [
      service('group'),
      ...Array.from({ length: 297 }, (_, index) => service(`s${index}`, { supervisor: 'group' })),
      service('done', { state: 'stopped' }),
      service('sick', { health: { ok: false } }),
      service('dead', { state: 'failed', supervisor: 'group' }),
    ];
    const few = names(services, { room: 15 });
    expect(few).toHaveLength(services.length);
    expect(few.slice(0, 5)).toEqual(['dead', 'sick', 'done', 'group', '  s0']);
    expect(names(services, { room: 15, reverse: true }).slice(0, 4)).toEqual([
      'dead',
      'sick',
      'done',
      '  s296',
    ]);
    expect(names(services, { room: services.length }).slice(0, 2)).toEqual(['group', '  s0']);
    expect(names(services, { room: 15, order: 'name' }).slice(0, 2)).toEqual(['dead', 'done']);
  });
});

it('the addresses can be left out', () => {
  const listed = [service('api', { addresses: ['tcp://127.0.0.1:1'] })];
  const rows = serviceRows(status(listed), { addresses: false });
  expect(rows[0]?.map((cell) => (typeof cell === 'string' ? cell : cell.text))).toEqual([
    'SERVICE',
    'STATE',
    'UP',
    'RESTARTS',
    'LAST ERROR',
  ]);
  expect(rows[1]).toEqual(['api', { text: 'running', style: 'green' }, '1s', '0', '-']);
});

it('the main loop counts as blocked from a quarter of a second on', () => {
  expect(summary(status([], { blockedMs: 249 }))[0]).toBe('shop on host: ready, pid 1, up 5s, Node v24.0.0');
  expect(summary(status([], { blockedMs: 250 }))[0]).toBe(
    'shop on host: ready, its main loop BLOCKED for 250ms, pid 1, up 5s, Node v24.0.0',
  );
});
