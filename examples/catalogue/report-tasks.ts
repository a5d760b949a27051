/** CPU-bound on purpose: 0² + 1² + … of the numbers below `n`, as decimal digits: it exceeds 2⁵³ soon. */
export function sumOfSquares(n: number): string {
  let sum = 0n;
  // Fifty squares of numbers up to 10⁷ are below 2⁵³, so that their sum is exact.
  for (let from = 0; from < n; from += 50) {
    let part = 0;
    for (let i = from; i < Math.min(n, from + 50); i++) part += i * i;
    sum += BigInt(part);
  }
  return String(sum);
}
