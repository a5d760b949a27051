import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { counter, gauge, type Metric } from '../../metrics.ts';

const { version } = createRequire(import.meta.url)('bosun/package.json') as { readonly version: string };
const startedAt = Date.now() / 1_000 - process.uptime();
const maxFds = process.platform === 'linux' ? readMaxFds() : undefined;

/**
 * What any thread can tell of the process; names and meaning are those of prom-client's default metrics and of
 * https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics.
 */
export function processMetrics(): Metric[] {
  const { user, system } = process.cpuUsage();
  const metrics = [
    counter('process_cpu_seconds_total', 'User and system CPU time of the process.', (user + system) / 1e6),
    counter('process_cpu_user_seconds_total', 'User CPU time of the process.', user / 1e6),
    counter('process_cpu_system_seconds_total', 'System CPU time of the process.', system / 1e6),
    gauge('bosun_build_info', 'The versions of Bosun and Node.js.', [
      { labels: { version, node: process.versions.node }, value: 1 },
    ]),
    gauge('process_start_time_seconds', 'When the process began, since the epoch.', startedAt),
    gauge('process_resident_memory_bytes', 'Resident memory of the process.', process.memoryUsage.rss()),
  ];
  if (process.platform === 'linux') {
    // One of them is the directory's own.
    metrics.push(
      gauge('process_open_fds', 'Open file descriptors.', readdirSync('/proc/self/fd').length - 1),
    );
  }
  if (maxFds !== undefined) metrics.push(gauge('process_max_fds', 'How many there may be.', maxFds));
  return metrics;
}

/** As it was when the thread began: Node has raised it as far as it may by then. */
function readMaxFds(): number | undefined {
  const [, limit] = /^Max open files +(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8')) ?? [];
  return limit === undefined ? undefined : Number(limit);
}
