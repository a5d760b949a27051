import { BosunError } from '../errors.ts';
import type { HeapSnapshots } from '../observe/memory/heap-snapshot.ts';
import type { Scope } from '../service.ts';
import { hostOf } from '../supervisor/run.ts';
import type { MainMethods } from './protocol.ts';

/** A service cannot be restarted by what itself serves. */
export class OwnRestartError extends BosunError {
  readonly code = 'ERR_OWN_RESTART';
}

/** For whom the operations are done. */
export interface OperationsOptions {
  /** The service that offers them. */
  readonly service: string;
  readonly scope: Scope;
  /** `undefined`: a folder of its own below the system's for temporary files, for its user alone. */
  readonly snapshotDir: string | undefined;
}

/** What the control plane's server has the main thread do. */
export function operations({
  service,
  scope,
  snapshotDir,
}: OperationsOptions): Pick<MainMethods, 'restart' | 'reload' | 'profile' | 'heapPlan' | 'heapSnapshot'> {
  const { control, clock, emit } = hostOf(scope);
  const { log } = scope;
  let snapshots: HeapSnapshots | undefined;
  const heapSnapshots = async () => {
    const { HeapSnapshots } = await import('../observe/memory/heap-snapshot.ts');
    if (snapshots === undefined) {
      const made = new HeapSnapshots({ dir: snapshotDir, clock, log });
      scope.defer(() => made[Symbol.asyncDispose]());
      snapshots = made;
    }
    return snapshots;
  };
  return {
    async restart(name) {
      if (name === service) {
        throw new OwnRestartError(`"${service}" serves this request: it cannot be restarted by it`);
      }
      await control.restart(name);
    },
    reload: () => control.reload(),
    async profile({ seconds, hertz, format }, signal) {
      const { takeProfile } = await import('../observe/profile/index.ts');
      const profile = await takeProfile({ seconds, hertz, signal });
      const report = { ...(await profile.report()), files: [] };
      emit({ type: 'profile-taken', report });
      return format === 'report' ? report : await profile.encode(format);
    },
    async heapPlan() {
      return await (await heapSnapshots()).plan();
    },
    async heapSnapshot(_argument, signal) {
      const taking = await heapSnapshots();
      const { refusal } = await taking.plan();
      if (refusal !== null) return refusal;
      const taken = await taking.take(signal);
      emit({ type: 'heap-snapshot-taken', ...taken });
      return taken;
    },
  };
}
