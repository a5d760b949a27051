import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Logger } from '../../service.ts';
import { errorBody, pathOf } from './answers.ts';
import { ApplicationError } from './errors.ts';
import { serveFetch } from './fetch.ts';
import { Incoming, type Outgoing } from './messages.ts';

/** A `(request, response)` listener, as Node, Express and many others have it. */
export type RequestListener = (request: IncomingMessage, response: ServerResponse) => unknown;

/** A web-standard application, as Hono and others make it. */
export interface FetchApplication {
  fetch(request: Request): Response | Promise<Response>;
}

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
export async function prepare(application: Application, log: Logger): Promise<Handler> {
  if (typeof application === 'function') return { handle: application, close: () => {} };
  if (typeof application === 'object' && application !== null) {
    if ('routing' in application) return await prepareFastify(application, log);
    if (typeof application.fetch === 'function') {
      return {
        handle: (request, response) => serveFetch(application, request, response),
        close: () => {},
      };
    }
  }
  throw new ApplicationError(application);
}

async function prepareFastify(app: FastifyApplication, log: Logger): Promise<Handler> {
  hideServerErrors(app as FastifyApplication & ErrorHandling, log);
  await app.ready();
  return {
    handle: (request, response) => app.routing(request, response),
    close: () => app.close(),
  };
}

/** The part of Fastify that handles errors. */
interface ErrorHandling {
  readonly errorHandler: unknown;
  setErrorHandler(handler: (error: unknown, request: FastifyRequest, reply: FastifyReply) => void): unknown;
}

interface FastifyRequest {
  readonly raw: IncomingMessage;
}

interface FastifyReply {
  readonly statusCode: number;
  code(status: number): this;
  header(name: string, value: string): this;
  send(payload: unknown): this;
}

/** Fastify's own error handler shows the messages of all errors to the client. A user's is left alone. */
function hideServerErrors(app: FastifyApplication & ErrorHandling, log: Logger): void {
  const { errorHandler } = app;
  if (typeof errorHandler !== 'function' || errorHandler.name !== 'defaultErrorHandler') return;
  app.setErrorHandler((error, request, reply) => {
    const status = statusOf(error) ?? (reply.statusCode >= 400 ? reply.statusCode : 500);
    if (status < 500) {
      reply.send(error);
      return;
    }
    const reqId = requestId(request.raw);
    log.error({ err: error, reqId }, `${request.raw.method} ${pathOf(request.raw)} failed`);
    reply.code(status).header('x-request-id', reqId).send(errorBody(status, reqId));
  });
}

function statusOf(error: unknown): number | undefined {
  if (typeof error !== 'object' || error === null) return undefined;
  const { statusCode, status = statusCode } = error as { statusCode?: unknown; status?: unknown };
  return typeof status === 'number' && status >= 400 && status <= 599 ? status : undefined;
}

/**
 * The id of a request: the client's `x-request-id` when that is at most 128 harmless characters, otherwise a
 * new one. All log lines of the request carry it as `reqId`. For Fastify: `Fastify({ genReqId: requestId })`.
 */
export function requestId(request: IncomingMessage | Request): string {
  if (request instanceof Incoming) return Incoming.idOf(request);
  const id = request.headers instanceof Headers ? request.headers.get('x-request-id') : undefined;
  if (id === null || id === undefined) throw new TypeError('the request does not come from an HttpService');
  return id;
}
