import { WebSocketService } from 'bosun/services/websocket';

/** Shows every open page how many there are: `counter.html` connects to it. */
export class Counter extends WebSocketService {
  protected override onConnect(): void {
    this.#changed();
  }

  protected override onClose(): void {
    this.#changed();
  }

  #changed(): void {
    this.publish('count', () => JSON.stringify({ count: this.clients.size }));
  }
}
