import { expect, test } from 'vitest';
import { Child } from '../support/child.ts';

const CYCLES = 200;
/** A run that is kept takes 10 kB and more; what V8 compiles meanwhile makes 2 kB. */
const MAX_BYTES_PER_CYCLE = 6_000;
/** libuv's threads come with the first work for them. */
const POOL_THREADS = 4;

interface Measured {
  readonly heapBytes: number;
  readonly files: number;
  readonly threads: number;
  readonly listeners: number;
}

test.each(['admin', 'memory-tracer', 'profiler', 'stall-detector'])(
  'hundreds of restarts of %s beside the others that watch leave nothing behind',
  async (name) => {
    await using child = new Child('watching-cycles.ts', [name, 'restart', String(CYCLES)], ['--expose-gc']);
    const { stdout, stderr } = await child.exit;
    expect(stderr).toBe('');
    const { before, after } = JSON.parse(stdout) as { before: Measured; after: Measured };
    expect(after.heapBytes - before.heapBytes).toBeLessThan(CYCLES * MAX_BYTES_PER_CYCLE);
    expect(after.threads - before.threads).toBeLessThanOrEqual(POOL_THREADS);
    // A lookup or a timer of libuv's may have one open at that moment.
    expect(after.files - before.files).toBeLessThan(CYCLES / 10);
    expect(after.listeners).toBe(before.listeners);
  },
  60_000,
);
