import type { IncomingMessage, ServerResponse } from 'node:http';
import { ApplicationError } from './errors.ts';
import { type FetchApplication, serveFetch } from './fetch.ts';
import type { Incoming, Outgoing } from './messages.ts';

/** A `(request, response)` listener, as Node, Express and many others have it. */
export type RequestListener = (request: IncomingMessage, response: ServerResponse) => unknown;

/** What is needed of a Fastify app. It must not listen. */
export interface FastifyApplication {
  ready(): PromiseLike<unknown>;
  routing(request: IncomingMessage, response: ServerResponse): void;
  close(): PromiseLike<unknown>;
}

/** What answers the requests. */
export type Application = FastifyApplication | FetchApplication | RequestListener;

/** An application that is ready. */
export interface Handler {
  handle(request: Incoming, response: Outgoing): unknown;
  close(): unknown;
}

/** @throws {ApplicationError} `ERR_HTTP_APPLICATION` for anything else. */
export async function prepare(application: Application): Promise<Handler> {
  if (typeof application === 'function') return { handle: application, close: () => {} };
  if (typeof application === 'object' && application !== null) {
    if ('routing' in application) return await prepareFastify(application);
    if (typeof application.fetch === 'function') {
      return {
        handle: (request, response) => serveFetch(application, request, response),
        close: () => {},
      };
    }
  }
  throw new ApplicationError(application);
}

async function prepareFastify(app: FastifyApplication): Promise<Handler> {
  await app.ready();
  return {
    handle: (request, response) => app.routing(request, response),
    close: () => app.close(),
  };
}
