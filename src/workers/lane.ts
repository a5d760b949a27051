import { type Clock, systemClock } from '../clock.ts';
import { WorkerQueueFullError, WorkersStoppedError } from './errors.ts';
import { List } from './list.ts';
import { RemoteStream } from './stream.ts';
import { Task, type TaskParts } from './task.ts';
import { pack, unpack } from './thrown.ts';
import type { FromWorker, LogLine, StreamStep, ToWorker } from './wire.ts';
import type { WorkerStatistics } from './workers.ts';

/** How long an aborted task may take to end by itself before its worker is ended. */
const ABORT_GRACE_MS = 100;

/** What a backend tells. @internal */
export interface BackendListener {
  /** A worker has been handed the task. */
  onBegin(task: Task): void;
  onMessage(message: FromWorker): void;
}

/** What runs tasks: threads, or processes. @internal */
export interface Backend {
  /** Workers that there are. */
  readonly size: number;
  /** Workers that ended by themselves. */
  readonly deaths: number;
  /**
   * Runs a task as soon as a worker is free. Rejects with what it threw, packed, or with an `Error` when the
   * worker could not run it or died.
   */
  run(task: Task): Promise<unknown>;
  /** Takes back a task that has not begun; its `run` never settles. */
  drop(task: Task): void;
  /** That `Error` for people. */
  explain(error: Error, task: Task): Error;
  /** Tells the worker of a task that has begun. */
  tell(task: Task, message: ToWorker): void;
  /** Ends the worker of a task that has begun. */
  kill(task: Task): void;
  /** Ends all workers. */
  close(): Promise<void>;
}

/** @internal */
export interface LaneOptions {
  /** Tasks that run at a time. */
  readonly limit: number;
  readonly maxQueued: number;
  readonly clock: Clock;
  readonly onLine: (line: LogLine) => void;
}

/** Follows the tasks of one kind of workers from their call to their end. @internal */
export class Lane implements BackendListener {
  readonly #options: LaneOptions;
  readonly #backend: Backend;
  /** Those that wait or run. */
  readonly #tasks = new List<Task>();
  /** Those that have been opened and have not ended; the last items may come after their task has ended. */
  readonly #streams = new Map<number, RemoteStream>();
  readonly #idle = Promise.withResolvers<void>();
  #closed = false;
  #busy = 0;
  #done = 0;
  #failed = 0;
  #aborted = 0;
  #waitMs = 0;
  #runMs = 0;

  constructor(options: LaneOptions, backend: (listener: BackendListener) => Backend) {
    this.#options = options;
    this.#backend = backend(this);
  }

  get statistics(): WorkerStatistics {
    return {
      workers: this.#backend.size,
      busy: this.#busy,
      queued: this.#tasks.size - this.#busy,
      done: this.#done,
      failed: this.#failed,
      aborted: this.#aborted,
      deaths: this.#backend.deaths,
      waitMs: this.#waitMs,
      runMs: this.#runMs,
    };
  }

  /** The task's result, or its `RemoteStream`. */
  submit(parts: TaskParts): Promise<unknown> {
    const { limit, maxQueued, clock } = this.#options;
    if (this.#closed) return Promise.reject(new WorkersStoppedError());
    if (this.#tasks.size >= limit + maxQueued) return Promise.reject(new WorkerQueueFullError(maxQueued));
    const task = new Task(parts, clock.now());
    task.follow((reason) => this.#abort(task, reason));
    if (!task.aborted) {
      task.place = this.#tasks.push(task);
      this.#backend.run(task).then(
        (result) => this.#onResult(task, result),
        (error) => this.#onError(task, error),
      );
    }
    return task.answer;
  }

  /** Waits for the tasks, until `force` aborts; then ends the workers. */
  async close(force: AbortSignal): Promise<void> {
    this.#closed = true;
    if (this.#tasks.size === 0) this.#idle.resolve();
    const onForce = () => {
      for (const task of this.#tasks) {
        task.close();
        task.abort(new WorkersStoppedError());
        if (!task.begun) this.#backend.drop(task);
      }
      this.#idle.resolve();
    };
    if (force.aborted) onForce();
    else force.addEventListener('abort', onForce);
    await this.#idle.promise;
    force.removeEventListener('abort', onForce);
    await this.#backend.close();
  }

  onBegin(task: Task): void {
    const now = this.#options.clock.now();
    this.#busy += 1;
    this.#waitMs += now - task.since;
    task.begin(now);
  }

  onMessage(message: FromWorker): void {
    if (message.kind === 'log') this.#options.onLine(message);
    else if (message.kind === 'open') this.#open(message.task);
    else this.#onStep(message);
  }

  #onResult(task: Task, result: unknown): void {
    if (!task.aborted) {
      this.#done += 1;
      task.succeed(result);
    }
    this.#end(task);
  }

  #onError(task: Task, error: unknown): void {
    if (!task.aborted) {
      this.#failed += 1;
      if (error instanceof Error) {
        // What has come of a stream until then is still taken in.
        const explained = this.#backend.explain(error, task);
        this.#streams.delete(task.id);
        task.fail(explained);
      } else if (task.stream === undefined) {
        task.fail(unpack(error as never));
      }
      // The error of a stream comes in its turn, after its last item.
    }
    this.#end(task);
  }

  #end(task: Task): void {
    task.close();
    // One that was dropped has ended already.
    if (task.place === undefined) return;
    this.#tasks.remove(task.place);
    task.place = undefined;
    if (task.begun) {
      this.#busy -= 1;
      this.#runMs += this.#options.clock.now() - task.since;
    }
    if (this.#closed && this.#tasks.size === 0) this.#idle.resolve();
  }

  #abort(task: Task, reason: unknown): void {
    this.#aborted += 1;
    task.close();
    task.abort(reason);
    this.#streams.delete(task.id);
    if (task.place === undefined) return;
    if (!task.begun) {
      this.#backend.drop(task);
      this.#end(task);
      return;
    }
    this.#backend.tell(task, { kind: 'abort', task: task.id, reason: pack(reason) });
    // A worker runs in real time.
    task.grace = systemClock.setTimer(() => this.#backend.kill(task), ABORT_GRACE_MS).unref();
  }

  /** One that runs: these come first. */
  #find(id: number): Task | undefined {
    for (const task of this.#tasks) {
      if (task.id === id) return task;
    }
    return undefined;
  }

  #open(id: number): void {
    const task = this.#find(id);
    if (task === undefined || task.aborted) return;
    const stream = new RemoteStream(id, (message) => this.#backend.tell(task, message));
    this.#streams.set(id, stream);
    task.open(stream);
  }

  #onStep(step: Exclude<StreamStep, { readonly kind: 'open' }>): void {
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
