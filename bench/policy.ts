/** What a policy adds to a call: node --conditions=bosun-source --expose-gc bench/policy.ts */
import { backoff, bulkhead, circuitBreaker, pipe, retry, timeout } from 'bosun/policy';
import * as cockatiel from 'cockatiel';
import pRetry from 'p-retry';
import { machine, report } from './lib/report.ts';
import { markdown, show, spread } from './lib/rounds.ts';

const work = async (value: number) => value;
const limits = { attemptTimeoutMs: 1_000, deadlineMs: 5_000, retryOn: [Error] };

const cockatielRetry = cockatiel.retry(cockatiel.handleAll, { maxAttempts: 3 });
const cockatielTimeout = () => cockatiel.timeout(1_000, cockatiel.TimeoutStrategy.Aggressive);
const cockatielBreaker = cockatiel.circuitBreaker(cockatiel.handleAll, {
  halfOpenAfter: 5_000,
  breaker: new cockatiel.SamplingBreaker({ threshold: 0.5, duration: 10_000 }),
});
const cockatielPair = cockatiel.wrap(cockatielRetry, cockatielTimeout());
const cockatielThree = cockatiel.wrap(cockatielTimeout(), cockatielRetry, cockatielBreaker);

type Subject = readonly [name: string, call: (value: number) => Promise<number>, bar?: number];

/** Bars in µs, where there are any. */
const subjects: readonly Subject[] = [
  ['bare function', work],
  ['timeout', timeout(1_000)(work), 1.5],
  ['timeout with a name', timeout(1_000, { name: 'timeout' })(work)],
  ['retry', retry({ maxTries: 3 })(work), 1.5],
  ['backoff with deadline', backoff({ deadlineMs: 5_000, maxTries: 3, retryOn: [Error] })(work), 1.5],
  ['backoff with attempt timeout and deadline', backoff(limits)(work), 1.5],
  ['circuitBreaker', circuitBreaker()(work)],
  ['bulkhead', bulkhead({ maxConcurrent: 10 })(work)],
  [
    'pipe(timeout, retry, circuitBreaker)',
    pipe(timeout(1_000), retry({ maxTries: 3 }), circuitBreaker())(work),
    4,
  ],
  [
    'pipe(timeout, backoff with both limits, circuitBreaker)',
    pipe(timeout(1_000), backoff(limits), circuitBreaker())(work),
    4,
  ],
  ['p-retry', (value) => pRetry(() => work(value), { retries: 2 })],
  ['cockatiel: timeout', (value) => cockatielTimeout().execute(() => work(value))],
  ['cockatiel: retry', (value) => cockatielRetry.execute(() => work(value))],
  ['cockatiel: wrap(retry, timeout)', (value) => cockatielPair.execute(() => work(value))],
  ['cockatiel: wrap(timeout, retry, breaker)', (value) => cockatielThree.execute(() => work(value))],
];

const CALLS = 20_000;
const ROUNDS = 21;

const gc = globalThis.gc;
if (gc === undefined) throw new Error('needs --expose-gc');

interface Figures {
  readonly micros: number[];
  readonly bytes: number[];
}

/** CPU time, that of the collector's threads included: it counts less what else the machine does meanwhile. */
async function slice(call: (value: number) => Promise<number>): Promise<number> {
  const begun = process.cpuUsage();
  for (let i = 0; i < CALLS; i++) await call(i);
  const { user, system } = process.cpuUsage(begun);
  return (user + system) / CALLS;
}

/** Few enough calls that nothing is collected meanwhile. */
async function allocated(call: (value: number) => Promise<number>): Promise<number> {
  const calls = 500;
  gc?.();
  const before = process.memoryUsage().heapUsed;
  for (let i = 0; i < calls; i++) await call(i);
  return (process.memoryUsage().heapUsed - before) / calls;
}

const description = machine();
const figures = new Map<string, Figures>(subjects.map(([name]) => [name, { micros: [], bytes: [] }]));
// The first rounds warm up.
for (let round = -4; round < ROUNDS; round++) {
  for (const [name, call] of round % 2 === 0 ? subjects : [...subjects].reverse()) {
    const micros = await slice(call);
    if (round >= 0) figures.get(name)?.micros.push(micros);
  }
}
// Afterwards, as a collection shrinks the heap, which would slow down what is timed next.
for (let round = 0; round < ROUNDS; round++) {
  for (const [name, call] of subjects) figures.get(name)?.bytes.push(await allocated(call));
}

report('policy', 'What a policy adds to a call', [
  `${description}.`,
  `An async function that resolves at once, called ${CALLS} times in a row per round, ${ROUNDS} rounds in turn in one process, every other round the other way round. Median [range]; the bars are for the median.`,
  markdown(
    ['', 'CPU, µs per call', 'bar', 'bytes per call'],
    subjects.map(([name, , bar]) => {
      const { micros, bytes } = figures.get(name) as Figures;
      return [name, show(spread(micros), 2), bar === undefined ? '' : String(bar), show(spread(bytes))];
    }),
  ),
]);
