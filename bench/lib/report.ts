import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';

/** What the figures were taken on. */
export function machine(): string {
  const [cpu] = cpus();
  const memory = Math.round(totalmem() / 2 ** 30);
  const load = execFileSync('cat', ['/proc/loadavg'], { encoding: 'utf8' }).split(' ')[0];
  return `${cpus().length} × ${cpu?.model ?? 'unknown processor'}, ${memory} GiB, Linux ${release()}, Node ${process.version}, load before ${load}; ${new Date().toISOString().slice(0, 10)}`;
}

/** Writes a result to `bench/results/<name>.md`, and to stdout. */
export function report(name: string, title: string, sections: readonly string[]): void {
  const text = `# ${title}\n\n${sections.join('\n\n')}\n`;
  writeFileSync(new URL(`../results/${name}.md`, import.meta.url), text);
  process.stdout.write(`${text}\n`);
}
