import type { IncomingMessage } from 'node:http';
import type { HeartbeatReader } from '../heartbeat.ts';
import type { MainMethods, ServerOptions } from '../protocol.ts';
import type { Rpc } from '../rpc.ts';
import type { Health } from './health.ts';
import type { Journal } from './journal.ts';
import type { Samples } from './samples.ts';
import type { Streams } from './stream.ts';

/** What a server of the control plane is made with. */
export interface ServerParts {
  readonly options: ServerOptions;
  readonly journal: Journal;
  readonly main: Rpc<MainMethods>;
  readonly heartbeat: HeartbeatReader;
  /** All servers share them. */
  readonly samples: Samples;
}

/** What the routes work with. */
export interface ControlPlane extends ServerParts {
  readonly health: Health;
  readonly streams: Streams;
}

/** A request, as a route sees it. */
export interface Ask {
  readonly request: IncomingMessage;
  readonly url: URL;
  /** What stands in the place of `*`. */
  readonly parameter: string;
  /** Whether the client may be told all: it has the token, or none is needed. */
  readonly trusted: boolean;
  /** Aborts when the client goes. */
  readonly signal: AbortSignal;
}
