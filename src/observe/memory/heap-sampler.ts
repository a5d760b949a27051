import type { AllocationProfileNode, heap as Heap } from '@datadog/pprof';
import type { Clock } from '../../clock.ts';
import type { Frame } from '../reports.ts';

/** A stack, from its innermost frame outwards. */
export interface Stack {
  /** Stands at the beginning of its function: V8 does not record more. The same object for the same function. */
  readonly frame: Frame;
  readonly caller: Stack | undefined;
}

/** Objects of one size. */
export interface Allocation {
  readonly sizeBytes: number;
  readonly count: number;
}

/** What was allocated on one stack and is still held, as far as sampling tells. */
export interface Allocations {
  readonly stack: Stack;
  readonly bySize: readonly Allocation[];
  /** About how many of the objects are buffers with memory of their own outside the heap. */
  readonly buffers: number;
}

/** The sampled heap at one moment. */
export interface Capture {
  /** Milliseconds since the epoch. */
  readonly at: number;
  readonly allocations: readonly Allocations[];
  readonly memory: NodeJS.MemoryUsage;
  /** How long taking it held up the main loop. */
  readonly pauseMs: number;
}

/** Options of `HeapSampler.start`. */
export interface HeapSamplerOptions {
  /** One sample is taken for about so many allocated bytes. */
  readonly samplingBytes: number;
  /** How many frames of a stack are kept, the innermost ones. */
  readonly stackDepth: number;
  readonly clock: Clock;
}

/** Functions that are kept; a program that makes them without end (`eval`) must not fill the memory with them. */
const MAX_FRAMES = 50_000;

const PROBES = 512;

/** What V8 keeps inside of a view, up to 64 bytes, has no memory of its own. */
const PROBE_BYTES = 128;

/** V8's sampling heap profiler: it knows what has been allocated since it was started and is still held. */
export class HeapSampler implements Disposable {
  readonly #heap: typeof Heap;
  readonly #clock: Clock;
  readonly #bufferSizes: readonly number[];
  readonly #frames = new Map<string, Frame>();

  private constructor(heap: typeof Heap, clock: Clock, bufferSizes: readonly number[]) {
    this.#heap = heap;
    this.#clock = clock;
    this.#bufferSizes = bufferSizes;
  }

  /**
   * There can be one at a time in a process.
   *
   * @throws an `Error` when it is running already.
   */
  static async start({ samplingBytes, stackDepth, clock }: HeapSamplerOptions): Promise<HeapSampler> {
    const { heap } = await import('@datadog/pprof');
    const sizes = bufferSizes(heap);
    heap.start(samplingBytes, stackDepth);
    return new HeapSampler(heap, clock, sizes);
  }

  /** Neither forces a garbage collection nor waits for one: what is garbage already may still be in it. */
  capture(): Capture {
    const begun = this.#clock.now();
    const memory = process.memoryUsage();
    const allocations: Allocations[] = [];
    if (this.#frames.size > MAX_FRAMES) this.#frames.clear();
    for (const node of profileOf(this.#heap).children) this.#collect(node, undefined, allocations);
    const at = this.#clock.now();
    return { at, allocations, memory, pauseMs: at - begun };
  }

  [Symbol.dispose](): void {
    this.#heap.stop();
  }

  #collect(node: AllocationProfileNode, caller: Stack | undefined, into: Allocations[]): void {
    const stack = { frame: this.#frame(node), caller };
    const bySize = node.allocations;
    if (bySize.length > 0) into.push({ stack, bySize, buffers: this.#buffersAmong(bySize) });
    for (const child of node.children) this.#collect(child, stack, into);
  }

  #frame({
    name = '',
    scriptName: file,
    lineNumber: line = 0,
    columnNumber: column = 0,
  }: AllocationProfileNode) {
    const key = `${file}:${line}:${column}:${name}`;
    let frame = this.#frames.get(key);
    if (frame === undefined) {
      frame = { name, file, line, column };
      this.#frames.set(key, frame);
    }
    return frame;
  }

  /** Each buffer is an object of each of these sizes; a view into another's memory is not. */
  #buffersAmong(bySize: readonly Allocation[]): number {
    let sum = 0;
    for (const size of this.#bufferSizes) {
      const found = bySize.find(({ sizeBytes }) => sizeBytes === size);
      if (found === undefined) return 0;
      sum += found.count;
    }
    return sum / Math.max(1, this.#bufferSizes.length);
  }
}

/** Its other type is that of a mode which is not used here. */
const profileOf = (heap: typeof Heap) => heap.v8Profile() as AllocationProfileNode;

/**
 * The sizes of the objects that make up a buffer on the heap (the ArrayBuffer and the view on it). They differ
 * between versions of V8, and are the only sign of buffers in a profile.
 */
function bufferSizes(heap: typeof Heap): number[] {
  const held = new Array<Uint8Array | undefined>(PROBES).fill(undefined);
  heap.start(PROBE_BYTES, 1);
  try {
    bosunMakeBuffers(held);
    const counts = new Map<number, number>();
    const visit = (node: AllocationProfileNode) => {
      if (node.name === bosunMakeBuffers.name || node.name === 'Uint8Array') {
        for (const { sizeBytes, count } of node.allocations)
          counts.set(sizeBytes, (counts.get(sizeBytes) ?? 0) + count);
      }
      node.children.forEach(visit);
    };
    visit(profileOf(heap));
    return [...counts].filter(([, count]) => count > PROBES / 2).map(([size]) => size);
  } finally {
    heap.stop();
  }
}

/** A function of its own, to be found in the profile by its name. */
function bosunMakeBuffers(into: (Uint8Array | undefined)[]): void {
  for (let index = 0; index < into.length; index++) into[index] = new Uint8Array(PROBE_BYTES);
}
