import type { BosunEvent, EventOf } from '../events.ts';
import type { LogShare } from '../logging/logging.ts';
import type { Address } from '../net/listen.ts';
import type { HeapSnapshot, SnapshotPlan, SnapshotRefusal } from '../observe/memory/heap-snapshot.ts';
import type { ProfileReport, Stall } from '../observe/reports.ts';
import type { Phase, ServiceInfo } from '../supervisor/host.ts';
import type { Collected } from './collected.ts';
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
export interface ServiceStatus
  extends Pick<
    ServiceInfo,
    'name' | 'type' | 'restarts' | 'critical' | 'dependencies' | 'supervisor' | 'addresses'
  > {
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

/**
 * What the main loop says of itself; durations and counts are since it was asked last, and `null` when it was not
 * asked shortly before.
 */
export interface LoopFigures {
  readonly heapUsedBytes: number;
  readonly heapTotalBytes: number;
  readonly externalBytes: number;
  readonly arrayBuffersBytes: number;
  /** How late a timer was, at most. */
  readonly loopDelayMaxMs: number | null;
  /** From 0 to 1. */
  readonly loopUtilisation: number | null;
  /** Of all HTTP services. */
  readonly requestsPerSecond: number | null;
  /** Also `null` when there was no request. */
  readonly requestP99Ms: number | null;
}

/** What a server of the control plane is told. */
export interface ServerOptions {
  /** The service whose server it is: its name. */
  readonly server: string;
  readonly host: string;
  readonly port: number;
  readonly path: string | undefined;
  /** `undefined`: whoever can connect may do all. */
  readonly token: string | undefined;
  /** Names, beyond those of the loopback and of `host`, by which it may be called. */
  readonly hosts: readonly string[];
  readonly maxConnections: number;
  readonly livenessLimitMs: number;
  readonly healthTimeoutMs: number;
  /** `undefined`: a folder of its own. */
  readonly snapshotDir: string | undefined;
}

/** Where a server listens, or why it does not: somebody else does. */
export type Listening =
  | { readonly address: Address; readonly inUse?: undefined }
  | { readonly address?: undefined; readonly inUse: string };

/** Where heap snapshots are to be written. */
export interface SnapshotPlace {
  /** The server that asks. */
  readonly server: string;
  readonly dir: string | undefined;
}

export const profileFormats = ['cpuprofile', 'pprof', 'report'] as const;
export type ProfileFormat = (typeof profileFormats)[number];

/** A profile that is to be taken. */
export interface ProfileRequest {
  readonly seconds: number;
  /** Samples per second; `undefined`: what costs least. */
  readonly hertz: number | undefined;
  readonly format: ProfileFormat;
}

/** Somebody asked for something to be done. */
export interface AuditEntry {
  /** The server that was asked. */
  readonly server: string;
  readonly remote: string;
  readonly userAgent: string | undefined;
  readonly method: string;
  readonly path: string;
  readonly status: number;
  /** Why it was not done. */
  readonly error?: string | undefined;
  readonly durationMs?: number;
  /** How many more were refused since the entry before. */
  readonly unsaid?: number;
}

/** What the thread is told to look for stalls with. */
export interface StallOptions {
  /** By how much the loop has to be late. */
  readonly thresholdMs: number;
  /** How many reports are kept. */
  readonly keep: number;
  /** Gives a `Glimpse` of the main thread: see `StackProbe`. */
  readonly expression: string;
  /** Who it is done for, as the log names it. */
  readonly service: string;
  readonly log: LogShare;
}

/** What systemd told this process at its start; see sd_notify(3). */
export interface SystemdOptions {
  /** A path, or `@` and the name of an abstract socket. */
  readonly socket: string;
  /** How long systemd waits for a sign of life; `undefined`: it does not. */
  readonly watchdogMs: number | undefined;
}

/** What the thread does for the main one. */
export type ThreadMethods = {
  /** Opens a server of the control plane; one for each name. */
  listen(options: ServerOptions, signal: AbortSignal): Promise<Listening>;
  /** Closes the server of that name. */
  unlisten(server: string): Promise<void>;
  status(status: DaemonStatus): void;
  event(event: PlainEvent): void;
  /** Lines of the log, as JSON. */
  lines(lines: readonly string[]): void;
  /** Begins to speak to systemd. */
  linkSystemd(options: SystemdOptions): void;
  /** Tells systemd, when that has begun; resolves when all it was told before is there, too. */
  notify(assignments: readonly string[]): Promise<void> | undefined;
  /** Begins to look for stalls of the main loop; one at a time. */
  watchStalls(options: StallOptions, signal: AbortSignal): Promise<void>;
  /** From now on, stalls of this length count. */
  setStallThreshold(thresholdMs: number): void;
  /** Ends that: the last stall has been told when it resolves. */
  unwatchStalls(argument: undefined): Promise<void>;
};

/** What the main thread does for the other. */
export type MainMethods = {
  /** One that takes longer than `limitMs` is not well. */
  health(limitMs: number): Promise<HealthReport>;
  /** The metrics of the main thread. */
  collect(argument: undefined): Collected;
  figures(argument: undefined): LoopFigures;
  restart(service: string): Promise<void>;
  reload(argument: undefined): Promise<void>;
  profile(request: ProfileRequest, signal: AbortSignal): Promise<Uint8Array | ProfileReport>;
  heapPlan(place: SnapshotPlace): Promise<SnapshotPlan>;
  heapSnapshot(place: SnapshotPlace, signal: AbortSignal): Promise<HeapSnapshot | SnapshotRefusal>;
  /** Logs an action. */
  audit(entry: AuditEntry): void;
  /** Logs that somebody was not let in. */
  refused(entry: AuditEntry): void;
  /** A server that listened has met with an error. */
  serverFailed(failure: { readonly server: string; readonly message: string }): void;
  /** What is wrong with a service that the daemon cannot do without, said within `limitMs`; `undefined`: nothing. */
  vital(limitMs: number): Promise<string | undefined>;
  /** systemd could not be told. */
  notifyFailed(message: string): void;
  /** A stall is over. */
  stalled(stall: Stall): void;
};

type Plain<Value> = Value extends Error
  ? ErrorInfo
  : Value extends readonly Error[]
    ? readonly ErrorInfo[]
    : Value;

/** The event of one type, with `ErrorInfo`s in place of errors. */
export type PlainEventOf<Type extends BosunEvent['type']> = {
  readonly [Key in keyof EventOf<Type>]: Plain<EventOf<Type>[Key]>;
};

/** An event whose errors are `ErrorInfo`s. */
export type PlainEvent = { [Type in BosunEvent['type']]: PlainEventOf<Type> }[BosunEvent['type']];
