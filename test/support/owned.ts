import type { ChildProcess } from 'node:child_process';
import { onTestFinished, TestRunner } from 'vitest';

const living = new Set<ChildProcess>();

process.on('exit', () => {
  for (const child of living) child.kill('SIGKILL');
});

/**
 * A process that does not outlive the test that has started it, also when that runs out of time in the middle of a
 * block, where `await using` does nothing; outside of a test, not those who run the tests.
 */
export function owned<Child extends ChildProcess>(child: Child): Child {
  living.add(child);
  child.once('exit', () => living.delete(child));
  if (TestRunner.getCurrentTest() !== undefined) onTestFinished(() => void child.kill('SIGKILL'));
  return child;
}
