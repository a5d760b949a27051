import type { ProcessFigures } from '../control/thread/samples.ts';
import type { Status } from '../control/thread/status.ts';
import { type Cell, plain, shortDuration, shortSize } from './output.ts';

type ServiceRow = Status['services'][number];

/** Orders in which the services can be shown, by the name of each. */
export const orders = {
  'start order': undefined,
  name: (a, b) => a.name.localeCompare(b.name),
  state: (a, b) => rank(a) - rank(b),
  restarts: (a, b) => b.restarts - a.restarts,
  'up time': (a, b) => upTime(a) - upTime(b),
} as const satisfies Record<string, ((a: ServiceRow, b: ServiceRow) => number) | undefined>;

export type Order = keyof typeof orders;

/** What needs somebody's eye comes first. */
const rank = ({ state }: ServiceRow) =>
  ['failed', 'backing-off', 'starting', 'stopping', 'created', 'stopped', 'running'].indexOf(state);

const upTime = ({ uptimeMs }: ServiceRow) => uptimeMs ?? -1;

/** Services as rows with a head: in start order as a tree, each below its supervisor; in any other as a list. */
export function serviceRows({ services }: Status, order: Order = 'start order', reverse = false): Cell[][] {
  const compare = orders[order];
  const sorted = compare === undefined ? tree(services, null, '') : services.toSorted(compare).map(flat);
  const head = ['SERVICE', 'STATE', 'UP', 'RESTARTS', 'ADDRESSES', 'LAST ERROR'];
  const rows = reverse ? sorted.toReversed() : sorted;
  return [
    head.map((text): Cell => ({ text, style: 'bold' })),
    ...rows.map(({ service, indent }) => serviceRow(service, indent)),
  ];
}

interface Placed {
  readonly service: ServiceRow;
  readonly indent: string;
}

const flat = (service: ServiceRow): Placed => ({ service, indent: '' });

function tree(services: readonly ServiceRow[], supervisor: string | null, indent: string): Placed[] {
  return services
    .filter((service) => service.supervisor === supervisor)
    .flatMap((service) => [{ service, indent }, ...tree(services, service.name, `${indent}  `)]);
}

function serviceRow(service: ServiceRow, indent: string): Cell[] {
  const { name, state, uptimeMs, restarts, addresses, lastError, health } = service;
  const unwell = health?.ok === false;
  const error = unwell ? (health.detail ?? 'not well') : lastError?.message;
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
  const blocked = blockedMs > 0 ? `, its main loop BLOCKED for ${shortDuration(blockedMs)}` : '';
  const who = `${plain(name)} on ${plain(host)}: ${phase}, pid ${pid}, up ${shortDuration(uptimeMs)}`;
  return [`${who}, Node ${plain(node)}${blocked}`, figures(process).join(', ')];
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
