import { EventEmitter, on } from 'node:events';
import { service } from 'bosun';
import { PeriodicService } from 'bosun/services/periodic';
import { type TcpConnection, TcpService } from 'bosun/services/tcp';

/** A dollar rate that moves a little every `interval`. */
export class RateFeed extends PeriodicService {
  /** Emits `moved`. */
  readonly moves = new EventEmitter().setMaxListeners(0);
  #rate = 90;

  get rate(): string {
    return this.#rate.toFixed(2);
  }

  protected override callback(): void {
    const step = (1 + Math.floor(Math.random() * 50)) / 100;
    this.#rate += this.#rate < 60 || (this.#rate < 120 && Math.random() < 0.5) ? step : -step;
    this.moves.emit('moved');
  }
}

/** Tells every client the dollar rate; one that sends `subscribe` is told of every change, too. */
export class RateServer extends TcpService.extend({ feed: service(RateFeed) }) {
  protected override async handle(connection: TcpConnection, signal: AbortSignal): Promise<void> {
    const { feed } = this.options;
    const tell = () => connection.write(`Dollar rate is ${feed.rate}.\n`);
    await tell();
    let line = '';
    for await (const chunk of connection) {
      line += chunk.toString('latin1');
      if (line.length > 64) return;
      if (line.includes('\n')) break;
    }
    if (line.trim() !== 'subscribe') return;
    for await (const _ of on(feed.moves, 'moved', { signal })) await tell();
  }
}
