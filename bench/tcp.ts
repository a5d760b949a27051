import { connect, type Socket } from 'node:net';
import { type Peer, startPeer } from './lib/peers.ts';
import { machine, report } from './lib/report.ts';
import { roundRobin, type Slice, table } from './lib/rounds.ts';

const MESSAGE = Buffer.alloc(64, 'x');
const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 12);
const SLICE_MS = 1_000;

/** Ping-pong on each connection: the next message goes out when the last one has come back whole. */
async function pingPong(port: number, connections: number): Promise<Slice> {
  let requests = 0;
  const begun = performance.now();
  const end = begun + SLICE_MS;
  const one = () =>
    new Promise<void>((resolve, reject) => {
      let missing = MESSAGE.length;
      const socket: Socket = connect(
        { port, host: '127.0.0.1', noDelay: true },
        () => void socket.write(MESSAGE),
      );
      socket.on('error', reject);
      socket.on('close', () => resolve());
      socket.on('data', (chunk) => {
        missing -= chunk.length;
        if (missing > 0) return;
        requests += 1;
        missing = MESSAGE.length;
        if (performance.now() < end) socket.write(MESSAGE);
        else socket.end();
      });
    });
  await Promise.all(Array.from({ length: connections }, one));
  return { requests, seconds: (performance.now() - begun) / 1e3 };
}

const description = machine();
await using bare = await startPeer('node:net', 'tcp.ts');
await using bosun = await startPeer('Bosun', 'bosun-tcp.ts');
const load = (connections: number) => (peer: Peer) => pingPong(peer.port, connections);
const one = await roundRobin([bare, bosun], ROUNDS, load(1));
const many = await roundRobin([bare, bosun], ROUNDS, load(100));

report('tcp', 'TCP echo', [
  `${description}.`,
  `Bosun's tcp-echo against bare node:net (\`socket.pipe(socket)\`): ping-pong of ${MESSAGE.length} bytes, ${ROUNDS} rounds of ${SLICE_MS} ms per server, in turn; ratios are taken round by round. Median [range].`,
  '## 1 connection',
  table(one, 'node:net', 'messages'),
  '## 100 connections',
  table(many, 'node:net', 'messages'),
]);
