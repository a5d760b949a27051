import type { BosunEvent } from '../events.ts';
import type { Address } from '../net/listen.ts';
import type { Phase, ServiceInfo } from '../supervisor/host.ts';
import type { HeartbeatMemory } from './heartbeat.ts';

/** What the thread is made with. */
export interface ThreadData {
  readonly heartbeat: HeartbeatMemory;
}

/** An error, as it is shown to people. */
export interface ErrorInfo {
  readonly name: string;
  readonly message: string;
  readonly code?: string;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

/** A service's state, as it is shown to people. */
export interface ServiceStatus extends Omit<ServiceInfo, 'state' | 'lastError'> {
  readonly state: ServiceInfo['state']['status'];
  /** When it came into this state, in milliseconds since the epoch; `undefined`: it was only made. */
  readonly since: number | undefined;
  readonly lastError: ErrorInfo | undefined;
}

/** The daemon's state. */
export interface DaemonStatus {
  readonly phase: Phase;
  readonly services: readonly ServiceStatus[];
}

/** What a service says of itself, or why it could not be asked. */
export interface HealthInfo {
  readonly ok: boolean;
  readonly detail?: string;
}

/** By service; those that do not run are not asked. */
export type HealthReport = Readonly<Record<string, HealthInfo>>;

/** What the main loop says of itself; durations and counts are since it was asked last. */
export interface LoopFigures {
  readonly heapUsedBytes: number;
  readonly heapTotalBytes: number;
  readonly externalBytes: number;
  readonly arrayBuffersBytes: number;
  readonly loopDelayP99Ms: number;
  /** From 0 to 1. */
  readonly loopUtilisation: number;
  /** Of all HTTP services. */
  readonly requestsPerSecond: number;
  /** `null`: there was no request. */
  readonly requestP99Ms: number | null;
}

/** What the server of the control plane is told. */
export interface ServerOptions {
  readonly host: string;
  readonly port: number;
  readonly path: string | undefined;
  readonly livenessLimitMs: number;
  readonly healthTimeoutMs: number;
}

/** What the thread does for the main one. */
export type ThreadMethods = {
  /** Opens the control plane's server; one at a time. */
  listen(options: ServerOptions): Promise<Address>;
  /** Closes it. */
  unlisten(argument: undefined): Promise<void>;
  status(status: DaemonStatus): void;
  event(event: PlainEvent): void;
  /** Lines of the log, as JSON. */
  lines(lines: readonly string[]): void;
};

/** What the main thread does for the other. */
export type MainMethods = {
  health(argument: undefined): Promise<HealthReport>;
  figures(argument: undefined): LoopFigures;
  restart(service: string): Promise<void>;
  reload(argument: undefined): Promise<void>;
};

/** An event whose errors are `ErrorInfo`s. */
export type PlainEvent = Readonly<Record<string, unknown>> & Pick<BosunEvent, 'type' | 'at'>;
