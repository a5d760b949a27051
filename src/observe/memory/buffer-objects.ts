import type { AllocationProfileNode, heap as Heap } from '@datadog/pprof';
import type { Allocation, Stack } from './heap-sampler.ts';

/**
 * The sizes of the objects that a buffer is on the heap. They differ between versions of V8, and are the only sign of
 * buffers in a profile.
 */
export interface BufferObjects {
  /** Of the `ArrayBuffer`: there is one for each piece of memory outside the heap. */
  readonly memoryBytes: number;
  /** Of a view, such as a `Buffer`; there are also those into the memory of others. */
  readonly viewBytes: number;
}

const PROBES = 512;

/** What V8 keeps inside of a view, up to 64 bytes, has no memory of its own. */
const PROBE_BYTES = 128;

/** What makes buffers and little else; V8 records these functions unless it has inlined them. */
const makers = /^(?:(?:Big)?(?:Int|Uint|Float)\d+(?:Clamped)?Array|ArrayBuffer)$/;
const makersFile = /^node:(?:internal\/)?buffer$/;

/** Takes a profile of its own: no other may run. `undefined`: it cannot be told in this version of V8. */
export function bufferObjects(heap: typeof Heap): BufferObjects | undefined {
  const held = new Array<unknown>(2 * PROBES).fill(undefined);
  heap.start(PROBE_BYTES, 2);
  try {
    bosunMakeMemory(held);
    bosunMakeViews(held);
    const root = heap.v8Profile() as AllocationProfileNode;
    const memoryBytes = sizeMadeBy(bosunMakeMemory, root);
    const viewBytes = sizeMadeBy(bosunMakeViews, root);
    return memoryBytes === undefined || viewBytes === undefined ? undefined : { memoryBytes, viewBytes };
  } finally {
    heap.stop();
  }
}

/**
 * About how many of the objects of a stack are buffers with memory of their own. What else is of that size counts only
 * when there are views beside it, or when nothing else is made there.
 */
export function buffersAmong(
  { frame }: Stack,
  bySize: readonly Allocation[],
  { memoryBytes, viewBytes }: BufferObjects,
): number {
  const memories = bySize.find(({ sizeBytes }) => sizeBytes === memoryBytes)?.count ?? 0;
  const areBuffers =
    bySize.some(({ sizeBytes }) => sizeBytes === viewBytes) ||
    (frame.file === '' && makers.test(frame.name)) ||
    makersFile.test(frame.file);
  return areBuffers ? memories : 0;
}

/** Functions of their own, to be found in the profile by their names. */
function bosunMakeMemory(into: unknown[]): void {
  for (let index = 0; index < PROBES; index++) into[index] = new ArrayBuffer(PROBE_BYTES);
}

function bosunMakeViews(into: unknown[]): void {
  const memory = new ArrayBuffer(PROBE_BYTES);
  for (let index = PROBES; index < 2 * PROBES; index++) into[index] = new Uint8Array(memory);
}

function sizeMadeBy({ name }: (into: unknown[]) => void, root: AllocationProfileNode): number | undefined {
  const counts = new Map<number, number>();
  const visit = (node: AllocationProfileNode, inside: boolean) => {
    for (const { sizeBytes, count } of inside ? node.allocations : []) {
      counts.set(sizeBytes, (counts.get(sizeBytes) ?? 0) + count);
    }
    for (const child of node.children) visit(child, inside || child.name === name);
  };
  visit(root, false);
  return [...counts].find(([, count]) => count > PROBES / 2)?.[0];
}
