/** What the watcher thread runs. @internal */
import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import { HeartbeatReader } from '../heartbeat.ts';
import type { MainMethods, ThreadData, ThreadMethods } from '../protocol.ts';
import { Rpc } from '../rpc.ts';
import { Journal } from './journal.ts';
import type { Samples } from './samples.ts';
import type { ControlServer } from './server.ts';
import type { StallReporter } from './stall-reporter.ts';
import type { SystemdNotifier } from './systemd.ts';

const { heartbeat: memory } = workerData as ThreadData;
const heartbeat = new HeartbeatReader(memory);
const journal = new Journal();
const servers = new Map<string, ControlServer>();
let samples: Samples | undefined;
let systemd: Promise<SystemdNotifier> | undefined;
let stalls: StallReporter | undefined;

const methods: ThreadMethods = {
  async listen(options, signal) {
    const [{ ControlServer }, { Samples }] = await Promise.all([
      import('./server.ts'),
      import('./samples.ts'),
    ]);
    signal.throwIfAborted();
    samples ??= new Samples(main, heartbeat);
    const server = new ControlServer({ options, journal, main, heartbeat, samples });
    servers.set(options.server, server);
    return await server.listen(signal);
  },
  async unlisten(name) {
    const server = servers.get(name);
    servers.delete(name);
    await server?.close();
  },
  status: (status) => journal.setStatus(status),
  event: (event) => journal.addEvent(event),
  lines: (lines) => journal.addLines(lines),
  linkSystemd(options) {
    systemd = import('./systemd.ts').then(
      ({ SystemdNotifier }) => new SystemdNotifier(options, main, heartbeat),
    );
  },
  notify: (assignments) => systemd?.then((notifier) => notifier.notify(assignments)),
  async watchStalls(options, signal) {
    const { StallReporter } = await import('./stall-reporter.ts');
    signal.throwIfAborted();
    stalls = new StallReporter(memory, options, journal, main);
  },
  setStallThreshold(thresholdMs) {
    stalls?.watch.setThreshold(thresholdMs);
  },
  async unwatchStalls() {
    await stalls?.close();
    stalls = undefined;
  },
};

const main = new Rpc<MainMethods>(parentPort as MessagePort, methods);
