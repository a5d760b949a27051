import { isMainThread } from 'node:worker_threads';

/** For `--import`: lets the main thread ask a worker for its used heap, after a garbage collection. */
if (!isMainThread) {
  const channel = new BroadcastChannel('soak');
  channel.onmessage = () => {
    globalThis.gc?.();
    globalThis.gc?.();
    const { heapUsed, heapTotal } = process.memoryUsage();
    channel.postMessage({ heapUsed, heapTotal });
  };
  (channel as unknown as { unref(): void }).unref();
}
