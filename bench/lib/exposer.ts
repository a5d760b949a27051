import { parentPort } from 'node:worker_threads';
import type { Collected } from '../../src/control/collected.ts';
import { expose } from '../../src/control/thread/exposition.ts';

/** What the watcher thread does with the metrics: answers how long it took, and how much it wrote. */
parentPort?.on('message', async (collected: Collected) => {
  const begun = performance.now();
  const { body } = await expose(collected, 'prometheus');
  const lines = body.split('\n').filter((line) => line !== '' && !line.startsWith('#')).length;
  parentPort?.postMessage({ ms: performance.now() - begun, bytes: body.length, lines });
});
