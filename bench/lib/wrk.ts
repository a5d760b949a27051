import { spawn } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Slice } from './rounds.ts';

/** Prints what wrk has counted as one line of JSON. */
const REPORT = `
done = function(summary, latency)
  local e = summary.errors
  io.write(string.format(
    '\\nREPORT {"requests":%d,"micros":%d,"p99":%d,"bad":%d,"broken":%d}\\n',
    summary.requests, summary.duration, latency:percentile(99), e.status, e.connect + e.read + e.write + e.timeout))
end
`;

const folder = mkdtempSync(join(tmpdir(), 'bosun-bench-'));

function script(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

const report = script('report.lua', REPORT);

/** For `wrk`: each request is for the URL with a number from 1 to `count` at its end. */
export const randomIds = (count: number): string =>
  script(
    `ids-${count}.lua`,
    `request = function() return wrk.format(nil, wrk.path .. math.random(${count})) end\n${REPORT}`,
  );

/** For `wrk`: each connection asks so often. */
export const paced = (everyMs: number): string =>
  script(`paced-${everyMs}.lua`, `delay = function() return ${everyMs} end\n${REPORT}`);

/**
 * Loads a URL with wrk, until the time is over or the signal aborts. An answer that is not 2xx or 3xx, or a broken
 * connection, fails the run.
 */
export async function wrk(
  url: string,
  connections: number,
  seconds: number,
  script = report,
  signal?: AbortSignal,
): Promise<Slice> {
  const args = ['-t1', `-c${connections}`, `-d${seconds}s`, '--timeout', '10s', '-s', script, url];
  const child = spawn('wrk', args, { stdio: ['ignore', 'pipe', 'inherit'] });
  // It ends, and tells what it has counted.
  signal?.addEventListener('abort', () => child.kill('SIGINT'), { once: true });
  const exited = new Promise((resolve, reject) => child.once('error', reject).once('exit', resolve));
  let output = '';
  for await (const chunk of child.stdout) output += String(chunk);
  await exited;
  const match = /REPORT (.*)/.exec(output);
  if (match?.[1] === undefined) throw new Error(`wrk said nothing to be read:\n${output}`);
  const counted = JSON.parse(match[1]) as {
    requests: number;
    micros: number;
    p99: number;
    bad: number;
    broken: number;
  };
  if (counted.bad > 0 || counted.broken > 0 || counted.requests === 0) {
    throw new Error(
      `${url}: ${counted.bad} answers were no 2xx, ${counted.broken} connections broke:\n${output}`,
    );
  }
  return { requests: counted.requests, seconds: counted.micros / 1e6, p99Ms: counted.p99 / 1e3 };
}
