/** Work that never ends. */
export const never = () => new Promise<never>(() => {});

/** What a promise is rejected with. */
export const caught = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    (value) => {
      throw new Error(`resolved with ${String(value)}`);
    },
    (error: unknown) => error,
  );
