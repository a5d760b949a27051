import type { PostgresService, PostgresTransaction } from 'bosun/services/postgres';
import type { FastifyInstance } from 'fastify';

declare module 'fastify' {
  interface FastifyReply {
    /** The request's own transaction; begun with the first call. */
    transaction(): Promise<PostgresTransaction>;
  }
}

/**
 * Gives every request of the routes in `app` a transaction of its own, for those that ask. It is committed
 * before the answer is sent, so that whoever has the answer sees the rows; it is rolled back when the answer is
 * an error or the client has gone.
 */
export function requestScope(app: FastifyInstance, database: PostgresService): void {
  const begun = new WeakMap<object, Promise<PostgresTransaction>>();
  app.decorateReply('transaction', function () {
    const known = begun.get(this);
    if (known !== undefined) return known;
    const transaction = database.begin({ label: `${this.request.method} ${this.request.url}` });
    begun.set(this, transaction);
    return transaction;
  });
  app.addHook('onSend', async (_request, reply) => {
    const transaction = begun.get(reply);
    // A commit that fails is answered by an error, which is sent as well.
    begun.delete(reply);
    if (reply.statusCode < 400) await (await transaction)?.commit();
    else await (await transaction?.catch(() => undefined))?.rollback();
  });
}
