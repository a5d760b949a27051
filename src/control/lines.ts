import { levelNumber } from '../logging/levels.ts';
import { clip } from './clip.ts';

/** What a line may be long, in characters. */
const MAX_LINE = 64 * 1_024;

/** Stands where lines of the log were left out. */
export const missingLine = (count: number, why: string): string =>
  JSON.stringify({
    level: levelNumber('warn'),
    time: Date.now(),
    msg: `${count} lines are missing here: ${why}`,
  });

/** A line that is too long to be passed on becomes what it says in short; the daemon's own log has all of it. */
export function boundedLine(line: string): string {
  if (line.length <= MAX_LINE) return line;
  const { level, time, service, msg } = fieldsOf(line);
  const clippedBytes = Buffer.byteLength(line);
  return JSON.stringify({
    level,
    time,
    ...(typeof service === 'string' && { service: clip(service) }),
    msg: clip(String(msg)),
    clippedBytes,
  });
}

/** A formatter of the daemon's author may have made it something else than an object. */
function fieldsOf(line: string): Readonly<Record<string, unknown>> {
  const plain = { level: levelNumber('info'), time: Date.now() };
  try {
    const fields: unknown = JSON.parse(line);
    if (typeof fields === 'object') return { ...plain, msg: '', ...fields };
  } catch {}
  return { ...plain, msg: line };
}
