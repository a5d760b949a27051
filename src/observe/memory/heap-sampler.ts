import type { AllocationProfileNode, heap as Heap } from '@datadog/pprof';
import type { Clock } from '../../clock.ts';
import type { Frame } from '../reports.ts';
import { type BufferObjects, bufferObjects, buffersAmong } from './buffer-objects.ts';
import { Frames } from './frames.ts';

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
}

/** Options of `HeapSampler.start`. */
export interface HeapSamplerOptions {
  /** One sample is taken for about so many allocated bytes. */
  readonly samplingBytes: number;
  /** How many frames of a stack are kept, the innermost ones. */
  readonly stackDepth: number;
  readonly clock: Clock;
}

/** V8's sampling heap profiler: it knows what has been allocated since it was started and is still held. */
export class HeapSampler implements Disposable {
  readonly #heap: typeof Heap;
  readonly #clock: Clock;
  readonly #objects: BufferObjects | undefined;
  readonly #frames = new Frames();

  private constructor(heap: typeof Heap, clock: Clock, objects: BufferObjects | undefined) {
    this.#heap = heap;
    this.#clock = clock;
    this.#objects = objects;
  }

  /**
   * There can be one at a time in a process.
   *
   * @throws an `Error` when it is running already.
   */
  static async start({ samplingBytes, stackDepth, clock }: HeapSamplerOptions): Promise<HeapSampler> {
    const { heap } = await import('@datadog/pprof');
    const objects = bufferObjects(heap);
    heap.start(samplingBytes, stackDepth);
    return new HeapSampler(heap, clock, objects);
  }

  /** Neither forces a garbage collection nor waits for one: what is garbage already may still be in it. */
  capture(): Capture {
    const memory = process.memoryUsage();
    const allocations: Allocations[] = [];
    // Its other type is that of a mode which is not used here.
    const root = this.#heap.v8Profile() as AllocationProfileNode;
    this.#frames.during(() => {
      for (const node of root.children) this.#collect(node, undefined, allocations);
    });
    return { at: this.#clock.now(), allocations, memory };
  }

  [Symbol.dispose](): void {
    this.#heap.stop();
  }

  #collect(node: AllocationProfileNode, caller: Stack | undefined, into: Allocations[]): void {
    const stack = { frame: this.#frames.of(node), caller };
    const bySize = node.allocations;
    if (bySize.length > 0) {
      const buffers = this.#objects === undefined ? 0 : buffersAmong(stack, bySize, this.#objects);
      into.push({ stack, bySize, buffers });
    }
    for (const child of node.children) this.#collect(child, stack, into);
  }
}
