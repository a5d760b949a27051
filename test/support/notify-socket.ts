import { type ChildProcessByStdio, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { owned } from './owned.ts';

/** Node has no datagram sockets of Unix. Each message becomes a line of JSON. */
const receiver = `
import json, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
name = sys.argv[1]
s.bind('\\0' + name[1:] if name.startswith('@') else name)
print('"listening"', flush=True)
while True:
    print(json.dumps(s.recv(65536).decode()), flush=True)
`;

/** What these tests need and a machine may lack. */
export const missingTools = ['python3', 'systemd-notify'].filter(
  (tool) => spawnSync(tool, ['--version']).error !== undefined,
);

/** A socket that receives what a daemon tells systemd. */
export class NotifySocket implements AsyncDisposable {
  /** In the order in which they came; without systemd-notify's own. */
  readonly messages: string[] = [];
  readonly ended: Promise<unknown>;
  readonly #child: ChildProcessByStdio<null, Readable, null>;
  readonly #watchers = new Set<() => void>();

  private constructor(name: string) {
    this.#child = owned(spawn('python3', ['-c', receiver, name], { stdio: ['ignore', 'pipe', 'inherit'] }));
    this.ended = once(this.#child, 'close');
    createInterface({ input: this.#child.stdout }).on('line', (line) => {
      const message = JSON.parse(line) as string;
      if (message.trim() === 'BARRIER=1') return;
      this.messages.push(message.trim());
      for (const watch of [...this.#watchers]) watch();
    });
  }

  /** `name` is a path, or `@` and an abstract name. */
  static async at(name: string): Promise<NotifySocket> {
    const socket = new NotifySocket(name);
    await socket.received(/^listening$/);
    socket.messages.length = 0;
    return socket;
  }

  /** Resolves with the first message, from the `from`th on, that fits. */
  received(pattern: RegExp, from = 0): Promise<string> {
    return new Promise((resolve) => {
      const watch = () => {
        const found = this.messages.slice(from).find((message) => pattern.test(message));
        if (found === undefined) return;
        this.#watchers.delete(watch);
        resolve(found);
      };
      this.#watchers.add(watch);
      watch();
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.ended;
  }
}
