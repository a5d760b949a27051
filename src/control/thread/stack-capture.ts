import { Session } from 'node:inspector';
import type { Glimpse } from '../stack-probe.ts';

/**
 * Asks the main thread for its stack by way of the inspector, which answers in the middle of JavaScript, and for
 * native code as soon as that has come back. Nothing is paused and no debugger enabled, so there is nothing to
 * resume, whatever happens meanwhile; and a debugger that is attached is not disturbed.
 *
 * @returns `undefined` when nothing was to be seen: the loop turns again, or there is no inspector.
 */
export function captureStack(expression: string): Promise<Glimpse | undefined> {
  return new Promise((resolve) => {
    const session = new Session();
    try {
      session.connectToMainThread();
    } catch {
      // Node's permission model may forbid it.
      resolve(undefined);
      return;
    }
    session.post('Runtime.evaluate', { expression, returnByValue: true, silent: true }, (error, answer) => {
      session.disconnect();
      // It throws where there is no room left on the stack.
      const seen = error === null && answer.exceptionDetails === undefined;
      resolve(seen ? (answer.result.value as Glimpse | undefined) : undefined);
    });
  });
}
