import type { Frame } from '../observe/reports.ts';
import { plain } from './output.ts';

/** `spin (/app/api.ts:12:5)` */
export function frameText({ name, file, line, column }: Frame): string {
  const place = line === 0 ? file : `${file}:${line}:${column}`;
  const shown = name || '(anonymous)';
  return plain(place === '' ? shown : `${shown} (${place})`);
}
