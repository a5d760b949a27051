/**
 * The values of a query, with arrays of numbers written as PostgreSQL reads them: `{1,2}`. pg would quote and escape
 * each element, which finite numbers do not need, and which is a fifth of the work of finding a hundred rows by their ids.
 */
export function withNumberArrays<Values extends readonly unknown[] | undefined>(
  values: Values,
): Values | unknown[] {
  // What is no array is pg's to refuse.
  if (!Array.isArray(values) || !values.some(isNumberArray)) return values;
  return values.map((value) => (isNumberArray(value) ? `{${JSON.stringify(value).slice(1, -1)}}` : value));
}

function isNumberArray(value: unknown): value is readonly number[] {
  if (!Array.isArray(value)) return false;
  // Not `every`, which passes over holes.
  for (const item of value) if (!Number.isFinite(item)) return false;
  return true;
}
