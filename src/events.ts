import type { LeakSuspicion, MemoryReport, ProfileReport, Stall } from './observe/reports.ts';
import type { StopReason } from './service.ts';

/** What happens to a service; `service` is its name, durations are milliseconds. */
export type ServiceEvent =
  | { readonly type: 'service-starting'; readonly service: string }
  | {
      readonly type: 'service-running';
      readonly service: string;
      readonly durationMs: number;
      readonly addresses: readonly string[];
    }
  | { readonly type: 'service-start-failed'; readonly service: string; readonly error: Error }
  | {
      /** A running service failed; `origin` tells what did: a task, `scope.fail`, a stray rejection. */
      readonly type: 'service-failed';
      readonly service: string;
      readonly error: Error;
      readonly origin: string;
    }
  | { readonly type: 'service-stopping'; readonly service: string; readonly reason: StopReason['kind'] }
  | {
      readonly type: 'service-stopped';
      readonly service: string;
      readonly reason: StopReason['kind'];
      readonly durationMs: number;
    }
  | { readonly type: 'service-stop-failed'; readonly service: string; readonly error: Error }
  | {
      /** It is restarted after `pauseMs`; `attempt` counts from 1 since it was last healthy. */
      readonly type: 'service-restarting';
      readonly service: string;
      readonly attempt: number;
      readonly pauseMs: number;
      readonly error: Error | undefined;
    }
  | { readonly type: 'service-gave-up'; readonly service: string; readonly error: Error }
  | { readonly type: 'service-added'; readonly service: string }
  | { readonly type: 'service-removed'; readonly service: string }
  | { readonly type: 'service-stray-error'; readonly service: string; readonly error: Error };

/** What happens to the entrypoint. */
export type EntrypointEvent =
  | { readonly type: 'entrypoint-starting'; readonly services: number }
  | {
      readonly type: 'entrypoint-running';
      readonly services: number;
      readonly durationMs: number;
      /** Where the services can be reached, by name. */
      readonly addresses: Readonly<Record<string, readonly string[]>>;
    }
  | { readonly type: 'entrypoint-start-failed'; readonly error: Error }
  | {
      /** No longer ready; services stop after `delayMs`. */
      readonly type: 'entrypoint-stopping';
      readonly cause: string;
      readonly delayMs: number;
    }
  | { readonly type: 'entrypoint-aborting'; readonly cause: string }
  | { readonly type: 'entrypoint-failed'; readonly error: Error }
  | { readonly type: 'entrypoint-reload-requested' }
  | {
      /** What a reload was asked to do is done; `error`: it failed, and the daemon runs on as it was. */
      readonly type: 'entrypoint-reloaded';
      readonly durationMs: number;
      readonly error: Error | undefined;
    }
  | {
      readonly type: 'entrypoint-stopped';
      readonly exitCode: number;
      readonly durationMs: number;
      readonly errors: readonly Error[];
    }
  | { readonly type: 'hook-failed'; readonly hook: string; readonly error: Error };

/** What the services that watch the process have seen; each logs it itself. */
export type ObservationEvent =
  | { readonly type: 'loop-stalled'; readonly stall: Stall }
  | { readonly type: 'memory-reported'; readonly report: MemoryReport }
  | { readonly type: 'leak-suspected'; readonly suspicion: LeakSuspicion }
  | { readonly type: 'profile-taken'; readonly report: ProfileReport }
  | {
      readonly type: 'heap-snapshot-taken';
      readonly path: string;
      readonly bytes: number;
      readonly durationMs: number;
    };

/** Everything that the entrypoint emits. `at` is the clock's milliseconds since the epoch. */
export type BosunEvent = (ServiceEvent | EntrypointEvent | ObservationEvent) & { readonly at: number };

/** The event of one type. */
export type EventOf<Type extends BosunEvent['type']> = Extract<BosunEvent, { readonly type: Type }>;

/** What a listener returns is ignored, but for a promise's rejection, which counts as thrown. */
type Listener = (event: BosunEvent) => unknown;

/** Subscribers of events. One that throws disturbs neither the others nor the emitter. @internal */
export class EventHub {
  readonly #listeners = new Set<Listener>();
  readonly #onListenerError: (error: unknown) => void;

  constructor(onListenerError: (error: unknown) => void) {
    this.#onListenerError = onListenerError;
  }

  emit(event: BosunEvent): void {
    for (const listener of [...this.#listeners]) {
      try {
        const result = listener(event);
        if (result instanceof Promise) result.catch(this.#onListenerError);
      } catch (error) {
        this.#onListenerError(error);
      }
    }
  }

  on(listener: Listener): () => void {
    const entry: Listener = (event) => listener(event);
    this.#listeners.add(entry);
    return () => void this.#listeners.delete(entry);
  }
}
