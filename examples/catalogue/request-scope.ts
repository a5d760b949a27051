import type { PostgresClient, PostgresService } from 'bosun/services/postgres';
import type { FastifyInstance } from 'fastify';

declare module 'fastify' {
  interface FastifyReply {
    /** The request's own connection, in a transaction; taken from the pool with the first call. */
    transaction(): Promise<PostgresClient>;
  }
}

interface Opened {
  readonly client: Promise<PostgresClient>;
  /** Commits, or rolls back, and gives the connection back to the pool. */
  end(commit: boolean): Promise<void>;
}

/** Why a transaction is rolled back when the answer is an error: nobody sees it. */
class RolledBack extends Error {}

/**
 * Gives every request a transaction of its own, for those that ask. It is committed before the answer is
 * sent, so that whoever has the answer sees the rows; it is rolled back when the answer is an error or the
 * client has gone.
 */
export function requestScope(app: FastifyInstance, database: PostgresService): void {
  const opened = new WeakMap<object, Opened>();
  app.decorateReply('transaction', function () {
    const known = opened.get(this);
    if (known !== undefined) return known.client;
    const scope = open(database);
    opened.set(this, scope);
    // After the answer this comes too late to change anything.
    this.raw.once('close', () => void scope.end(false).catch(() => {}));
    return scope.client;
  });
  app.addHook('onSend', async (_request, reply) => {
    await opened.get(reply)?.end(reply.statusCode < 400);
  });
}

function open(database: PostgresService): Opened {
  const client = Promise.withResolvers<PostgresClient>();
  const outcome = Promise.withResolvers<void>();
  const ended = database
    .transaction(async (taken) => {
      client.resolve(taken);
      await outcome.promise;
    })
    .catch((error) => {
      client.reject(error);
      if (!(error instanceof RolledBack)) throw error;
    });
  ended.catch(() => {});
  return {
    client: client.promise,
    end(commit) {
      if (commit) outcome.resolve();
      else outcome.reject(new RolledBack());
      return ended;
    },
  };
}
