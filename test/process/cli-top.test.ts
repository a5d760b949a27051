import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { resolve } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { Operated } from './control.ts';

const main = resolve(import.meta.dirname, '../../src/cli/main.ts');

/** `script` of util-linux gives a command a terminal; without it these tests cannot be run. */
const hasScript = (() => {
  try {
    return execFileSync('script', ['--version'], { encoding: 'utf8' }).includes('util-linux');
  } catch {
    return false;
  }
})();
const skip = !hasScript && process.env.CI !== 'true';

const ENTER = '\x1b[?1049h';
const LEAVE = '\x1b[?1049l';

/** A command line on a terminal of its own. */
class Terminal {
  readonly exited: Promise<number | null>;
  readonly #child: ChildProcess;
  #shown = '';
  #onData = () => {};

  constructor(commandLine: string, cwd: string) {
    // The shell says by whatever means the command ended, and how the terminal was left.
    const script = `stty cols 100 rows 20; ${commandLine}; echo "ended with $?"; stty -a | tr ';' '\\n' | grep -o -- '-\\?icanon'`;
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

const top = (rest = '') => `${process.execPath} --conditions=bosun-source ${main} top ${rest}`;

const services = [
  'talker: { use: ./services.ts#Talker }',
  'once: { use: ./services.ts#Once, restart: never, critical: false }',
];

describe('bosun top', () => {
  it('shows the state once without a terminal', async () => {
    await using daemon = await Operated.start(services);
    const { code, stdout } = await daemon.bosun(['top']);
    expect(code).toBe(0);
    expect(stdout).toMatch(/: ready, pid \d+, up .*, Node v\d+/);
    expect(stdout).toMatch(/^cpu \d+ %, rss \d+.* MiB, heap .*, loop \d+ % busy, /m);
    expect(stdout).toMatch(/^talker +running/m);
    expect(stdout).not.toContain('\x1b');
    expect(JSON.parse((await daemon.bosun(['top', '--json'])).stdout)).toMatchObject({ phase: 'ready' });
  });

  it.skipIf(skip)('shows what changes, sorts, and gives the terminal back on q', async () => {
    await using daemon = await Operated.start(services);
    const terminal = new Terminal(top(), daemon.directory);
    let at = await terminal.seen(ENTER);
    at = await terminal.seen('talker', at);
    await daemon.bosun(['restart', 'once']);
    at = await terminal.seen('the disk is full', at);
    terminal.type('s');
    at = await terminal.seen('sort (by name)', at);
    terminal.type('s');
    at = await terminal.seen('sort (by state)', at);
    // What has failed comes first; last in the opposite order.
    const frame = terminal.shown.slice(terminal.shown.lastIndexOf('\x1b[H', at), at);
    expect(frame.indexOf('once')).toBeLessThan(frame.indexOf('talker'));
    terminal.type('r');
    at = await terminal.seen('sort (by state)', at);
    const reversed = terminal.shown.slice(terminal.shown.lastIndexOf('\x1b[H', at), at);
    expect(reversed.indexOf('talker')).toBeLessThan(reversed.indexOf('once'));
    terminal.type('q');
    at = await terminal.seen(LEAVE, at);
    await terminal.seen('ended with 0\r\nicanon', at);
  });

  it.skipIf(skip)('gives the terminal back on Ctrl-C, on signals, and when the daemon dies', async () => {
    await using daemon = await Operated.start(services);
    const keyed = new Terminal(top(), daemon.directory);
    await keyed.seen('talker');
    keyed.type('\x03');
    await keyed.seen('ended with 0\r\nicanon', await keyed.seen(LEAVE));
    for (const [signal, code] of [
      ['INT', 130],
      ['TERM', 143],
      ['HUP', 129],
    ] as const) {
      const terminal = new Terminal(
        `(echo "pid=$(exec sh -c 'echo $PPID')"; exec ${top()})`,
        daemon.directory,
      );
      await terminal.seen('talker');
      process.kill(Number(/pid=(\d+)/.exec(terminal.shown)?.[1]), `SIG${signal}`);
      await terminal.seen(`ended with ${code}\r\nicanon`, await terminal.seen(LEAVE));
    }
    const orphan = new Terminal(top(), daemon.directory);
    await orphan.seen('talker');
    daemon.cli.kill('SIGKILL');
    const at = await orphan.seen('no daemon answers at', await orphan.seen(LEAVE));
    await orphan.seen('ended with 69\r\nicanon', at);
  });
});
