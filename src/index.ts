export { currentSignal, type DeadlineOptions, remainingMs, withDeadline } from './call.ts';
export type { Clock, Timer } from './clock.ts';
export { systemClock } from './clock.ts';
export type { Context, ContextGetOptions, ContextValues } from './context.ts';
export {
  Entrypoint,
  type EntrypointOptions,
  entrypoint,
  exitCodes,
  type Hooks,
  type Outcome,
  run,
} from './entrypoint.ts';
export * from './errors.ts';
export type { BosunEvent, EntrypointEvent, EventOf, ServiceEvent } from './events.ts';
export { type LogFields, withLogFields } from './logging/fields.ts';
export {
  counter,
  DURATION_BOUNDS,
  gauge,
  Histogram,
  type HistogramSample,
  histogram,
  type Labels,
  type Metric,
  type Sample,
} from './metrics.ts';
export { byteCount, durationMs, secret } from './options.ts';
export {
  type AnyServiceClass,
  type Extended,
  type Health,
  type Logger,
  type Scope,
  Service,
  type ServiceClass,
  type ServiceOptions,
  type ServiceState,
  type StopReason,
  service,
} from './service.ts';
export type { ServiceInfo } from './supervisor/host.ts';
export { Supervisor } from './supervisor/supervisor.ts';
export { carry } from './workers/carry.ts';
export * from './workers/errors.ts';
export { type CurrentLog, currentLog } from './workers/task-log.ts';
export { threaded } from './workers/threaded.ts';
export { transfer } from './workers/transfer.ts';
export type {
  Isolation,
  ModuleOptions,
  TaskOptions,
  Tasks,
  WorkerStatistics,
  Workers,
} from './workers/workers.ts';
