import pg from 'pg';
import type { Clock } from '../../clock.ts';

/** What pg's types leave out. */
interface Canceller extends pg.Connection {
  connect(portOrPath: number | string, host?: string): void;
  requestSsl(): void;
  cancel(processId: number, secretKey: number): void;
}

interface Cancellable {
  readonly host: string;
  readonly port: number;
  readonly ssl: boolean;
  readonly sslNegotiation: string;
  readonly processID: number | null;
  readonly secretKey: number | null;
}

/**
 * How a request to cancel ended. `delivered`: the server has read it and closed the connection, so that it will
 * reach no later query (PostgreSQL signals the session before it closes). `unanswered`: the server was not
 * reached, or did not close in time. `impossible`: it has given no key to cancel with, as some poolers do.
 */
export type CancelOutcome = 'delivered' | 'unanswered' | 'impossible';

/**
 * Asks the server, over a connection of its own, to end the query that a client has under way; over TLS when
 * the client uses it. Never rejects. (PostgreSQL, "Canceling Requests in Progress".)
 */
export function requestCancel(client: pg.Client, timeoutMs: number, clock: Clock): Promise<CancelOutcome> {
  const { host, port, ssl, sslNegotiation, processID, secretKey } = client as unknown as Cancellable;
  if (processID === null || secretKey === null) return Promise.resolve('impossible');
  return new Promise((resolve) => {
    const connection = new pg.Connection({ ssl, sslNegotiation } as pg.ConnectionConfig) as Canceller;
    let sent = false;
    let failed = false;
    const send = () => {
      sent = true;
      connection.cancel(processID, secretKey);
    };
    connection.on('connect', () => {
      if (!ssl) send();
      else if (sslNegotiation !== 'direct') connection.requestSsl();
    });
    connection.on('sslconnect', send);
    const fail = () => {
      failed = true;
      connection.stream.destroy();
    };
    connection.on('error', fail);
    const timer = clock.setTimer(fail, timeoutMs);
    connection.on('end', () => {
      timer.cancel();
      resolve(sent && !failed ? 'delivered' : 'unanswered');
    });
    if (host.startsWith('/')) connection.connect(`${host}/.s.PGSQL.${port}`);
    else connection.connect(port, host);
  });
}
