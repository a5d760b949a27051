import { BLOCKED_MS } from '../control/blocked.ts';
import type { ProcessFigures, Status } from '../control/shown.ts';
import type { Client } from './client.ts';
import { type Cell, plain, shortDuration, shortSize } from './output.ts';

type ServiceRow = Status['services'][number];

/** The daemon's state. */
export const readStatus = (client: Client, signal?: AbortSignal) =>
  client.get<Status>('/api/status', ({ services }) => Array.isArray(services), signal);

/** Orders in which the services can be shown, by the name of each. */
export const orders = {
  'start order': undefined,
  name: (a, b) => a.name.localeCompare(b.name),
  state: (a, b) => rank(a) - rank(b),
  restarts: (a, b) => b.restarts - a.restarts,
  'up time': (a, b) => upTime(a) - upTime(b),
} as const satisfies Record<string, ((a: ServiceRow, b: ServiceRow) => number) | undefined>;

export type Order = keyof typeof orders;

const isUnwell = ({ health }: ServiceRow) => health?.ok === false;
const isTroubled = (service: ServiceRow) => service.state !== 'running' || isUnwell(service);

/** What needs somebody's eye comes first. */
const rank = (service: ServiceRow) =>
  ['failed', 'backing-off', 'not well', 'starting', 'stopping', 'created', 'stopped', 'running'].indexOf(
    isUnwell(service) ? 'not well' : service.state,
  );

const upTime = ({ uptimeMs }: ServiceRow) => uptimeMs ?? -1;

/** How services are shown. */
export interface RowsOptions {
  /** Default: the start order. */
  readonly order?: Order;
  readonly reverse?: boolean;
  /** For how many there is room; when there are more, in start order what does not run comes first. Default: all. */
  readonly room?: number;
  /** Whether their addresses are shown. Default: true. */
  readonly addresses?: boolean;
}

/** Services as rows with a head: in start order as a tree, each below its supervisor; in any other as a list. */
export function serviceRows(
  { services }: Status,
  {
    order = 'start order',
    reverse = false,
    room = Number.POSITIVE_INFINITY,
    addresses = true,
  }: RowsOptions = {},
): Cell[][] {
  const compare = orders[order];
  const sorted = compare === undefined ? tree(services) : services.toSorted(compare).map(flat);
  const placed = reverse ? sorted.toReversed() : sorted;
  const rows = compare === undefined && placed.length > room ? troubledFirst(placed) : placed;
  const head = ['SERVICE', 'STATE', 'UP', 'RESTARTS', 'ADDRESSES', 'LAST ERROR'];
  const table = [
    head.map((text): Cell => ({ text, style: 'bold' })),
    ...rows.map(({ service, indent }) => serviceRow(service, indent)),
  ];
  return addresses ? table : table.map((row) => row.toSpliced(ADDRESSES, 1));
}

/** The number of the column. */
const ADDRESSES = 4;

interface Placed {
  readonly service: ServiceRow;
  readonly indent: string;
}

const flat = (service: ServiceRow): Placed => ({ service, indent: '' });

/** A service whose supervisor is not there stands for itself. */
function tree(services: readonly ServiceRow[]): Placed[] {
  const names = new Set(services.map(({ name }) => name));
  const children = Map.groupBy(services, ({ supervisor }) =>
    supervisor !== null && names.has(supervisor) ? supervisor : null,
  );
  const below = (supervisor: string | null, indent: string): Placed[] =>
    (children.get(supervisor) ?? []).flatMap((service) => [
      { service, indent },
      ...below(service.name, `${indent}  `),
    ]);
  return below(null, '');
}

function troubledFirst(placed: readonly Placed[]): Placed[] {
  const troubled = placed.map(({ service }) => service).filter(isTroubled);
  const others = placed.filter(({ service }) => !isTroubled(service));
  return [...troubled.toSorted((a, b) => rank(a) - rank(b)).map(flat), ...others];
}

function serviceRow(service: ServiceRow, indent: string): Cell[] {
  const { name, state, uptimeMs, restarts, addresses, lastError, health } = service;
  const unwell = isUnwell(service);
  const error = unwell ? (health?.detail ?? 'not well') : lastError?.message;
  return [
    `${indent}${plain(name)}`,
    unwell ? { text: `${state}, not well`, style: 'red' } : { text: state, style: styleOf(state) },
    uptimeMs === null ? '-' : shortDuration(uptimeMs),
    String(restarts),
    plain(addresses.join(' ')) || '-',
    error === undefined ? '-' : plain(error),
  ];
}

function styleOf(state: ServiceRow['state']) {
  if (state === 'running') return 'green';
  return state === 'failed' || state === 'backing-off' ? 'red' : 'yellow';
}

/** The daemon in one line, its process in another. */
export function summary({ name, host, pid, node, phase, uptimeMs, blockedMs, process }: Status): string[] {
  const blocked = blockedMs < BLOCKED_MS ? '' : `, its main loop BLOCKED for ${shortDuration(blockedMs)}`;
  const who = `${plain(name)} on ${plain(host)}: ${phase}${blocked}, pid ${pid}, up ${shortDuration(uptimeMs)}`;
  return [`${who}, Node ${plain(node)}`, figures(process).join(', ')];
}

const percent = (share: number) => `${Math.round(share * 100)} %`;
const milliseconds = (ms: number) => `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;

const known = (value: number | null, show: (value: number) => string) =>
  value === null ? [] : [show(value)];

const figures = (process: ProcessFigures): string[] => [
  `cpu ${percent(process.cpuShare)}`,
  `rss ${shortSize(process.rssBytes)}`,
  `heap ${shortSize(process.heapUsedBytes)}`,
  `external ${shortSize(process.externalBytes)}`,
  ...known(process.loopUtilisation, (share) => `loop ${percent(share)} busy`),
  ...known(process.loopDelayMaxMs, (ms) => `loop delay up to ${milliseconds(ms)}`),
  ...known(process.requestsPerSecond, (rate) => `${rate.toFixed(rate < 10 ? 1 : 0)} requests/s`),
  ...known(process.requestP99Ms, (ms) => `request p99 ${milliseconds(ms)}`),
];
