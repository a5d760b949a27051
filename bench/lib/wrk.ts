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

const script = join(mkdtempSync(join(tmpdir(), 'bosun-bench-')), 'report.lua');
writeFileSync(script, REPORT);

/** Loads a URL with wrk. An answer that is not 2xx or 3xx, or a broken connection, fails the run. */
export async function wrk(url: string, connections: number, seconds: number): Promise<Slice> {
  const args = ['-t1', `-c${connections}`, `-d${seconds}s`, '--timeout', '10s', '-s', script, url];
  const child = spawn('wrk', args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const exited = new Promise((resolve, reject) => child.once('error', reject).once('exit', resolve));
  let output = '';
  for await (const chunk of child.stdout) output += String(chunk);
  await exited;
  const match = /REPORT (.*)/.exec(output);
  if (match?.[1] === undefined) throw new Error(`wrk said nothing to be read:\n${output}`);
  const report = JSON.parse(match[1]) as {
    requests: number;
    micros: number;
    p99: number;
    bad: number;
    broken: number;
  };
  if (report.bad > 0 || report.broken > 0 || report.requests === 0) {
    throw new Error(
      `${url}: ${report.bad} answers were no 2xx, ${report.broken} connections broke:\n${output}`,
    );
  }
  return { requests: report.requests, seconds: report.micros / 1e6, p99Ms: report.p99 / 1e3 };
}
