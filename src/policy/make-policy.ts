import { type Call, currentCall, inCall, orEnded, signalOf, withSignal } from '../call.ts';
import { type Clock, systemClock } from '../clock.ts';
import { preview } from '../errors.ts';
import { type Attempt, type Execution, execution, type Policy } from './policy.ts';
import { type Counters, countersFor, type PolicyKind } from './statistics.ts';

/** What a policy does with a call: it calls `attempt` as often as it likes. The caller has not given up yet. @internal */
export type Rule = <Result>(
  attempt: Attempt<Result>,
  caller: Call | undefined,
  clock: Clock,
) => Result | PromiseLike<Result>;

/** What all kinds of policies are made of. @internal */
export interface PolicyParts {
  readonly name?: string | undefined;
  readonly clock?: Clock | undefined;
  /** Ends every call under the policy. */
  readonly signal?: AbortSignal | undefined;
}

/** A policy that keeps to `rule`, with its statistics if it has a name. @internal */
export function makePolicy(kind: PolicyKind, { name, clock, signal }: PolicyParts, rule: Rule): Policy {
  const plain: Execution = (attempt, caller) => {
    try {
      caller?.throwIfAborted();
      return Promise.resolve(rule(attempt, caller, clock ?? caller?.clock ?? systemClock));
    } catch (error) {
      return Promise.reject(error);
    }
  };
  const execute = name === undefined ? plain : counted(countersFor(kind, name), clock, plain);
  if (signal === undefined) return policyOf(execute);
  return policyOf((attempt, caller) => withSignal(signal, caller, (call) => execute(attempt, call)));
}

const counted =
  (counters: Counters, ownClock: Clock | undefined, execute: Execution): Execution =>
  async (attempt, caller) => {
    const clock = ownClock ?? caller?.clock ?? systemClock;
    const begun = clock.now();
    counters.calls++;
    try {
      const result = await execute((call) => {
        counters.attempts++;
        return attempt(call);
      }, caller);
      counters.done++;
      return result;
    } catch (error) {
      if (caller?.aborted) counters.cancels++;
      else counters.errors++;
      throw error;
    } finally {
      counters.totalMs += clock.now() - begun;
    }
  };

/** The policy that treats each call as `execute` does. @internal */
export function policyOf(execute: Execution): Policy {
  function policy<This, Args extends unknown[], Result>(
    fn: (this: This, ...args: Args) => Result | PromiseLike<Result>,
    context?: Pick<ClassMethodDecoratorContext, 'kind'>,
  ): (this: This, ...args: Args) => Promise<Result> {
    if (typeof fn !== 'function') throw new TypeError(`a policy wraps a function, received ${preview(fn)}`);
    if (context !== undefined && context.kind !== 'method') {
      throw new TypeError(`a policy decorates a method, not a ${String(context.kind)}`);
    }
    const wrapped = function (this: This, ...args: Args): Promise<Result> {
      const signal = args.at(-1);
      if (!(signal instanceof AbortSignal)) {
        return execute((call) => inCall(call, () => fn.apply(this, args)), currentCall());
      }
      const others = args.slice(0, -1);
      return withSignal(signal, currentCall(), (caller) =>
        execute(
          (call) => inCall(call, () => fn.apply(this, [...others, signalOf(call)] as unknown as Args)),
          caller,
        ),
      );
    };
    Object.defineProperty(wrapped, 'name', { value: fn.name, configurable: true });
    return wrapped;
  }
  function run<Result>(
    work: (signal: AbortSignal) => Result | PromiseLike<Result>,
    { signal }: { readonly signal?: AbortSignal } = {},
  ): Promise<Result> {
    const attempt: Attempt<Result> = (call) => inCall(call, () => work(signalOf(call)));
    const caller = currentCall();
    if (signal === undefined) return execute(attempt, caller);
    return withSignal(signal, caller, (call) => execute(attempt, call));
  }
  return Object.assign(policy, { run, [execution]: execute });
}

/**
 * Calls once, as part of `call`, which is open, and rejects with its reason as soon as that is to end. What comes of the work
 * then is ignored. @internal
 */
export function attemptIn<Result>(
  call: Call | undefined,
  attempt: Attempt<Result>,
): Result | PromiseLike<Result> {
  if (call === undefined) return attempt(call);
  const result = attempt(call);
  return isPromiseLike(result) ? orEnded(result, call) : result;
}

/** Calls once, in a call of its own, which has just been made for it; otherwise like `attemptIn`. @internal */
export function attemptInOwn<Result>(call: Call, attempt: Attempt<Result>): Promise<Result> {
  return new Promise((resolve, reject) => {
    const onError = (error: unknown) => {
      call.end();
      reject(error);
    };
    const onDone = (result: Result) => {
      call.end();
      resolve(result);
    };
    try {
      const result = attempt(call);
      if (!isPromiseLike(result)) return onDone(result);
      call.onAbort(reject);
      result.then(onDone, onError);
    } catch (error) {
      onError(error);
    }
  });
}

const isPromiseLike = <Result>(value: Result | PromiseLike<Result>): value is PromiseLike<Result> =>
  typeof (value as PromiseLike<Result> | null | undefined)?.then === 'function';
