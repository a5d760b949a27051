import { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { threaded } from 'bosun';
import { HttpService } from 'bosun/services/http';
import Fastify from 'fastify';

/** Functions that block, each call on a worker thread. */
const tasks = threaded<typeof import('./tasks.ts')>(new URL('./tasks.ts', import.meta.url));

const textOf = (items: AsyncIterable<unknown>) =>
  Readable.from(
    (async function* () {
      for await (const item of items) yield `${item}\n`;
    })(),
  );

/** Blocking work that leaves the event loop free: `GET /ping` answers at once whatever else is going on. */
export class Executors extends HttpService {
  protected override createApplication() {
    const app = Fastify();
    app.get('/ping', async () => ({ pong: true }));
    // Two calls that block for a second take one second together.
    app.get('/both', () => Promise.all([tasks.block(1_000), tasks.block(1_000)]));
    // Read line by line, no faster than the client reads.
    app.get('/source', (_request, reply) =>
      reply.type('text/plain').send(textOf(tasks.lines(fileURLToPath(import.meta.url)))),
    );
    // Ends when the client leaves.
    app.get('/count', (_request, reply) => reply.type('text/plain').send(textOf(tasks.count())));
    return app;
  }
}
