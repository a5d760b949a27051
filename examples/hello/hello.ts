import type { IncomingMessage, ServerResponse } from 'node:http';
import { HttpService } from 'bosun/services/http';

/** A web-standard application: a `Request` in, a `Response` out. */
export class FetchHello extends HttpService {
  protected override createApplication() {
    return { fetch: () => new Response('ASGI hello!', { headers: { 'content-type': 'text/plain' } }) };
  }
}

/** A bare Node listener. */
export class ListenerHello extends HttpService {
  protected override createApplication() {
    return (_request: IncomingMessage, response: ServerResponse) => {
      response.setHeader('content-type', 'text/plain');
      response.end('WSGI hello!');
    };
  }
}
