import {
  backoff,
  bulkhead,
  type CircuitBrokenError,
  type CircuitState,
  circuitBreaker,
  pipe,
  retry,
  select,
  shield,
  timeout,
} from '../../src/policy/index.ts';

const policy = timeout(1_000);

// Wrapping keeps arguments and result; the result is a promise of it.
const price = policy(async (article: string, currency?: 'EUR' | 'USD') => ({ article, currency, cents: 1 }));
export const priced: Promise<{ article: string; currency: 'EUR' | 'USD' | undefined; cents: number }> =
  price('tea');
void price('tea', 'EUR');
// @ts-expect-error an argument is missing
void price();
// @ts-expect-error of the wrong type
void price(1);
// @ts-expect-error one too many
void price('tea', 'EUR', 3);

// A function that does not wait is given a promise; one that may do either, too.
export const sync: () => Promise<number> = policy(() => 1);
export const either: (now: boolean) => Promise<string> = policy((now: boolean): string | Promise<string> =>
  now ? 'x' : Promise.resolve('x'),
);
export const nothing: () => Promise<void> = policy(async () => {});

// Rest arguments, an AbortSignal at the end, readonly tuples.
export const rest: (...parts: string[]) => Promise<string> = policy(async (...parts: string[]) =>
  parts.join(),
);
export const abortable: (id: number, signal?: AbortSignal) => Promise<number> = policy(
  async (id: number, _signal?: AbortSignal) => id,
);

// `this` is kept.
const counter = {
  base: 1,
  add: policy(async function (this: { base: number }, n: number) {
    return this.base + n;
  }),
};
void counter.add(1);
const { add } = counter;
// @ts-expect-error it needs its `this`
void add(1);

// Generic functions stay generic.
const identity = policy(async <Value>(value: Value): Promise<Value> => value);
export const literal: Promise<'x'> = identity<'x'>('x');
export const numbers: Promise<number[]> = identity([1]);
const first = pipe(
  retry({ maxTries: 2 }),
  policy,
)(async <Item extends { id: string }>(items: readonly Item[]): Promise<Item | undefined> => items[0]);
export const kept: Promise<{ id: string; name: string } | undefined> = first([{ id: 'a', name: 'b' }]);
// @ts-expect-error not of the type that it asks for
void first([{ name: 'b' }]);

// Every kind is a policy, and piped ones are.
export const all = pipe(
  backoff({ attemptTimeoutMs: 1, retryOn: [TypeError, RangeError] }),
  retry({ maxTries: 2, retryOn: (error) => error instanceof Error }),
  circuitBreaker(),
  bulkhead({ maxConcurrent: 1 }),
  shield(),
  pipe(policy),
)((n: number) => n) satisfies (n: number) => Promise<number>;
// @ts-expect-error there has to be one
pipe();
// @ts-expect-error not a policy, but what makes one
pipe(timeout);
// @ts-expect-error not a function
policy(1);

// run
export const ran: Promise<string> = policy.run((signal) => String(signal.aborted));
void policy.run(async () => 1, { signal: new AbortController().signal });
// @ts-expect-error `work` receives the signal alone
void policy.run((signal: AbortSignal, more: number) => [signal, more]);

// As a decorator of methods: `this` and types are checked.
class Shop {
  readonly #prices = new Map<string, number>();

  @policy
  async price(article: string): Promise<number | undefined> {
    return this.#prices.get(article);
  }

  @backoff({ deadlineMs: 5_000 })
  @timeout(100)
  async each<Item>(items: readonly Item[], _signal?: AbortSignal): Promise<Item[]> {
    return [...items];
  }

  @policy
  static async open(): Promise<Shop> {
    return new Shop();
  }

  @policy
  protected async hidden(this: Shop, n: number): Promise<string> {
    return `${this.#prices.size}${n}`;
  }

  // @ts-expect-error a method that does not return a promise cannot begin to
  @policy
  count(): number {
    return this.#prices.size;
  }

  // @ts-expect-error nothing but methods
  @policy
  get size(): number {
    return this.#prices.size;
  }

  // @ts-expect-error nothing but methods
  @policy
  readonly field = 1;

  use() {
    return this.hidden(1);
  }
}
// @ts-expect-error nothing but methods
@policy
class Decorated {}
export const decorated = [
  new Shop().price('tea') satisfies Promise<number | undefined>,
  new Shop().each([1]) satisfies Promise<number[]>,
  Shop.open() satisfies Promise<Shop>,
  Decorated,
];

// Options
// @ts-expect-error unknown
backoff({ attempTimeoutMs: 1 });
// @ts-expect-error no time limits for retry
retry({ maxTries: 1, deadlineMs: 1 });
// @ts-expect-error required
retry({});
// @ts-expect-error required
bulkhead({});
// @ts-expect-error instances rather than classes
backoff({ retryOn: [new Error()] });
// @ts-expect-error unknown strategy
backoff({ strategy: 'linear' });
// @ts-expect-error read only
circuitBreaker().state = { status: 'passing', since: 0 };

// States carry their own fields only.
export function until(state: CircuitState): number {
  if (state.status === 'broken') return state.until;
  // @ts-expect-error only a broken one has it
  return state.until;
}
export const when = (error: CircuitBrokenError): number => error.retryAfterMs;

// select tells its results apart by their keys.
const selected = await select({
  message: async () => 'text',
  tick: (signal) => signal.aborted,
});
export const shown: string =
  selected.key === 'message' ? selected.value : String(selected.value satisfies boolean);
// @ts-expect-error there is no such key
export const wrong = selected.key === 'tock';
