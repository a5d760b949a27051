/** What a place holds in buffers. */
export interface BufferHolder {
  /** About how many buffers with memory of their own. */
  readonly buffers: number;
  /** What they take outside the heap. */
  externalBytes: number;
}

/**
 * Shares `bytes`, which all buffers take together, among those who hold them, given what they held before. Who holds
 * fewer buffers has given back as large a part of their memory; the rest goes to those who hold more, by how many more.
 * Returns what nobody is known to hold: nothing is shared twice, and nothing is lost.
 */
export function shareOut(
  holders: ReadonlyMap<string, BufferHolder>,
  before: ReadonlyMap<string, BufferHolder>,
  bytes: number,
): number {
  const shares = new Map<BufferHolder, number>();
  let [known, sum] = [0, 0];
  for (const [key, holder] of holders) {
    const { buffers, externalBytes } = before.get(key) ?? { buffers: 0, externalBytes: 0 };
    holder.externalBytes =
      holder.buffers < buffers ? externalBytes * (holder.buffers / buffers) : externalBytes;
    known += holder.externalBytes;
    if (holder.buffers <= buffers) continue;
    shares.set(holder, holder.buffers - buffers);
    sum += holder.buffers - buffers;
  }
  const left = bytes - known;
  if (left < 0) {
    for (const holder of holders.values()) holder.externalBytes *= bytes / known;
    return 0;
  }
  for (const [holder, share] of shares) holder.externalBytes += left * (share / sum);
  return sum > 0 ? 0 : left;
}
