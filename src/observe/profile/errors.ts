import { BosunError } from '../../errors.ts';

/** A process takes one profile at a time, and one service profiles it all the time. */
export class ProfilerBusyError extends BosunError {
  readonly code = 'ERR_PROFILER_BUSY';
}
