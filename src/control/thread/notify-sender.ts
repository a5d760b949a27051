import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Readable, Writable } from 'node:stream';
import { systemClock } from '../../clock.ts';

/** systemd-notify itself waits for systemd, up to 5 s, so that a message is taken for the unit's. */
const SEND_TIMEOUT_MS = 6_000;

/**
 * Takes messages, a line for each assignment and an empty one at the end; says the exit code, and what else was said.
 * It ends with its input: signals for the whole unit are not for it.
 */
const script = `
trap '' HUP INT TERM
set -f --
while IFS= read -r line; do
  if [ -n "$line" ]; then
    set -- "$@" "$line"
  else
    said=$(systemd-notify "$@" 2>&1 </dev/null)
    echo $? $said
    set --
  fi
done
`;

type Shell = ChildProcessByStdio<Writable, Readable, null>;

/**
 * Sends messages to systemd by its `systemd-notify`, as Node has no datagram sockets of Unix. A shell calls that: for
 * the daemon to begin a process takes the longer the more memory it has.
 */
export class NotifySender {
  readonly #socket: string;
  #shell: Shell | undefined;

  /** `socket`: a path, or `@` and the name of an abstract socket. */
  constructor(socket: string) {
    this.#socket = socket;
  }

  /** Resolves when systemd has it; one at a time. Rejects with why it could not be sent. */
  async send(assignments: readonly string[]): Promise<void> {
    this.#shell ??= this.#begin();
    const { stdin, stdout } = this.#shell;
    using _timer = systemClock.setTimer(() => this[Symbol.dispose](), SEND_TIMEOUT_MS);
    const over = new AbortController();
    const { signal } = over;
    const answered = once(stdout, 'data', { signal }).then(([said]) => String(said).trim());
    const ended = once(stdout, 'close', { signal }).then(() => 'nothing: its shell has ended');
    stdin.write(`${assignments.join('\n')}\n\n`);
    const said = await Promise.race([answered, ended]).finally(() => over.abort());
    if (said !== '0') throw new Error(`systemd-notify said ${said}`);
  }

  [Symbol.dispose](): void {
    this.#shell?.kill('SIGKILL');
  }

  #begin(): Shell {
    const shell = spawn('/bin/sh', ['-c', script], {
      env: { PATH: process.env.PATH, NOTIFY_SOCKET: this.#socket },
      stdio: ['pipe', 'pipe', 'ignore'],
    });
    // That it has ended, or could not begin, shows by its output.
    shell.once('error', () => {});
    shell.stdin.on('error', () => {});
    shell.stdout.once('close', () => {
      if (this.#shell === shell) this.#shell = undefined;
    });
    return shell;
  }
}
