import { AsyncLocalStorage } from 'node:async_hooks';
import { subscribe } from 'node:diagnostics_channel';
import type { IncomingMessage } from 'node:http';
import type { Logger } from '../../service.ts';
import { errorBody, notNow, pathOf, retryAfterOf } from './answers.ts';
import { ClientGoneError } from './errors.ts';
import { Incoming } from './messages.ts';
import { requestId } from './request-id.ts';

/** The part of a Fastify app that is set up for a service; Fastify itself is the user's to load. */
interface App {
  setErrorHandler(handler: (error: unknown, request: AppRequest, reply: AppReply) => void): unknown;
  setGenReqId(make: (request: IncomingMessage) => string): unknown;
  addHook(name: 'onRequest', hook: (request: AppRequest, reply: AppReply, done: () => void) => void): unknown;
}

interface AppRequest {
  readonly raw: IncomingMessage;
  readonly routeOptions: { readonly url?: string };
  readonly [key: symbol]: unknown;
}

interface Context {
  readonly config?: { readonly url?: string };
}

interface AppReply {
  readonly statusCode: number;
  code(status: number): this;
  header(name: string, value: string): this;
  send(payload: unknown): this;
}

const creator = new AsyncLocalStorage<Logger>();
let subscribed = false;

/**
 * Calls `create`, and sets up the Fastify apps that it makes: their request ids are the service's, requests are
 * measured by their routes, and errors that are the server's fault are logged instead of shown to the client. This
 * cannot wait for the app to be returned: awaiting a Fastify app loads it, and its routes keep the error handler of
 * that time. What the user sets replaces either.
 */
export function settingUpFastify<Value>(log: Logger, create: () => Value): Value {
  if (!subscribed) {
    subscribed = true;
    subscribe('fastify.initialization', (message) => {
      const logger = creator.getStore();
      if (logger !== undefined) setUp((message as { fastify: App }).fastify, logger);
    });
  }
  return creator.run(log, create);
}

function setUp(app: App, log: Logger): void {
  app.setGenReqId(requestId);
  // Before the user's own hooks, one of which may answer.
  app.addHook('onRequest', (request, _reply, done) => {
    Incoming.routed(request.raw, routeOf(request));
    done();
  });
  app.setErrorHandler((error, { raw }, reply) => {
    // Nobody is there to be answered: neither Fastify's nor the log's reader is told of a failure.
    if (error instanceof ClientGoneError) {
      log.debug({ reqId: requestId(raw) }, `the client of ${raw.method} ${pathOf(raw)} has gone`);
      reply.send(error);
      return;
    }
    const ownStatus = statusOf(error) ?? (reply.statusCode >= 400 ? reply.statusCode : undefined);
    const retryAfter = ownStatus === undefined ? retryAfterOf(error) : undefined;
    const status = ownStatus ?? (retryAfter === undefined ? 500 : 503);
    if (status < 500) {
      reply.send(error);
      return;
    }
    const reqId = requestId(raw);
    if (retryAfter === undefined) log.error({ err: error, reqId }, `${raw.method} ${pathOf(raw)} failed`);
    else {
      log.warn({ reqId }, notNow(raw, error));
      reply.header('retry-after', retryAfter);
    }
    reply.code(status).header('x-request-id', reqId).send(errorBody(status, reqId));
  });
  // Otherwise Fastify warns when the user sets another.
  const isSet = Object.getOwnPropertySymbols(app).find(
    ({ description }) => description === 'fastify.errorHandlerAlreadySet',
  );
  if (isSet !== undefined) Object.assign(app, { [isSet]: false });
}

/** The key of what `routeOptions` copies, all of it and anew each time that it is asked for. */
let contextKey: symbol | undefined;

/** The pattern of a request's route. */
function routeOf(request: AppRequest): string | undefined {
  contextKey ??= Object.getOwnPropertySymbols(request).find(
    ({ description }) => description === 'fastify.context',
  );
  const context = contextKey === undefined ? undefined : (request[contextKey] as Context | undefined);
  return context?.config === undefined ? request.routeOptions.url : context.config.url;
}

function statusOf(error: unknown): number | undefined {
  if (typeof error !== 'object' || error === null || !('statusCode' in error)) return undefined;
  const { statusCode } = error;
  return typeof statusCode === 'number' && statusCode >= 400 && statusCode <= 599 ? statusCode : undefined;
}
