import { type ChildProcessByStdio, spawn } from 'node:child_process';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { owned } from './owned.ts';

const fixtures = new URL('../process/fixtures/', import.meta.url);

/** How a child process ended. */
export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A program of test/process/fixtures in a process of its own; killed at the end of the block. */
export class Child implements AsyncDisposable {
  readonly exit: Promise<Exit>;
  readonly #process: ChildProcessByStdio<null, Readable, Readable>;
  #stdout = '';
  #stderr = '';
  readonly #watchers = new Set<() => void>();

  constructor(fixture: string, args: readonly string[] = [], flags: readonly string[] = []) {
    const file = fileURLToPath(new URL(fixture, fixtures));
    const child = owned(
      spawn(process.execPath, ['--conditions=bosun-source', ...flags, file, ...args], {
        stdio: ['ignore', 'pipe', 'pipe'],
      }),
    );
    this.#process = child;
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      this.#stdout += chunk;
      for (const watch of [...this.#watchers]) watch();
    });
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
      this.#stderr += chunk;
    });
    this.exit = new Promise((resolve) => {
      child.on('close', (code, signal) => {
        resolve({ code, signal, stdout: this.#stdout, stderr: this.#stderr });
        for (const watch of [...this.#watchers]) watch();
      });
    });
  }

  /** Resolves when a line of its output contains `text`; rejects when it ends without. */
  async line(text: string): Promise<void> {
    await this.#find(text, () => (this.#stdout.includes(text) ? text : undefined));
  }

  /** Resolves with what its output has that fits; rejects when it ends without. */
  match(pattern: RegExp): Promise<string> {
    return this.#find(String(pattern), () => pattern.exec(this.#stdout)?.[0]);
  }

  #find(what: string, look: () => string | undefined): Promise<string> {
    return new Promise((resolve, reject) => {
      const watch = () => {
        const found = look();
        if (found !== undefined) resolve(found);
        else if (this.#process.exitCode !== null || this.#process.signalCode !== null) {
          reject(new Error(`ended without "${what}": ${this.#stdout}${this.#stderr}`));
        } else return;
        this.#watchers.delete(watch);
      };
      this.#watchers.add(watch);
      watch();
    });
  }

  /** What it has written to stdout so far. */
  get output(): string {
    return this.#stdout;
  }

  kill(signal: NodeJS.Signals): void {
    this.#process.kill(signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill('SIGKILL');
    await this.exit;
  }
}
