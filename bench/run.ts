import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** Runs the benchmarks named, or all, one after the other: nothing else may load the machine. */
const all = [
  'http',
  'reads',
  'json',
  'tcp',
  'udp',
  'websocket',
  'lifecycle',
  'logging',
  'startup',
  'policy',
  'workers',
  'profiler',
  'metrics',
  'observe',
  'control',
  'memory',
  'soak',
];
const wanted = process.argv.length > 2 ? process.argv.slice(2) : all;

for (const name of wanted) {
  const script = fileURLToPath(new URL(`./${name}.ts`, import.meta.url));
  const args = ['--conditions=bosun-source', '--expose-gc', script];
  const child = spawn(process.execPath, args, { stdio: 'inherit' });
  const code = await new Promise((resolve) => child.once('exit', resolve));
  if (code !== 0) {
    process.stderr.write(`bench ${name} failed with exit code ${code}\n`);
    process.exitCode = 1;
  }
}
