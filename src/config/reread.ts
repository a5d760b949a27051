import { isScalar, parseDocument } from 'yaml';

/** The number, boolean or null that a text is in YAML; `undefined` when it is but a text. */
export function rereadScalar(text: string): number | boolean | null | undefined {
  const { contents, errors } = parseDocument(text, { prettyErrors: false });
  if (errors.length > 0) return undefined;
  const value = isScalar(contents) ? contents.value : contents;
  return typeof value === 'number' || typeof value === 'boolean' || value === null ? value : undefined;
}
