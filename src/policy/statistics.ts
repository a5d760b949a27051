import { OptionsError } from '../errors.ts';

/** What a policy has done since the process began; all but `inFlight` only grow. */
export interface PolicyStatistics {
  readonly name: string;
  readonly kind: PolicyKind;
  /** Calls that have come. */
  readonly calls: number;
  /** How often the wrapped function was called for them. */
  readonly attempts: number;
  /** Calls that resolved. */
  readonly done: number;
  /** Calls that rejected, for another reason than an abort. */
  readonly errors: number;
  /** Calls that were given up by their caller. */
  readonly cancels: number;
  /** Calls under way. */
  readonly inFlight: number;
  /** How long all of them took together, in ms, until they were settled. */
  readonly totalMs: number;
}

/** The policies by their names. */
export type PolicyKind =
  | 'aggregate'
  | 'backoff'
  | 'bulkhead'
  | 'circuit-breaker'
  | 'coalesce'
  | 'retry'
  | 'shield'
  | 'timeout';

/** The counters of one policy, or of all that share its name. @internal */
export class Counters {
  readonly kind: PolicyKind;
  calls = 0;
  attempts = 0;
  done = 0;
  errors = 0;
  cancels = 0;
  totalMs = 0;

  constructor(kind: PolicyKind) {
    this.kind = kind;
  }
}

const named = new Map<string, Counters>();

/**
 * The counters of a policy: those of its name, which the process keeps, or new ones that end with it.
 *
 * @throws {OptionsError} `ERR_OPTIONS` when the name is that of a policy of another kind. @internal
 */
export function countersFor(kind: PolicyKind, name: string | undefined): Counters {
  const known = name === undefined ? undefined : named.get(name);
  if (known === undefined) {
    const counters = new Counters(kind);
    if (name !== undefined) named.set(name, counters);
    return counters;
  }
  if (known.kind !== kind) {
    const rule = `must be another one: there is a policy of kind ${known.kind} with it`;
    throw new OptionsError(kind, [{ path: ['name'], rule, received: name }]);
  }
  return known;
}

/** A copy of the statistics of all policies that have a name. */
export function policyStatistics(): PolicyStatistics[] {
  return [...named].map(([name, { kind, calls, attempts, done, errors, cancels, totalMs }]) => ({
    name,
    kind,
    calls,
    attempts,
    done,
    errors,
    cancels,
    inFlight: calls - done - errors - cancels,
    totalMs,
  }));
}
