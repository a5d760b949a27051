/** What a task on a worker thread is given. */
export interface WorkerTaskOptions {
  /** Aborts the task: one that waits is dropped, one that runs ends with its thread. */
  readonly signal?: AbortSignal | undefined;
  /** Buffers and ports that move to the worker instead of being copied. */
  readonly transfer?: readonly import('node:worker_threads').Transferable[];
}

/** Worker threads for blocking and CPU-bound work. They are started on first use. */
export interface Workers {
  /**
   * Calls the exported function `name` of the module `url` with `argument` on a worker thread and gives its
   * result. Arguments and results are copied by the structured-clone algorithm.
   *
   * @throws `signal.reason` when the signal aborts; whatever the function throws.
   */
  run<Result = unknown>(
    url: URL | string,
    name: string,
    argument?: unknown,
    options?: WorkerTaskOptions,
  ): Promise<Result>;
}
