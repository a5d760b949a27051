/** The base of every error that Bosun makes: `code` is stable and literal, `cause` holds what led to it. */
export abstract class BosunError extends Error {
  abstract readonly code: string;

  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** One thing that is wrong with an option. */
export interface OptionProblem {
  /** Where, from the options object down: `['backoff', 'factor']`; empty for the object itself. */
  readonly path: readonly PropertyKey[];
  /** What the option must be, or what is wrong: `must be an integer between 0 and 65535`. */
  readonly rule: string;
  /** The value that was given; `undefined` when the option is missing. */
  readonly received: unknown;
  /** The nearest valid spelling, for a name that does not exist. */
  readonly suggestion?: string;
}

/** Options that do not fit the schema; all problems at once. */
export class OptionsError extends BosunError {
  readonly code = 'ERR_OPTIONS';
  /** The class (or function) whose options they are. */
  readonly owner: string;
  readonly problems: readonly OptionProblem[];

  constructor(owner: string, problems: readonly OptionProblem[]) {
    super(`${owner}: ${problems.map(describeProblem).join('; ')}`);
    this.owner = owner;
    this.problems = problems;
  }
}

/** One problem in one line: option, rule, value received, nearest name. */
export function describeProblem(problem: OptionProblem): string {
  const option = problem.path.length === 0 ? 'options' : `option "${problem.path.map(String).join('.')}"`;
  const received = problem.received === undefined ? '' : `, received ${preview(problem.received)}`;
  const hint = problem.suggestion === undefined ? '' : ` (did you mean "${problem.suggestion}"?)`;
  return `${option} ${problem.rule}${received}${hint}`;
}

/** A value as an error message shows it: short, on one line, without the passwords of URLs, never throwing. */
export function preview(value: unknown): string {
  if (typeof value === 'string') return clip(JSON.stringify(value));
  if (typeof value === 'bigint') return `${value}n`;
  if (typeof value === 'function') return value.name ? `function ${value.name}` : 'a function';
  if (typeof value !== 'object' || value === null) return String(value);
  const prototype = Object.getPrototypeOf(value) as object | null;
  const plain = Array.isArray(value) || prototype === Object.prototype || prototype === null;
  if (!plain) return `an instance of ${value.constructor?.name ?? 'an unnamed class'}`;
  try {
    return clip(JSON.stringify(value));
  } catch {
    return Array.isArray(value) ? 'an array' : 'an object';
  }
}

const clip = (text: string) => {
  const shown = text.replace(/(:\/\/[^:@/\s]*:)[^@\s]*@/g, '$1***@');
  return shown.length > 80 ? `${shown.slice(0, 77)}...` : shown;
};

/** Whatever was thrown, as an Error. */
export function toError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new NonErrorThrown(thrown);
}

/** Something that is no Error was thrown, or a promise was rejected with it. */
export class NonErrorThrown extends BosunError {
  readonly code = 'ERR_NON_ERROR_THROWN';
  readonly value: unknown;

  constructor(value: unknown) {
    super(`something that is no Error was thrown: ${preview(value)}`);
    this.value = value;
  }
}

/** A service's `start` threw. */
export class StartError extends BosunError {
  readonly code = 'ERR_SERVICE_START';
  readonly service: string;

  constructor(service: string, cause: Error) {
    super(`service "${service}" could not start: ${cause.message}`, { cause });
    this.service = service;
  }
}

/** A service's `start` did not resolve within its `startTimeoutMs`. */
export class StartTimeoutError extends BosunError {
  readonly code = 'ERR_SERVICE_START_TIMEOUT';
  readonly service: string;
  readonly timeoutMs: number;
  /** What the service was waiting for. */
  readonly waitingFor: readonly string[];

  constructor(service: string, timeoutMs: number, waitingFor: readonly string[]) {
    super(`service "${service}" did not start within ${timeoutMs} ms: still waiting for ${list(waitingFor)}`);
    this.service = service;
    this.timeoutMs = timeoutMs;
    this.waitingFor = waitingFor;
  }
}

/** A service's `stop`, or one of its clean-ups, threw. */
export class StopError extends BosunError {
  readonly code = 'ERR_SERVICE_STOP';
  readonly service: string;

  constructor(service: string, cause: Error) {
    super(`service "${service}" failed to stop: ${cause.message}`, { cause });
    this.service = service;
  }
}

/** A service did not stop in time, or the stop was cut short by a second signal: it was forced. */
export class StopForcedError extends BosunError {
  readonly code = 'ERR_SERVICE_STOP_FORCED';
  readonly service: string;
  /** How long the stop had run, in ms. */
  readonly afterMs: number;
  /** What held it. */
  readonly heldBy: readonly string[];
  /** Whether it was still not done after it had been forced: it was left behind. */
  readonly abandoned: boolean;

  constructor(service: string, why: string, afterMs: number, heldBy: readonly string[], abandoned: boolean) {
    const left = abandoned ? '; it is still not done and was left behind' : '';
    super(
      `service "${service}" had to be forced to stop after ${Math.round(afterMs)} ms (${why}): held by ${list(heldBy)}${left}`,
    );
    this.service = service;
    this.afterMs = afterMs;
    this.heldBy = heldBy;
    this.abandoned = abandoned;
  }
}

/** The daemon was made without a `reload` hook: there is nothing that a reload could do. */
export class NoReloadError extends BosunError {
  readonly code = 'ERR_NO_RELOAD';
}

/** The errors of a shutdown, one per service that failed to stop or had to be forced. */
export class ShutdownError extends AggregateError {
  readonly code = 'ERR_SHUTDOWN';
  override readonly errors: Error[];

  constructor(errors: readonly Error[]) {
    super(errors, `the shutdown was not clean: ${errors.map((error) => error.message).join('; ')}`);
    this.name = 'ShutdownError';
    this.errors = [...errors];
  }
}

/** Why a service's `scope.signal` aborted: it is being stopped. */
export class ServiceStopped extends BosunError {
  readonly code = 'ERR_SERVICE_STOPPED';
  readonly service: string;

  constructor(service: string, why: string) {
    super(`service "${service}" is stopping (${why})`);
    this.service = service;
  }
}

/** The entrypoint was stopped before its start had finished. */
export class EntrypointStopped extends BosunError {
  readonly code = 'ERR_ENTRYPOINT_STOPPED';
}

/** A hook was still not done when the shutdown was forced: it was left behind. */
export class HookForcedError extends BosunError {
  readonly code = 'ERR_HOOK_FORCED';
  readonly hook: string;

  constructor(hook: string, cause: Error) {
    super(`the ${hook} hook was left behind: ${cause.message}`, { cause });
    this.hook = hook;
  }
}

/** A state was to follow one that it cannot follow: a defect in the caller, never retried. */
export class IllegalTransitionError extends BosunError {
  readonly code = 'ERR_ILLEGAL_TRANSITION';
}

/** Two services of one name. */
export class DuplicateServiceError extends BosunError {
  readonly code = 'ERR_DUPLICATE_SERVICE';
  readonly service: string;

  constructor(service: string) {
    super(`two services are named "${service}": give one of them another \`name\``);
    this.service = service;
  }
}

/** Services that depend on each other in a circle. */
export class DependencyCycleError extends BosunError {
  readonly code = 'ERR_DEPENDENCY_CYCLE';
  /** The names along the circle; the first one is repeated at the end. */
  readonly cycle: readonly string[];

  constructor(cycle: readonly string[]) {
    super(`services depend on each other in a circle: ${cycle.join(' -> ')}`);
    this.cycle = cycle;
  }
}

/** A service depends on one that the entrypoint does not hold. */
export class MissingDependencyError extends BosunError {
  readonly code = 'ERR_MISSING_DEPENDENCY';
  readonly service: string;
  readonly dependency: string;

  constructor(service: string, dependency: string, suggestion?: string) {
    const hint = suggestion === undefined ? '' : ` (did you mean "${suggestion}"?)`;
    super(`service "${service}" depends on "${dependency}", which is not among the services${hint}`);
    this.service = service;
    this.dependency = dependency;
  }
}

/** A name that no service has. */
export class UnknownServiceError extends BosunError {
  readonly code = 'ERR_UNKNOWN_SERVICE';
  readonly service: string;

  constructor(service: string, suggestion?: string) {
    const hint = suggestion === undefined ? '' : ` (did you mean "${suggestion}"?)`;
    super(`there is no service named "${service}"${hint}`);
    this.service = service;
  }
}

/** A service cannot be removed while others depend on it. */
export class ServiceInUseError extends BosunError {
  readonly code = 'ERR_SERVICE_IN_USE';
  readonly service: string;
  readonly dependents: readonly string[];

  constructor(service: string, dependents: readonly string[]) {
    super(`service "${service}" cannot be removed: ${list(dependents)} depend on it`);
    this.service = service;
    this.dependents = dependents;
  }
}

/** A service failed more often than its supervisor's intensity allows, or is never to be restarted. */
export class RestartsExhaustedError extends BosunError {
  readonly code = 'ERR_RESTARTS_EXHAUSTED';
  readonly service: string;
  readonly failures: number;

  constructor(service: string, failures: number, windowMs: number, cause: Error) {
    const often = failures > 1 ? `${failures} failures within ${windowMs} ms` : 'it is not to be restarted';
    super(`service "${service}" failed for good (${often}): ${cause.message}`, { cause });
    this.service = service;
    this.failures = failures;
  }
}

/** A rejection or exception that no service caused, as far as can be told. */
export class StrayError extends BosunError {
  readonly code = 'ERR_STRAY';

  constructor(kind: 'unhandledRejection' | 'uncaughtException', cause: Error) {
    super(`${kind} that belongs to no service: ${cause.message}`, { cause });
  }
}

/** The time that the caller had given has passed: see `withDeadline`. Never retried by a policy. */
export class DeadlineError extends BosunError {
  readonly code = 'ERR_DEADLINE';
  readonly limitMs: number;

  constructor(limitMs: number) {
    super(`the deadline of ${limitMs} ms has passed`);
    this.limitMs = limitMs;
  }
}

/** A context key was not set within the waiter's time. */
export class ContextTimeoutError extends BosunError {
  readonly code = 'ERR_CONTEXT_TIMEOUT';
  readonly key: string;

  constructor(key: string, timeoutMs: number) {
    super(`context key "${key}" was not set within ${timeoutMs} ms`);
    this.key = key;
  }
}

/** Who waited for a context key has ended, or the entrypoint has, before the key was set. */
export class ContextClosedError extends BosunError {
  readonly code = 'ERR_CONTEXT_CLOSED';
  readonly key: string;

  constructor(key: string, cause: Error) {
    super(`context key "${key}" was not set in time: ${cause.message}`, { cause });
    this.key = key;
  }
}

const list = (names: readonly string[]) => (names.length === 0 ? 'nothing that it names' : names.join(', '));
