/** What the benchmark of the workers runs on them. */
export const trivial = (value: number) => value;

export function sum(to: number): number {
  let total = 0;
  for (let i = 0; i < to; i++) total += i * i;
  return total;
}
