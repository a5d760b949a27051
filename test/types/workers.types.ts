import type { Tasks } from '../../src/workers/workers.ts';

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const equal = <A, B>(_same: Equal<A, B>) => {};

interface Module {
  readonly version: number;
  readonly Class: new () => object;
  init(): Promise<void>;
  add(a: number, ...more: number[]): number;
  later(text?: string): Promise<string>;
  either(): number | string;
  count(to: number): Generator<number, string>;
  countAsync(): AsyncGenerator<Date>;
  counter(): Promise<Generator<number>>;
  // biome-ignore lint/suspicious/noExplicitAny: what the test is about
  any(): any;
  never(): never;
  nothing(): void;
}

declare const tasks: Tasks<Module>;
const { add } = tasks;
equal<ReturnType<typeof add>, Promise<number>>(true);
equal<Parameters<typeof add>, [a: number, ...more: number[]]>(true);
equal<ReturnType<typeof tasks.later>, Promise<string>>(true);
equal<ReturnType<typeof tasks.either>, Promise<number | string>>(true);
equal<ReturnType<typeof tasks.count>, AsyncIterable<number>>(true);
equal<ReturnType<typeof tasks.countAsync>, AsyncIterable<Date>>(true);
equal<ReturnType<typeof tasks.counter>, Promise<AsyncIterable<number>>>(true);
// biome-ignore lint/suspicious/noExplicitAny: what the test is about
equal<ReturnType<typeof tasks.any>, Promise<any>>(true);
equal<ReturnType<typeof tasks.never>, Promise<never>>(true);
equal<ReturnType<typeof tasks.nothing>, Promise<void>>(true);

const { signal } = new AbortController();
equal<ReturnType<ReturnType<typeof tasks.with>['later']>, Promise<string>>(true);
void tasks.with({ signal }).add(1, 2);

// @ts-expect-error no function
tasks.version;
// @ts-expect-error a class is constructed, not called
tasks.Class;
// @ts-expect-error called by the workers alone
tasks.init;
// @ts-expect-error wrong argument
void tasks.add('1');
// @ts-expect-error unknown option
tasks.with({ timeout: 1 });
