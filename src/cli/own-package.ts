import { readFileSync } from 'node:fs';

/** What this package's manifest says of itself. */
export function ownPackage(): { readonly version: string; readonly dependencies: { readonly zod: string } } {
  return JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
}
