/** What the control plane shows, as the dashboard and the command line read it. */
import type { EntrypointEvent, ServiceEvent } from '../events.ts';
import type { LeakSuspicion, MemoryReport, ProfileReport, Stall } from '../observe/reports.ts';
import type { Phase } from '../supervisor/host.ts';
import type {
  ErrorInfo,
  HealthInfo,
  LoopFigures,
  PlainEvent,
  PlainEventOf,
  ServiceStatus,
} from './protocol.ts';

/** The process in figures; those of the main loop stay as they were while it is blocked. */
export interface ProcessFigures extends LoopFigures {
  readonly rssBytes: number;
  /** Of one processor, of all threads: 1.5 are one and a half. */
  readonly cpuShare: number;
}

/** A service, in a `Status`. */
export interface ShownService extends Omit<ServiceStatus, 'since' | 'lastError' | 'supervisor'> {
  /** For how long it has been in its state; `null`: it was only made. */
  readonly sinceMs: number | null;
  /** For how long it has been running; `null`: it is not. */
  readonly uptimeMs: number | null;
  readonly lastError: ErrorInfo | null;
  readonly supervisor: string | null;
  /** `null`: it does not run, or has not answered. */
  readonly health: HealthInfo | null;
  /** Whether this was served by it, or below it: then it cannot be restarted from here. */
  readonly servesControl: boolean;
}

/** What `GET /api/status` gives. */
export interface Status {
  /** The folder that the daemon was started in. */
  readonly name: string;
  readonly host: string;
  readonly pid: number;
  /** Its version. */
  readonly node: string;
  /** Bosun's. */
  readonly version: string;
  readonly phase: Phase;
  readonly uptimeMs: number;
  /** For how long the main loop has not turned; 0: it does. */
  readonly blockedMs: number;
  readonly process: ProcessFigures;
  readonly services: readonly ShownService[];
  /** What there is to be seen. */
  readonly features: { readonly memory: boolean; readonly profiler: boolean; readonly stalls: boolean };
}

/** pino's; the daemon's author may have made something else of it. */
export interface LogLine {
  readonly level: number;
  readonly time: number | string;
  readonly msg?: string;
  readonly service?: string;
  readonly [field: string]: unknown;
}

/** What readers of the stream are told, by kind. */
export interface StreamEvents {
  readonly status: Status;
  readonly event: Extract<PlainEvent, Pick<ServiceEvent | EntrypointEvent, 'type'>>;
  readonly log: LogLine;
  readonly stall: Stall;
  readonly memory: MemoryReport;
  readonly leak: LeakSuspicion;
  /** It may be large: who wants the rest asks for it. */
  readonly profile: Pick<ProfileReport, 'at'>;
  readonly snapshot: PlainEventOf<'heap-snapshot-taken'>;
}
