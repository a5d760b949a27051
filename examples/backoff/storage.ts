import { currentSignal } from 'bosun';
import { request } from 'undici';

/** The storage has no answer but may have one later. */
export class StorageError extends Error {}

/** What each of the four ways to call it does with: a GET, which fails as the URL says. */
export async function read(url: string): Promise<string> {
  const { statusCode, body } = await request(url, { signal: currentSignal() });
  const text = await body.text();
  if (statusCode >= 500) throw new StorageError(`the storage says ${statusCode}`);
  return text;
}

/** Calls each of the four, and prints what came of it as a line of JSON. */
export async function showAll(
  calls: Readonly<Record<string, (url: string) => Promise<string>>>,
  base: string,
): Promise<void> {
  for (const [name, call] of Object.entries(calls)) {
    const outcome = await call(`${base}/${name}`).catch((error: Error & { code?: string }) => {
      return `${error.name} ${error.code ?? error.message}`;
    });
    process.stdout.write(`${JSON.stringify({ name, outcome })}\n`);
  }
}
