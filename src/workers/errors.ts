import { BosunError } from '../errors.ts';

/** The thread or process that ran a task ended under it: `process.exit()`, out of memory, an uncaught error. */
export class WorkerDiedError extends BosunError {
  readonly code = 'ERR_WORKER_DIED';
  /** What happened: `exit code 3`, `out of memory`, `SIGSEGV`, `an uncaught error: …`. */
  readonly reason: string;

  constructor(reason: string, options?: ErrorOptions) {
    super(`the worker died: ${reason}`, options);
    this.reason = reason;
  }
}

/** As many tasks as may wait for a worker do so already. */
export class WorkerQueueFullError extends BosunError {
  readonly code = 'ERR_WORKER_QUEUE_FULL';
  readonly maxQueued: number;

  constructor(maxQueued: number) {
    super(`all workers are busy, and ${maxQueued} tasks wait for one already (workers.maxQueued)`);
    this.maxQueued = maxQueued;
  }
}

/** The entrypoint has stopped its workers, or forces them to stop. */
export class WorkersStoppedError extends BosunError {
  readonly code = 'ERR_WORKERS_STOPPED';

  constructor() {
    super('the workers have been stopped');
  }
}

/** The `init` function of a module of tasks threw; the next task on that worker calls it again. */
export class WorkerInitError extends BosunError {
  readonly code = 'ERR_WORKER_INIT';

  constructor(module: string, cause: Error) {
    super(`the init() of ${module} failed: ${cause.message}`, { cause });
  }
}

/** The module of tasks exports no function of that name. */
export class NoSuchTaskError extends BosunError {
  readonly code = 'ERR_NO_SUCH_TASK';

  constructor(module: string, name: string) {
    super(`${module} exports no function "${name}"`);
  }
}

/** An argument, a result or an item cannot be copied to the other side: a function, a class instance with one. */
export class TaskDataError extends BosunError {
  readonly code = 'ERR_TASK_DATA';

  constructor(task: string, cause: Error) {
    super(`what ${task} was given, or gives, cannot be sent to another thread: ${cause.message}`, { cause });
  }
}

/** A `threaded` function was called outside of the services of an entrypoint, whose workers it needs. */
export class NoWorkersError extends BosunError {
  readonly code = 'ERR_NO_WORKERS';

  constructor(task: string) {
    super(`${task} was called outside of a service: there are no workers to run it`);
  }
}
