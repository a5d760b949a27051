import { type Clock, systemClock } from '../clock.ts';
import { WorkerQueueFullError, WorkersStoppedError } from './errors.ts';
import { RemoteStream } from './stream.ts';
import { Task, type TaskParts } from './task.ts';
import { pack, unpack } from './thrown.ts';
import type { StreamStep, ToWorker } from './wire.ts';
import type { WorkerStatistics } from './workers.ts';

/** How long an aborted task may take to end by itself before its worker is ended. */
const ABORT_GRACE_MS = 100;

/** What runs tasks: threads, or processes. @internal */
export interface Backend {
  /** Workers that there are. */
  readonly size: number;
  /** Workers that ended by themselves. */
  readonly deaths: number;
  /**
   * Runs a task on a free worker, or a new one. Rejects with an `Error` when the worker could not run it or died,
   * else with what it threw, packed.
   */
  run(task: Task): Promise<unknown>;
  /** Tells the worker of a task that runs. */
  tell(message: ToWorker): void;
  /** Ends the worker of a task that runs. */
  kill(task: Task): void;
  /** Ends all workers. */
  close(): Promise<void>;
}

/** @internal */
export interface QueueOptions {
  /** Tasks that run at a time. */
  readonly limit: number;
  readonly maxQueued: number;
  readonly clock: Clock;
}

/** Lets tasks wait for a worker, and follows them until they have ended. @internal */
export class TaskQueue {
  readonly #options: QueueOptions;
  readonly #backend: Backend;
  readonly #queued = new Set<Task>();
  readonly #running = new Map<number, Task>();
  /** Those that have been opened and have not ended; the last items may come after their task has ended. */
  readonly #streams = new Map<number, RemoteStream>();
  readonly #idle = Promise.withResolvers<void>();
  #closed = false;
  #done = 0;
  #failed = 0;
  #aborted = 0;
  #waitMs = 0;
  #runMs = 0;

  constructor(options: QueueOptions, backend: (onStep: (step: StreamStep) => void) => Backend) {
    this.#options = options;
    this.#backend = backend((step) => this.#onStep(step));
  }

  get statistics(): WorkerStatistics {
    return {
      workers: this.#backend.size,
      busy: this.#running.size,
      queued: this.#queued.size,
      done: this.#done,
      failed: this.#failed,
      aborted: this.#aborted,
      deaths: this.#backend.deaths,
      waitMs: this.#waitMs,
      runMs: this.#runMs,
    };
  }

  /** The task's result, or the items that it gives. */
  submit(parts: TaskParts): Promise<unknown> {
    const { limit, maxQueued, clock } = this.#options;
    if (this.#closed) return Promise.reject(new WorkersStoppedError());
    const task = new Task(parts, clock.now());
    const free = this.#running.size < limit;
    if (!free && this.#queued.size >= maxQueued) return Promise.reject(new WorkerQueueFullError(maxQueued));
    this.#queued.add(task);
    task.follow((reason) => this.#abort(task, reason));
    if (free && !task.aborted) this.#next();
    return task.answer;
  }

  /** Waits for the tasks, until `force` aborts; then ends the workers. */
  async close(force: AbortSignal): Promise<void> {
    this.#closed = true;
    if (this.#running.size === 0) this.#idle.resolve();
    const onForce = () => {
      for (const task of [...this.#queued, ...this.#running.values()]) {
        task.close();
        this.#queued.delete(task);
        task.abort(new WorkersStoppedError());
      }
      this.#idle.resolve();
    };
    if (force.aborted) onForce();
    else force.addEventListener('abort', onForce);
    await this.#idle.promise;
    force.removeEventListener('abort', onForce);
    await this.#backend.close();
  }

  #next(): void {
    const [task] = this.#queued;
    if (task === undefined) {
      if (this.#closed && this.#running.size === 0) this.#idle.resolve();
      return;
    }
    this.#queued.delete(task);
    this.#running.set(task.id, task);
    const now = this.#options.clock.now();
    this.#waitMs += now - task.since;
    task.since = now;
    this.#backend.run(task).then(
      (result) => {
        if (!task.aborted) {
          this.#done += 1;
          task.succeed(result);
        }
        this.#ended(task);
      },
      (error) => {
        if (!task.aborted) this.#fail(task, error);
        this.#ended(task);
      },
    );
  }

  #fail(task: Task, error: unknown): void {
    this.#failed += 1;
    if (error instanceof Error) {
      this.#streams.delete(task.id);
      task.fail(error);
    } else if (task.stream === undefined) {
      task.fail(unpack(error as never));
    }
    // The error of a stream comes in its turn, after its last item.
  }

  #ended(task: Task): void {
    task.close();
    task.grace?.cancel();
    this.#running.delete(task.id);
    this.#runMs += this.#options.clock.now() - task.since;
    this.#next();
  }

  #abort(task: Task, reason: unknown): void {
    this.#aborted += 1;
    task.close();
    task.abort(reason);
    if (this.#queued.delete(task)) return;
    this.#streams.delete(task.id);
    this.#backend.tell({ kind: 'abort', task: task.id, reason: pack(reason) });
    // The worker runs in real time.
    task.grace = systemClock.setTimer(() => this.#backend.kill(task), ABORT_GRACE_MS).unref();
  }

  #onStep(step: StreamStep): void {
    if (step.kind === 'open') {
      const task = this.#running.get(step.task);
      if (task === undefined || task.aborted) return;
      const stream = new RemoteStream(task.id, (message) => this.#backend.tell(message));
      this.#streams.set(task.id, stream);
      task.open(stream);
      return;
    }
    const stream = this.#streams.get(step.task);
    if (stream === undefined) return;
    if (step.kind === 'item') {
      stream.push(step.value);
      return;
    }
    this.#streams.delete(step.task);
    stream.finish(step.kind === 'end' ? 'done' : { error: unpack(step.error) });
  }
}
