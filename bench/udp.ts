import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { startPeer } from './lib/peers.ts';
import { machine, report } from './lib/report.ts';
import { roundRobin, type Slice, table } from './lib/rounds.ts';

const MESSAGE = Buffer.alloc(64, 'x');
const WINDOW = 32;
const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 12);
const SLICE_MS = 1_000;

/** Keeps a window of datagrams in flight; each answer sends the next. */
async function flood(port: number): Promise<Slice> {
  const socket = createSocket('udp4');
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  let requests = 0;
  let lastCount = 0;
  const send = () => socket.send(MESSAGE, port, '127.0.0.1');
  socket.on('message', () => {
    requests += 1;
    send();
  });
  const begun = performance.now();
  for (let i = 0; i < WINDOW; i++) send();
  // Should all that is in flight be lost, the window is sent again.
  const revive = setInterval(() => {
    if (requests === lastCount) for (let i = 0; i < WINDOW; i++) send();
    lastCount = requests;
  }, 100);
  await new Promise((resolve) => setTimeout(resolve, SLICE_MS));
  clearInterval(revive);
  const seconds = (performance.now() - begun) / 1e3;
  socket.close();
  await once(socket, 'close');
  return { requests, seconds };
}

const description = machine();
await using bare = await startPeer('node:dgram', 'udp.ts');
await using bosun = await startPeer('Bosun', 'bosun-udp.ts');
const samples = await roundRobin([bare, bosun], ROUNDS, (peer) => flood(peer.port));

report('udp', 'UDP echo', [
  `${description}.`,
  `An echo on Bosun's udp service against bare node:dgram: ${WINDOW} datagrams of ${MESSAGE.length} bytes in flight, ${ROUNDS} rounds of ${SLICE_MS} ms per server, in turn; ratios are taken round by round. Median [range].`,
  table(samples, 'node:dgram', 'datagrams'),
]);
