import type { BosunEvent } from '../events.ts';
import type { Control, ServiceInfo } from '../supervisor/host.ts';
import { clip } from './clip.ts';
import type { DaemonStatus, ErrorInfo, PlainEvent, ServiceStatus } from './protocol.ts';

/** Makes copies of the daemon's state and events that can be sent to another thread. */
export class StatusWriter {
  readonly #control: Control;

  constructor(control: Control) {
    this.#control = control;
  }

  status(): DaemonStatus {
    return {
      phase: this.#control.phase,
      services: this.#control.services().map((info) => this.#service(info)),
    };
  }

  event(event: BosunEvent): PlainEvent {
    const plain = Object.entries(event).map(([key, value]) => [key, plainValue(value, event.at)]);
    return Object.fromEntries(plain) as PlainEvent;
  }

  #service({ state, lastError, lastErrorAt = 0, ...info }: ServiceInfo): ServiceStatus {
    const { name, type, restarts, critical, dependencies, supervisor, addresses } = info;
    return {
      name,
      type,
      restarts,
      critical,
      dependencies,
      supervisor,
      addresses,
      state: state.status,
      since: 'since' in state ? state.since : undefined,
      lastError: lastError === undefined ? undefined : errorInfo(lastError, lastErrorAt),
    };
  }
}

function plainValue(value: unknown, at: number): unknown {
  if (value instanceof Error) return errorInfo(value, at);
  if (Array.isArray(value)) return value.map((item) => plainValue(item, at));
  return value;
}

function errorInfo(error: Error, at: number): ErrorInfo {
  const { code } = error as { readonly code?: unknown };
  const { name, message } = error;
  return {
    name: clip(name),
    message: clip(message),
    at,
    ...(typeof code === 'string' && { code: clip(code) }),
  };
}
