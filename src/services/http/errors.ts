import { BosunError, preview } from '../../errors.ts';

/** A request's body is larger than `maxBodyBytes`. Its stream fails with this; unhandled it is answered 413. */
export class BodyTooLargeError extends BosunError {
  readonly code = 'ERR_HTTP_BODY_TOO_LARGE';
  /** Read by Fastify and other frameworks. */
  readonly statusCode = 413;
  readonly maxBodyBytes: number;

  constructor(maxBodyBytes: number) {
    super(`the body is larger than ${maxBodyBytes} bytes`);
    this.maxBodyBytes = maxBodyBytes;
  }
}

/** A client closed its connection before it had its answer: what was done for it is given up. */
export class ClientGoneError extends BosunError {
  readonly code = 'ERR_HTTP_CLIENT_GONE';

  constructor() {
    super('the client has gone');
  }
}

/** `createApplication` gave something that cannot answer requests. */
export class ApplicationError extends BosunError {
  readonly code = 'ERR_HTTP_APPLICATION';

  constructor(value: unknown) {
    super(
      `createApplication() must return a Fastify app, a (request, response) listener or an object with fetch(), not ${preview(value)}`,
    );
  }
}

/** An application's `fetch` resolved with something that is no Response. */
export class ResponseError extends BosunError {
  readonly code = 'ERR_HTTP_RESPONSE';

  constructor(value: unknown) {
    super(`fetch() must resolve with a Response, not with ${preview(value)}`);
  }
}

/** A path is mounted for upgrades already. */
export class UpgradePathTakenError extends BosunError {
  readonly code = 'ERR_HTTP_UPGRADE_PATH_TAKEN';
  readonly path: string;

  constructor(path: string) {
    super(`upgrades of ${path} are handled already`);
    this.path = path;
  }
}
