/** The longest time between two turns of the event loop while something is done, in milliseconds. */
export async function longestTurn(work: () => Promise<void>): Promise<number> {
  let longest = 0;
  let last = performance.now();
  let over = false;
  const turns = (async () => {
    while (!over) {
      await new Promise((resolve) => setImmediate(resolve));
      const now = performance.now();
      longest = Math.max(longest, now - last);
      last = now;
    }
  })();
  await work();
  over = true;
  await turns;
  return longest;
}
