#!/usr/bin/env node
// Nothing is imported before this check: an older Node could not parse what comes.
const needed = 24;
if (Number.parseInt(process.versions.node, 10) < needed) {
  process.stderr.write(
    `bosun: Node.js >= ${needed} is needed; this is ${process.versions.node} (${process.execPath})\n`,
  );
  process.exitCode = 1;
} else {
  const { main } = await import('./program.ts');
  await main(process.argv);
}

export {};
