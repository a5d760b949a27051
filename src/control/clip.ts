import { formatBytes } from '../observe/memory/table.ts';

/** Enough to know an error by. */
const MAX_TEXT = 4 * 1_024;

/** A text that nobody has bounded, for those who keep and show many: its beginning, and how long all of it is. */
export function clip(text: string): string {
  if (text.length <= MAX_TEXT) return text;
  return `${text.slice(0, MAX_TEXT)}… (${formatBytes(Buffer.byteLength(text))})`;
}
