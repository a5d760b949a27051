/** What every policy is: a wrapper of functions, a decorator of methods. */
import type { Call } from '../call.ts';
import type { Clock } from '../clock.ts';

/** Calls the wrapped function, as part of a call. @internal */
export type Attempt<Result> = (call: Call | undefined) => Result | PromiseLike<Result>;

/** One call under a policy; `caller` is the call it is part of. @internal */
export type Execution = <Result>(attempt: Attempt<Result>, caller: Call | undefined) => Promise<Result>;

/** Where `pipe` finds a policy's `Execution`. @internal */
export const execution: unique symbol = Symbol('bosun.policy.execution');

/** What wraps a call that can fail, hang or come too often. */
export interface Policy {
  /**
   * Wraps a function: `const get = policy(fetchPrice)`; or, as a TC39 decorator, a method: `@policy`. `this`,
   * arguments and types stay; the result is a promise.
   *
   * A caller that passes an `AbortSignal` as the last argument is let go as soon as it aborts, with its reason;
   * the function receives in its place the signal of the attempt, which aborts with that one too. Without one,
   * `currentSignal()` is that of the attempt.
   *
   * @throws {TypeError} when it is given something else than a function or a method.
   */
  <This, Args extends unknown[], Result>(
    fn: (this: This, ...args: Args) => Result | PromiseLike<Result>,
    context?: Pick<ClassMethodDecoratorContext, 'kind'>,
  ): (this: This, ...args: Args) => Promise<Result>;
  /** Calls `work` once under the policy, and hands it the attempt's signal. */
  run<Result>(
    work: (signal: AbortSignal) => Result | PromiseLike<Result>,
    options?: { readonly signal?: AbortSignal },
  ): Promise<Result>;
  /** @internal */
  readonly [execution]: Execution;
}

/** Options that every policy has. */
export interface PolicyOptions {
  /** Names its statistics: see `policyStatistics()`. Policies of one kind and name share them. */
  readonly name?: string;
  /** Measures its times. Default: that of the deadline or request around a call, else the real time. */
  readonly clock?: Clock;
}
