import type { statusOf } from '../control/thread/status.ts';
import { type Cell, plain, shortDuration, shortSize } from './output.ts';

/** What `GET /api/status` answers. */
export type Status = ReturnType<typeof statusOf> & {
  readonly name?: string;
  /** Figures that are not known now are missing. */
  readonly process?: Readonly<Partial<Record<ProcessFigure, number | null>>>;
};

type ProcessFigure =
  | 'rssBytes'
  | 'heapUsedBytes'
  | 'heapTotalBytes'
  | 'externalBytes'
  | 'cpuShare'
  | 'loopDelayP99Ms'
  | 'loopUtilisation'
  | 'requestsPerSecond'
  | 'requestP99Ms';

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

const upTime = ({ state, sinceMs }: ServiceRow) => (state === 'running' ? (sinceMs ?? 0) : -1);

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
  const { name, state, sinceMs, restarts, addresses, lastError } = service;
  return [
    `${indent}${plain(name)}`,
    { text: state, style: styleOf(state) },
    state === 'running' && sinceMs !== null ? shortDuration(sinceMs) : '-',
    String(restarts),
    plain(addresses.join(' ')) || '-',
    lastError === null ? '-' : plain(lastError.message),
  ];
}

function styleOf(state: ServiceRow['state']) {
  if (state === 'running') return 'green';
  return state === 'failed' || state === 'backing-off' ? 'red' : 'yellow';
}

/** The daemon in one line, and its process in another where figures of that are known. */
export function summary({ name, pid, node, phase, uptimeMs, blockedMs, process }: Status): string[] {
  const blocked = blockedMs > 0 ? `, its main loop BLOCKED for ${shortDuration(blockedMs)}` : '';
  const title = name === undefined ? '' : `${plain(name)}: `;
  const first = `${title}${phase}, pid ${pid}, up ${shortDuration(uptimeMs)}, Node ${plain(node)}${blocked}`;
  const figures = processFigures(process ?? {});
  return figures.length === 0 ? [first] : [first, figures.join(', ')];
}

const percent = (share: number) => `${Math.round(share * 100)} %`;
const milliseconds = (ms: number) => `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;

const figureTexts: readonly [ProcessFigure, (value: number) => string][] = [
  ['cpuShare', (share) => `cpu ${percent(share)}`],
  ['rssBytes', (bytes) => `rss ${shortSize(bytes)}`],
  ['heapUsedBytes', (bytes) => `heap ${shortSize(bytes)}`],
  ['externalBytes', (bytes) => `external ${shortSize(bytes)}`],
  ['loopUtilisation', (share) => `loop ${percent(share)} busy`],
  ['loopDelayP99Ms', (ms) => `loop delay p99 ${milliseconds(ms)}`],
  ['requestsPerSecond', (rate) => `${rate.toFixed(rate < 10 ? 1 : 0)} requests/s`],
  ['requestP99Ms', (ms) => `request p99 ${milliseconds(ms)}`],
];

const processFigures = (process: NonNullable<Status['process']>): string[] =>
  figureTexts.flatMap(([figure, text]) => {
    const value = process[figure];
    return typeof value === 'number' ? [text(value)] : [];
  });
