#!/usr/bin/env node
// Nothing is imported before this check: an older Node could not parse what comes.
const needed = 24;
if (Number.parseInt(process.versions.node, 10) < needed) {
  process.stderr.write(
    `bosun: Node.js >= ${needed} is needed; this is ${process.versions.node} (${process.execPath})\n`,
  );
  process.exitCode = 1;
} else {
  // What is imported from here on is compiled once, not at every start; where no cache can be kept, it is not.
  const { enableCompileCache } = await import('node:module');
  enableCompileCache();
  const { main } = await import('./program.ts');
  await main(process.argv);
}

export {};
