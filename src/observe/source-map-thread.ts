/** Finds the author's places of those in its `workerData`, posts them, and ends. @internal */
import { parentPort, workerData } from 'node:worker_threads';
import type { Answer, Place, Question } from './original-frames.ts';
import { SourceMaps } from './source-maps.ts';

const answer = new Map<string, readonly Place[]>();
for (const [file, places] of workerData as Question) {
  // One of its own for each file: there is room for each map as long as it is needed.
  const maps = new SourceMaps();
  if (!(await maps.has(file))) continue;
  const originals: Place[] = [];
  for (const place of places) {
    const { file, line, column } = await maps.original({ name: '', ...place });
    originals.push({ file, line, column });
  }
  answer.set(file, originals);
}
parentPort?.postMessage(answer satisfies Answer);
