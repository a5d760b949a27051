import { type Closed, type WebSocketClient, WebSocketService } from 'bosun/services/websocket';

/** Notes what happens to its clients, and lets a test wait for that or decide what the handlers do. */
export class Probe extends WebSocketService {
  readonly messages: (string | Buffer)[] = [];
  readonly closes: Closed[] = [];
  connect: (client: WebSocketClient) => Promise<void> | void = () => {};
  message: (client: WebSocketClient, data: string | Buffer) => Promise<void> | void = (client, data) =>
    void client.send(data);
  close: (client: WebSocketClient) => Promise<void> | void = () => {};
  readonly #checks = new Set<() => void>();

  /** Resolves when the condition holds; looked at whenever something happens to a client. */
  async until(condition: () => boolean): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const check = () => {
      if (condition()) resolve();
    };
    this.#checks.add(check);
    check();
    await promise;
    this.#checks.delete(check);
  }

  get url(): string {
    return this.addresses[0] ?? '';
  }

  get only(): WebSocketClient {
    const [client] = this.clients;
    if (client === undefined) throw new Error('there is no client');
    return client;
  }

  protected override onConnect(client: WebSocketClient): Promise<void> | void {
    this.#happened();
    return this.connect(client);
  }

  protected override onMessage(client: WebSocketClient, data: string | Buffer): Promise<void> | void {
    this.messages.push(data);
    this.#happened();
    return this.message(client, data);
  }

  protected override onClose(client: WebSocketClient, closed: Closed): Promise<void> | void {
    this.closes.push(closed);
    this.#happened();
    return this.close(client);
  }

  #happened(): void {
    for (const check of this.#checks) check();
  }
}
