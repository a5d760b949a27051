import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { type BosunEvent, entrypoint } from 'bosun';
import { AdminService } from 'bosun/services/admin';
import { HttpService } from 'bosun/services/http';
import { MemoryTracerService } from 'bosun/services/memory-tracer';
import { ProfilerService } from 'bosun/services/profiler';
import { StallDetectorService } from 'bosun/services/stall-detector';
import { FakeClock } from 'bosun/testing';
import Fastify from 'fastify';

/** What a long-lived daemon must not have more and more of. */
export interface Measured {
  /** Used heaps, after a garbage collection. */
  readonly heapBytes: number;
  readonly threadHeapBytes: number;
  readonly externalBytes: number;
  readonly rssBytes: number;
  /** Of the resident set, what V8 has not taken for these heaps. */
  readonly nativeBytes: number;
  readonly files: number;
  readonly threads: number;
  /** What keeps the event loop alive. */
  readonly resources: number;
  /** Of the process, and of the daemon's clock. */
  readonly listeners: number;
  readonly timers: number;
}

/** What is asked of this process: to let a minute pass, or to measure itself. Each is answered. */
export type SoakRequest = 'minute' | 'measure';

/** Where it serves. */
export interface Soaked {
  readonly api: string;
  readonly admin: string;
}

const MINUTE_MS = 60_000;
/** From one report of the memory tracer to the next. */
const STEP_MS = 10_000;

class Api extends HttpService {
  protected override createApplication() {
    const app = Fastify();
    app.get('/hello', async () => ({ hello: 'world' }));
    app.get<{ Params: { id: string } }>('/items/:id', async ({ params: { id } }) => ({ id }));
    app.post('/items', async ({ body }) => ({ body }));
    app.get('/fail', async () => {
      throw new Error('as it is asked to');
    });
    app.get('/block', async () => {
      const end = performance.now() + 300;
      while (performance.now() < end);
      return {};
    });
    return app;
  }
}

const clock = new FakeClock(Date.now());
// A minute of its clock is over in no time: a connection would be ended just as it is used again.
const api = new Api({ host: '127.0.0.1', port: 0, keepAliveTimeoutMs: Number.POSITIVE_INFINITY });
const admin = new AdminService({ port: 0 });
const tracer = new MemoryTracerService({ intervalMs: STEP_MS });
const profiler = new ProfilerService({ intervalMs: MINUTE_MS });
const daemon = await entrypoint([api, admin, tracer, profiler, new StallDetectorService()], { clock });
const thread = new BroadcastChannel('soak');

function eventOf(type: BosunEvent['type']): Promise<void> {
  return new Promise((resolve) => {
    const off = daemon.on(type, () => {
      off();
      resolve();
    });
  });
}

/** A report that is not made in time would be left out, so each is waited for. */
async function minute(): Promise<'passed'> {
  const profiled = eventOf('profile-taken');
  for (let passed = 0; passed < MINUTE_MS; passed += STEP_MS) {
    const reported = eventOf('memory-reported');
    await clock.advance(STEP_MS);
    await reported;
  }
  await profiled;
  return 'passed';
}

async function measure(): Promise<Measured> {
  thread.postMessage('measure');
  const [{ data: threadHeap }] = (await once(thread, 'message')) as [{ data: NodeJS.MemoryUsage }];
  // What a collection finalizes is let go of by the next one.
  for (let i = 0; i < 3; i++) {
    await setImmediate();
    globalThis.gc?.();
  }
  const { heapUsed, heapTotal, external, rss } = process.memoryUsage();
  return {
    heapBytes: heapUsed,
    threadHeapBytes: threadHeap.heapUsed,
    externalBytes: external,
    rssBytes: rss,
    nativeBytes: rss - heapTotal - threadHeap.heapTotal,
    files: readdirSync('/proc/self/fd').length,
    threads: readdirSync('/proc/self/task').length,
    resources: process.getActiveResourcesInfo().length,
    listeners: process.eventNames().reduce((sum, name) => sum + process.listenerCount(name), 0),
    timers: clock.pending,
  };
}

process.on('message', async (request: SoakRequest) => {
  process.send?.(request === 'measure' ? await measure() : await minute());
});
process.once('disconnect', () => process.exit());
const [apiUrl, adminUrl] = [api, admin].map(({ addresses: [url] }) => url as string);
process.send?.({ api: apiUrl, admin: adminUrl } as Soaked);
