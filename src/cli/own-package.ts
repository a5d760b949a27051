import { createRequire } from 'node:module';

/** What this package's manifest says of itself. */
export function ownPackage(): { readonly version: string; readonly dependencies: { readonly zod: string } } {
  return createRequire(import.meta.url)('bosun/package.json');
}
