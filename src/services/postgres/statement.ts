import type { PostgresQuery } from './client.ts';
import { StatementNameError } from './errors.ts';

const SHOWN_CHARACTERS = 60;
/** PostgreSQL cuts longer names (NAMEDATALEN), and two of them could become one. */
const MAX_NAME_BYTES = 63;

/** What messages call a query: its name, or the beginning of its text. Values are never in it. */
export function describeStatement(query: string | Pick<PostgresQuery, 'name' | 'text'>): string {
  if (typeof query !== 'string' && query.name !== undefined) return `"${query.name}"`;
  const text = (typeof query === 'string' ? query : String(query.text)).slice(0, 4 * SHOWN_CHARACTERS);
  const line = text.replace(/\s+/g, ' ').trim();
  return `"${line.length > SHOWN_CHARACTERS ? `${line.slice(0, SHOWN_CHARACTERS - 1)}…` : line}"`;
}

const READ = /^\s*(select|table|values|show)\b/i;
/** SELECT INTO, and functions of PostgreSQL that write, lock beyond the statement or tell others. */
const WRITES =
  /\b(into|nextval|setval|set_config|pg_notify|pg_\w*advisory\w*|pg_(terminate|cancel)_backend|lo_\w+|dblink\w*)\b/i;

/** Whether a statement only reads, as far as its text tells: a function that it calls may write all the same. */
function isRead(text: string): boolean {
  return READ.test(text) && !WRITES.test(text) && !text.trimEnd().slice(0, -1).includes(';');
}

/** What could make that last which was done inside a transaction. */
const ENDS_TRANSACTION = /\b(commit|end|prepare)\b/i;

/** Whether it does not matter if a query is done twice, or nothing of it can last when its connection is lost. */
export function canBeRepeated(query: string | PostgresQuery, inTransaction: boolean): boolean {
  const text = typeof query === 'string' ? query : query.text;
  const idempotent = typeof query === 'string' ? undefined : query.idempotent;
  return (idempotent ?? isRead(text)) || (inTransaction && !ENDS_TRANSACTION.test(text));
}

/** The prepared statements of a service: one text for each name. */
export class StatementNames {
  readonly #texts = new Map<string, string>();

  /**
   * @throws {StatementNameError} `ERR_POSTGRES_STATEMENT_NAME` for a name that is longer than PostgreSQL keeps
   * apart, or that another text has had.
   */
  check({ name, text }: PostgresQuery): void {
    if (name === undefined) return;
    const known = this.#texts.get(name);
    if (known === text) return;
    const statement = describeStatement({ name, text });
    if (known !== undefined) throw new StatementNameError(statement, 'is that of another text already');
    if (Buffer.byteLength(name) > MAX_NAME_BYTES) {
      throw new StatementNameError(statement, `must not be longer than ${MAX_NAME_BYTES} bytes`);
    }
    this.#texts.set(name, text);
  }
}
