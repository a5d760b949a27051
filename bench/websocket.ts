/**
 * A crowd joins the visitor counter: how many messages does that cost, how long is the loop held up, and does
 * everybody see the final count? Server and clients run in processes of their own.
 *
 *     node --conditions=bosun-source bench/websocket.ts --clients 2000 --join-ms 1000 --coalesce-ms 50
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { run } from 'bosun';
import { WebSocket } from 'ws';
import { Counter } from '../examples/catalogue/counter.ts';
import { machine, report } from './lib/report.ts';
import { markdown, show, spread } from './lib/rounds.ts';

const { values } = parseArgs({
  options: {
    role: { type: 'string', default: 'main' },
    url: { type: 'string', default: '' },
    clients: { type: 'string', default: '2000' },
    'join-ms': { type: 'string', default: '1000' },
    'coalesce-ms': { type: 'string', default: '50' },
  },
});
const clients = Number(values.clients);
const joinMs = Number(values['join-ms']);
const coalesceMs = Number(values['coalesce-ms']);

interface ServerFigures {
  readonly messages: number;
  readonly loopP99Ms: number;
  readonly loopMaxMs: number;
}

interface ClientFigures {
  readonly failed: number;
  readonly joinedWithinMs: number;
  /** From the last join to the moment when all had the final count; none when they never did. */
  readonly allSeeFinalAfterMs: number | undefined;
}

const RUNS = 5;

/** How long the clients wait for the final count. */
const PATIENCE_MS = 10_000;

const roles: Readonly<Record<string, () => Promise<void>>> = { main, server, clients: join };
await roles[values.role]?.();

async function main(): Promise<void> {
  const description = machine();
  const runs: (ServerFigures & ClientFigures)[] = [];
  for (let i = 0; i < RUNS; i++) runs.push(await crowd());
  const all = (figure: (of: ServerFigures & ClientFigures) => number, digits = 0) =>
    show(spread(runs.map(figure)), digits);
  const complete = runs.filter((of) => of.allSeeFinalAfterMs !== undefined && of.failed === 0).length;
  report('websocket', 'A crowd that joins the visitor counter', [
    `${description}.`,
    `${clients} clients join within ${joinMs} ms; counts are coalesced over ${coalesceMs} ms. Server and clients are processes of their own; ${RUNS} runs. Median [range].`,
    markdown(
      ['', ''],
      [
        ['runs in which every client joined and saw the final count', `${complete} of ${RUNS}`],
        ['joined within, ms', all((of) => of.joinedWithinMs)],
        [
          'all had the final count after the last join, ms',
          all((of) => of.allSeeFinalAfterMs ?? Number.POSITIVE_INFINITY),
        ],
        ['messages sent', all((of) => of.messages)],
        ['messages, were every join told to every client', String((clients * (clients + 1)) / 2)],
        ["p99 of the server's loop delay, ms", all((of) => of.loopP99Ms, 1)],
        ["maximum of the server's loop delay, ms", all((of) => of.loopMaxMs, 1)],
      ],
    ),
  ]);
  if (complete < RUNS) process.exitCode = 1;
}

/** Lets one crowd join one server. */
async function crowd(): Promise<ServerFigures & ClientFigures> {
  const serverProcess = start('server');
  const url = await message<string>(serverProcess);
  const clientsProcess = start('clients', '--url', url);
  const seen = await message<ClientFigures>(clientsProcess);
  serverProcess.send('figures');
  const served = await message<ServerFigures>(serverProcess);
  clientsProcess.send('leave');
  await once(clientsProcess, 'exit');
  serverProcess.kill('SIGTERM');
  await once(serverProcess, 'exit');
  return { ...seen, ...served };
}

async function server(): Promise<void> {
  const counter = new Counter({ port: 0, path: '/ws/counter', coalesceMs });
  const delay = monitorEventLoopDelay({ resolution: 1 });
  process.once('message', () => {
    const figures: ServerFigures = {
      messages: counter.sentMessages,
      loopP99Ms: delay.percentile(99) / 1e6,
      loopMaxMs: delay.max / 1e6,
    };
    process.send?.(figures);
    process.disconnect();
  });
  const announce = () => {
    delay.enable();
    process.send?.(counter.addresses[0]);
  };
  await run([counter], { log: { level: 'warn' }, hooks: { postStart: announce } });
}

async function join(): Promise<void> {
  const begun = performance.now();
  const open: WebSocket[] = [];
  let failed = 0;
  let final = 0;
  const settled = Promise.withResolvers<void>();
  for (let joined = 0; joined < clients; joined++) {
    const dueMs = (joined / clients) * joinMs - (performance.now() - begun);
    if (dueMs > 1) await sleep(dueMs);
    const socket = new WebSocket(values.url);
    socket.on('error', () => {
      failed += 1;
    });
    socket.on('message', (data) => {
      if (JSON.parse(data.toString()).count === clients && ++final === clients) settled.resolve();
    });
    open.push(socket);
  }
  await Promise.all(open.map((socket) => socket.readyState === WebSocket.CONNECTING && once(socket, 'open')));
  const joinedAt = performance.now();
  const all = await Promise.race([
    settled.promise.then(() => true),
    sleep(PATIENCE_MS, false, { ref: false }),
  ]);
  const figures: ClientFigures = {
    failed,
    joinedWithinMs: joinedAt - begun,
    allSeeFinalAfterMs: all ? performance.now() - joinedAt : undefined,
  };
  process.send?.(figures);
  await once(process, 'message');
  for (const socket of open) socket.terminate();
  process.disconnect();
}

function start(role: string, ...more: string[]): ChildProcess {
  const sizes = ['--clients', `${clients}`, '--join-ms', `${joinMs}`, '--coalesce-ms', `${coalesceMs}`];
  return fork(import.meta.filename, ['--role', role, ...sizes, ...more]);
}

async function message<Value>(from: ChildProcess): Promise<Value> {
  const [value] = await once(from, 'message');
  return value;
}
