import { z } from 'zod';
import type { Clock } from '../clock.ts';
import { limitMs } from '../options.ts';

/** The type of an option that is a function. */
export const callable = <Type>(): z.ZodType<Type, Type> =>
  z.custom<Type>((value) => typeof value === 'function', 'must be a function');

/** A time over which something is counted. */
export const windowMs = () => limitMs().refine(Number.isFinite, 'must be finite');

export const abortSignal = (): z.ZodType<AbortSignal, AbortSignal> =>
  z.custom<AbortSignal>((value) => value instanceof AbortSignal, 'must be an AbortSignal');

const isClock = (value: unknown) =>
  typeof (value as Partial<Clock> | null | undefined)?.now === 'function' &&
  typeof (value as Partial<Clock>).setTimer === 'function';

/** The options that every policy has. */
export const policyShape = {
  name: z.string().min(1).optional(),
  clock: z.custom<Clock>(isClock, 'must be a Clock').optional(),
};
