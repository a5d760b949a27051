import { BosunError } from '../errors.ts';

/** A connection is closed, or its writing side has been ended: nothing can be read or written any more. */
export class ConnectionClosedError extends BosunError {
  readonly code = 'ERR_CONNECTION_CLOSED';
  /** The peer: `127.0.0.1:50001`. */
  readonly remoteAddress: string;

  constructor(remoteAddress: string, cause?: Error | null) {
    const why = cause ? `: ${cause.message}` : '';
    super(`the connection with ${remoteAddress} is closed${why}`, cause ? { cause } : {});
    this.remoteAddress = remoteAddress;
  }
}

/** A connection was closed since nothing moved on it for too long. */
export class ConnectionTimeoutError extends BosunError {
  readonly code = 'ERR_CONNECTION_TIMEOUT';
  /** `idle`: nothing came or went; `write`: the peer did not take what was written to it. */
  readonly kind: 'idle' | 'write';
  readonly timeoutMs: number;

  constructor(kind: 'idle' | 'write', timeoutMs: number) {
    super(
      kind === 'idle'
        ? `nothing was sent or received for ${timeoutMs} ms (idleTimeoutMs)`
        : `the peer has taken nothing of what was written for ${timeoutMs} ms (writeTimeoutMs)`,
    );
    this.kind = kind;
    this.timeoutMs = timeoutMs;
  }
}
