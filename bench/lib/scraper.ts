import { once } from 'node:events';
import { Agent, get, type IncomingMessage } from 'node:http';
import { text } from 'node:stream/consumers';
import { parentPort, workerData } from 'node:worker_threads';

/** What a scraper has seen. */
export interface Scraped {
  /** From each question to the end of its answer. */
  readonly ms: readonly number[];
  readonly bytes: number;
  readonly lines: number;
}

const { url, scrapes } = workerData as { readonly url: string; readonly scrapes: number };
const agent = new Agent({ keepAlive: true });
const ms: number[] = [];
let body = '';
for (let i = 0; i < scrapes; i++) {
  const begun = performance.now();
  const [response] = (await once(get(url, { agent }), 'response')) as [IncomingMessage];
  body = await text(response);
  ms.push(performance.now() - begun);
}
agent.destroy();
const lines = body.split('\n').filter((line) => line !== '' && !line.startsWith('#')).length;
parentPort?.postMessage({ ms, bytes: body.length, lines } satisfies Scraped);
