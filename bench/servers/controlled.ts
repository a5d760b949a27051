import { setTimeout as sleep } from 'node:timers/promises';
import { entrypoint } from 'bosun';
import { TcpEchoService } from 'bosun/services/tcp-echo';

/** A daemon that is given a control plane, tells what that took, and blocks its main loop when it is told to. */
const daemon = await entrypoint([new TcpEchoService({ port: 0 })], { log: { level: 'warn' } });
await sleep(500);
const before = process.memoryUsage.rss();
const begun = performance.now();
const { AdminService } = await import('bosun/services/admin');
const admin = new AdminService({ port: 0 });
await daemon.add(admin);
const startMs = performance.now() - begun;
await (await fetch(`${admin.addresses[0]}/livez`)).text();
await sleep(500);
process.send?.({ startMs, rssBytes: process.memoryUsage.rss() - before, address: admin.addresses[0] });

// It ends with its signal, not with its parent's pipe.
process.on('message', (forMs: number) => {
  const end = performance.now() + forMs;
  while (performance.now() < end);
  process.send?.('over');
});
process.channel?.unref();
