import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { afterEach } from 'vitest';

/** `script` of util-linux gives a command a terminal; without it these tests cannot be run. */
const hasScript = (() => {
  try {
    return execFileSync('script', ['--version'], { encoding: 'utf8' }).includes('util-linux');
  } catch {
    return false;
  }
})();

/** Why tests with a terminal are skipped. */
export const noTerminal = !hasScript && process.env.CI !== 'true';

/** A command line on a terminal of its own. */
export class Terminal {
  readonly exited: Promise<number | null>;
  readonly #child: ChildProcess;
  #shown = '';
  #onData = () => {};

  constructor(commandLine: string, cwd: string, { columns = 100, rows = 20 } = {}) {
    // The shell says by whatever means the command ended, and how the terminal was left.
    const script = `stty cols ${columns} rows ${rows}; ${commandLine}; echo "ended with $?"; stty -a | tr ';' '\\n' | grep -o -- '-\\?icanon'`;
    this.#child = spawn('script', ['-qec', script, '/dev/null'], {
      cwd,
      env: { PATH: process.env.PATH, TERM: 'xterm', SHELL: '/bin/sh' },
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
      this.#shown += chunk;
      this.#onData();
    });
    this.exited = once(this.#child, 'close').then(([code]) => code as number | null);
    terminals.push(this);
  }

  /** All that was written to it. */
  get shown(): string {
    return this.#shown;
  }

  type(keys: string): void {
    this.#child.stdin?.write(keys);
  }

  /** Waits until, from an offset on, it shows this; gives the offset after it. */
  async seen(text: string, from = 0): Promise<number> {
    let ended = false;
    void this.exited.then(() => {
      ended = true;
      this.#onData();
    });
    for (;;) {
      const at = this.#shown.indexOf(text, from);
      if (at !== -1) return at + text.length;
      if (ended) throw new Error(`it ended before ${JSON.stringify(text)}: ${JSON.stringify(this.#shown)}`);
      await new Promise<void>((done) => {
        this.#onData = done;
      });
    }
  }

  async end(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.exited;
  }
}

const terminals: Terminal[] = [];
afterEach(async () => {
  for (const terminal of terminals.splice(0)) await terminal.end();
});
