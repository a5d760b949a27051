import type { Socket } from 'node:net';
import type { Clock, Timer } from '../clock.ts';
import { ConnectionTimeoutError } from './connection-errors.ts';

/** When a connection on which nothing moves is closed; `Infinity`: never. */
export interface WatchLimits {
  readonly idleTimeoutMs: number;
  readonly writeTimeoutMs: number;
}

interface Progress {
  readonly received: number;
  readonly sent: number;
  readonly activeAt: number;
  readonly sentAt: number;
}

/**
 * Destroys the sockets that have been still for too long, with a `ConnectionTimeoutError`. It looks at their
 * byte counters four times per time-out rather than keep a timer for each, so that a message costs nothing;
 * they are closed after 1 to 1.5 times the limit.
 */
export function watch(sockets: Iterable<Socket>, limits: WatchLimits, clock: Clock): Disposable {
  const { idleTimeoutMs, writeTimeoutMs } = limits;
  const seen = new WeakMap<Socket, Progress>();
  const intervalMs = Math.min(idleTimeoutMs, writeTimeoutMs) / 4;
  const look = () => {
    const now = clock.now();
    for (const socket of sockets) {
      const progress = progressOf(socket, seen.get(socket), now);
      seen.set(socket, progress);
      if (now - progress.sentAt >= writeTimeoutMs) {
        socket.destroy(new ConnectionTimeoutError('write', writeTimeoutMs));
      } else if (now - progress.activeAt >= idleTimeoutMs) {
        socket.destroy(new ConnectionTimeoutError('idle', idleTimeoutMs));
      }
    }
    timer = clock.setTimer(look, intervalMs);
  };
  let timer: Timer = clock.setTimer(look, intervalMs);
  return { [Symbol.dispose]: () => timer.cancel() };
}

function progressOf(socket: Socket, last: Progress | undefined, now: number): Progress {
  const received = socket.bytesRead;
  const waiting = socket.writableLength;
  const sent = socket.bytesWritten - waiting;
  const hasSent = sent !== last?.sent;
  return {
    received,
    sent,
    activeAt: hasSent || received !== last.received ? now : last.activeAt,
    sentAt: hasSent || waiting === 0 ? now : last.sentAt,
  };
}
