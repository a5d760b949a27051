import { toError } from './errors.ts';
import { runOf } from './supervisor/run.ts';

/** Signals that ask the daemon to stop. */
export type StopSignal = 'SIGINT' | 'SIGTERM';

/** Who is told of what happens to the process. */
export interface ProcessOwner {
  onStopSignal(signal: StopSignal): void;
  onReloadSignal(): void;
  onStrayError(kind: 'unhandledRejection' | 'uncaughtException', error: Error): void;
}

const owners = new Set<ProcessOwner>();

const onStopSignal = (signal: NodeJS.Signals) => {
  for (const owner of [...owners]) owner.onStopSignal(signal as StopSignal);
};

const onReloadSignal = () => {
  for (const owner of [...owners]) owner.onReloadSignal();
};

/** A stray error goes to the service that caused it; one that belongs to nobody goes to every owner. */
const stray = (kind: 'unhandledRejection' | 'uncaughtException') => (thrown: unknown) => {
  const error = toError(thrown);
  const run = runOf();
  if (run !== undefined) run.stray(error);
  else for (const owner of [...owners]) owner.onStrayError(kind, error);
};

const onRejection = stray('unhandledRejection');
const onException = stray('uncaughtException');

/**
 * Takes the process's signals and stray errors for an owner, as long as it holds the result. The handlers are
 * installed once, however many owners there are.
 */
export function ownProcess(owner: ProcessOwner): Disposable {
  if (owners.size === 0) {
    process.on('SIGINT', onStopSignal);
    process.on('SIGTERM', onStopSignal);
    process.on('SIGHUP', onReloadSignal);
    process.on('unhandledRejection', onRejection);
    process.on('uncaughtException', onException);
  }
  owners.add(owner);
  return {
    [Symbol.dispose]() {
      if (!owners.delete(owner) || owners.size > 0) return;
      process.off('SIGINT', onStopSignal);
      process.off('SIGTERM', onStopSignal);
      process.off('SIGHUP', onReloadSignal);
      process.off('unhandledRejection', onRejection);
      process.off('uncaughtException', onException);
    },
  };
}
