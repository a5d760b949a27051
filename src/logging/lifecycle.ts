import type { BosunEvent } from '../events.ts';
import type { Logger } from '../service.ts';

const ms = (durationMs: number) => Math.round(durationMs);

/** Writes the entrypoint's events to the log: one subscriber among others. */
export function logEvent(log: Logger, event: BosunEvent): void {
  switch (event.type) {
    case 'service-starting':
      log.debug({ service: event.service }, 'starting');
      break;
    case 'service-running':
      log.debug({ service: event.service, durationMs: ms(event.durationMs) }, 'running');
      break;
    case 'service-start-failed':
      log.error({ service: event.service, err: event.error }, `could not start: ${reasonOf(event.error)}`);
      break;
    case 'service-failed':
      log.error(
        { service: event.service, err: event.error, origin: event.origin },
        `failed: ${event.error.message}`,
      );
      break;
    case 'service-stopping':
      log.debug({ service: event.service, reason: event.reason }, 'stopping');
      break;
    case 'service-stopped':
      log.debug(
        { service: event.service, reason: event.reason, durationMs: ms(event.durationMs) },
        'stopped',
      );
      break;
    case 'service-stop-failed':
      log.error({ service: event.service, err: event.error }, 'did not stop cleanly');
      break;
    case 'service-restarting':
      log.warn(
        { service: event.service, attempt: event.attempt, pauseMs: ms(event.pauseMs) },
        `restarting in ${ms(event.pauseMs)} ms`,
      );
      break;
    case 'service-gave-up':
      log.error(
        { service: event.service, code: codeOf(event.error) },
        `failed for good: ${reasonOf(event.error)}`,
      );
      break;
    case 'service-added':
      log.info({ service: event.service }, 'added');
      break;
    case 'service-removed':
      log.info({ service: event.service }, 'removed');
      break;
    case 'service-stray-error':
      log.error({ service: event.service, err: event.error }, 'an error came after the service had stopped');
      break;
    case 'entrypoint-starting':
      log.debug({ services: event.services }, 'starting');
      break;
    case 'entrypoint-running': {
      const durationMs = ms(event.durationMs);
      const served = Object.entries(event.addresses).flatMap(([name, all]) =>
        all.map((at) => `${name} ${at}`),
      );
      const where = served.length > 0 ? `: ${served.join(', ')}` : '';
      log.info(
        { services: event.services, durationMs, addresses: event.addresses },
        `ready in ${durationMs} ms${where}`,
      );
      break;
    }
    case 'entrypoint-start-failed':
      log.error(detail(event.error), `not started: ${event.error.message}`);
      break;
    case 'entrypoint-stopping':
      log.info({ cause: event.cause, delayMs: event.delayMs }, `stopping: ${event.cause}`);
      break;
    case 'entrypoint-aborting':
      log.warn({ cause: event.cause }, `aborting: ${event.cause}`);
      break;
    case 'entrypoint-failed':
      log.error(detail(event.error), `failed: ${event.error.message}`);
      break;
    case 'entrypoint-reload-requested':
      log.info('reload requested');
      break;
    case 'entrypoint-reloaded':
      log.debug({ durationMs: ms(event.durationMs) }, 'reload ended');
      break;
    case 'entrypoint-stopped':
      log.info(
        { exitCode: event.exitCode, durationMs: ms(event.durationMs) },
        `stopped in ${ms(event.durationMs)} ms, exit code ${event.exitCode}`,
      );
      break;
    case 'hook-failed':
      log.error({ err: event.error, hook: event.hook }, `the ${event.hook} hook failed`);
      break;
    case 'loop-stalled':
    case 'memory-reported':
    case 'leak-suspected':
    case 'profile-taken':
    case 'heap-snapshot-taken':
      break;
    default:
      event satisfies never;
  }
}

/** What a service's error says beyond which service it is: that stands in the line already. */
const reasonOf = (error: Error) => (error.cause instanceof Error ? error.cause.message : error.message);

const codeOf = (error: Error) => (error as { readonly code?: unknown }).code;

/** The whole error, but where a service's own line had it before. */
const detail = (error: Error) => ('service' in error ? { code: codeOf(error) } : { err: error });
