/** Functions that the tests call on a worker thread. */
export const add = ({ a, b }) => a + b;
export const fail = () => {
  throw new Error('from the worker');
};
export const later = (value) => new Promise((resolve) => setTimeout(() => resolve(value), 20));
export const spin = () => {
  for (;;);
};
