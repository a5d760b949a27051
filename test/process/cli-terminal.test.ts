import { readFileSync, rmSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { describe, expect, it } from 'vitest';
import { Operated } from './control.ts';
import { noTerminal, Terminal } from './terminal.ts';

const main = resolve(import.meta.dirname, '../../src/cli/main.ts');
const ENTER = '\x1b[?1049h';
const LEAVE = '\x1b[?1049l';

const bosun = (args: string) => `${process.execPath} --conditions=bosun-source ${main} ${args}`;

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
    expect(stdout).toMatch(/^cpu \d+ %, rss \d+.* MiB, heap .*, external /m);
    expect(stdout).toMatch(/^talker +running/m);
    expect(stdout).not.toContain('\x1b');
    expect(JSON.parse((await daemon.bosun(['top', '--json'])).stdout)).toMatchObject({ phase: 'ready' });
  });

  it.skipIf(noTerminal)('shows what changes, sorts, and gives the terminal back on q', async () => {
    await using daemon = await Operated.start(services);
    const terminal = new Terminal(bosun('top'), daemon.directory);
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

  it.skipIf(noTerminal)('scrolls through hundreds of services, what has failed first', async () => {
    const crowd = Array.from({ length: 299 }, (_, index) => `s${index}: { use: ./services.ts#Gate }`);
    await using daemon = await Operated.start([...crowd, services[1] as string]);
    await daemon.bosun(['restart', 'once']);
    const terminal = new Terminal(bosun('top'), daemon.directory);
    const page = async (where: string, from: number) => {
      const to = await terminal.seen(`${where} of 301`, from);
      return { to, text: terminal.shown.slice(terminal.shown.lastIndexOf('\x1b[H', to), to) };
    };
    const first = await page('1-15', 0);
    expect(first.text).toMatch(/LAST ERROR.*\s+once .*failed/);
    expect(first.text).toContain('s12 ');
    expect(first.text).not.toContain('s13 ');
    terminal.type('\x1b[6~');
    const second = await page('16-30', first.to);
    expect(second.text).toContain('s13 ');
    expect(second.text).not.toContain('once');
    terminal.type('k');
    const third = await page('15-29', second.to);
    terminal.type('jj\x1b[6~\x1b[5~');
    const fourth = await page('17-31', third.to);
    terminal.type('\x1b[6~'.repeat(20));
    const last = await page('287-301', fourth.to);
    expect(last.text).toContain('s298 ');
    terminal.type('s');
    await page('1-15', last.to);
    terminal.type('q');
    await terminal.seen('ended with 0');
  });

  it.skipIf(noTerminal)('shows what fits of it on a small terminal', async () => {
    await using daemon = await Operated.start(services);
    const terminal = new Terminal(bosun('top'), daemon.directory, { columns: 50, rows: 6 });
    const to = await terminal.seen('1-1 of 3', await terminal.seen(ENTER));
    const lines = stripVTControlCharacters(terminal.shown.slice(terminal.shown.indexOf(ENTER), to)).split(
      '\r\n',
    );
    expect(lines).toHaveLength(6);
    expect(lines[3]).toMatch(/^SERVICE .* LAST ERROR$/);
    for (const text of lines) expect(text.length).toBeLessThanOrEqual(50);
  });

  it.skipIf(noTerminal)(
    'gives the terminal back on Ctrl-C, on signals, and when the daemon dies',
    async () => {
      await using daemon = await Operated.start(services);
      const keyed = new Terminal(bosun('top'), daemon.directory);
      await keyed.seen('talker');
      keyed.type('\x03');
      await keyed.seen('ended with 0\r\nicanon', await keyed.seen(LEAVE));
      for (const [signal, code] of [
        ['INT', 130],
        ['TERM', 143],
        ['HUP', 129],
      ] as const) {
        const terminal = new Terminal(
          `(echo "pid=$(exec sh -c 'echo $PPID')"; exec ${bosun('top')})`,
          daemon.directory,
        );
        await terminal.seen('talker');
        process.kill(Number(/pid=(\d+)/.exec(terminal.shown)?.[1]), `SIG${signal}`);
        await terminal.seen(`ended with ${code}\r\nicanon`, await terminal.seen(LEAVE));
      }
      const orphan = new Terminal(bosun('top'), daemon.directory);
      await orphan.seen('talker');
      daemon.cli.kill('SIGKILL');
      const at = await orphan.seen('no daemon answers at', await orphan.seen(LEAVE));
      await orphan.seen('ended with 69\r\nicanon', at);
    },
  );
});

describe('on a terminal', () => {
  it.skipIf(noTerminal)('what takes long says for how long it has', async () => {
    await using daemon = await Operated.start(['gate: { use: ./services.ts#Gate }']);
    const { project } = daemon;
    const closed = project.write('closed', '');
    const restart = new Terminal(bosun('restart gate'), daemon.directory);
    await restart.seen('restarting gate: 1 s');
    rmSync(closed);
    await restart.seen('ended with 0', await restart.seen('gate runs again, after '));
    const config = readFileSync(resolve(daemon.directory, 'bosun.yaml'), 'utf8');
    project.write('bosun.yaml', `${config}  second: { use: ./services.ts#Gate }\n`);
    project.write('closed', '');
    const reload = new Terminal(bosun('reload'), daemon.directory);
    await reload.seen('reading the config again, and applying what has changed: 1 s');
    rmSync(closed);
    await reload.seen('ended with 0', await reload.seen('the config has been read again'));
  });

  it.skipIf(noTerminal)('bosun ps shows colours, unless NO_COLOR is set', async () => {
    await using daemon = await Operated.start(services);
    const colours = new Terminal(bosun('ps'), daemon.directory);
    await colours.seen('ended with 0');
    expect(colours.shown).toContain('\x1b[32mrunning');
    const none = new Terminal(`NO_COLOR=1 ${bosun('ps')}`, daemon.directory);
    await none.seen('ended with 0');
    expect(none.shown).toContain('running');
    expect(none.shown).not.toContain('\x1b');
  });

  it.skipIf(noTerminal)(
    'what came from the daemon cannot steer it, also as JSON or as lines of the log',
    async () => {
      await using daemon = await Operated.start(services);
      await daemon.bosun(['restart', 'once']);
      for (const command of ['ps', 'ps --json', 'top --json', 'logs', 'logs --json']) {
        const terminal = new Terminal(bosun(command), daemon.directory);
        await terminal.seen('ended with 0');
        expect({ command, shown: terminal.shown }).toEqual({
          command,
          shown: expect.stringContaining('the disk is full\\u001b[31m\\u009b1m\\u202e'),
        });
        expect(terminal.shown).not.toMatch(/[\u0080-\u009f\u202e]/);
      }
    },
  );

  it.skipIf(noTerminal)('bosun heap asks, and takes a snapshot only on a yes', async () => {
    await using daemon = await Operated.start(services);
    for (const answer of ['\r', 'n\r', '\x04']) {
      const terminal = new Terminal(bosun('heap --out a.heapsnapshot'), daemon.directory);
      await terminal.seen('Take it? [y/N] ');
      terminal.type(answer);
      await terminal.seen('ended with 1', await terminal.seen('no snapshot was taken'));
    }
    const terminal = new Terminal(bosun('heap --out a.heapsnapshot'), daemon.directory);
    await terminal.seen('Take it? [y/N] ');
    terminal.type('y\r');
    await terminal.seen('ended with 0', await terminal.seen('a.heapsnapshot: '));
    expect(terminal.shown).toMatch(/fetching it: [\d.]+ \w+ of [\d.]+ MiB/);
    const file = resolve(daemon.directory, 'a.heapsnapshot');
    expect(statSync(file).size).toBeGreaterThan(0);
  });
});
