import { once } from 'node:events';
import type { Readable } from 'node:stream';
import { describe, expect, it, vi } from 'vitest';
import { Journal } from '../../src/control/thread/journal.ts';
import { logs } from '../../src/control/thread/logs.ts';
import type { Ask, ControlPlane } from '../../src/control/thread/plane.ts';
import type { Reply } from '../../src/control/thread/reply.ts';

const line = (level: number, service: string | undefined, msg: string) =>
  JSON.stringify({ level, ...(service !== undefined && { service }), msg });

const written = [
  line(20, 'api', 'detail'),
  line(30, 'api', 'hello'),
  line(40, 'cache', 'careful'),
  line(50, 'api', 'trouble'),
  line(30, undefined, 'ready'),
];

/** A journal of a daemon with the services api and cache. */
function journalOf(lines: readonly string[]): Journal {
  const journal = new Journal();
  const service = {
    type: 'Service',
    state: 'running',
    since: 0,
    restarts: 0,
    lastError: undefined,
    critical: true,
    dependencies: [],
    supervisor: undefined,
    addresses: [],
  } as const;
  journal.setStatus({
    phase: 'ready',
    services: [
      { name: 'api', ...service },
      { name: 'cache', ...service },
    ],
  });
  journal.addLines(lines);
  return journal;
}

const ask = (journal: Journal, query: string): Reply =>
  logs({ journal } as ControlPlane, { url: new URL(`http://control.invalid/api/logs?${query}`) } as Ask);

const messages = (text: string) =>
  text
    .split('\n')
    .slice(0, -1)
    .map((json) => (JSON.parse(json) as { readonly msg: string }).msg);

const answered = (journal: Journal, query: string) => messages(String(ask(journal, query).body));

describe('the log over the control plane', () => {
  it('keeps the last thousand lines, and fewer when they are long', () => {
    const short = journalOf(Array.from({ length: 1_500 }, (_, i) => line(30, 'api', String(i))));
    expect(answered(short, 'lines=10000')).toHaveLength(1_000);
    const long = journalOf(
      Array.from({ length: 20 }, (_, i) => line(30, 'api', String(i).repeat(1_000_000))),
    );
    const kept = answered(long, 'lines=10000');
    expect(kept.join('').length).toBeLessThan(8 * 2 ** 20);
    expect(kept.at(-1)).toBe('19'.repeat(1_000_000));
    long.addLines([line(30, 'api', 'short')]);
    expect(answered(long, 'lines=1')).toEqual(['short']);
  });

  it('gives the last lines, of a service, of a level at least', () => {
    const journal = journalOf(written);
    expect(answered(journal, '')).toEqual(['detail', 'hello', 'careful', 'trouble', 'ready']);
    expect(answered(journal, 'service=api')).toEqual(['detail', 'hello', 'trouble']);
    expect(answered(journal, 'level=warn')).toEqual(['careful', 'trouble']);
    expect(answered(journal, 'service=api&level=info')).toEqual(['hello', 'trouble']);
    expect(answered(journal, 'lines=2')).toEqual(['trouble', 'ready']);
    expect(answered(journal, 'lines=0')).toEqual([]);
    expect(answered(journal, 'follow=0&lines=1')).toEqual(['ready']);
    expect(answered(journal, 'follow=false&lines=1')).toEqual(['ready']);
    expect(ask(journal, '').headers).toEqual({ 'content-type': 'application/x-ndjson; charset=utf-8' });
  });

  it('leaves out what is no JSON only where it has to be looked into', () => {
    const journal = journalOf(['not JSON', line(30, 'api', 'hello')]);
    expect(String(ask(journal, '').body)).toContain('not JSON\n');
    expect(answered(journal, 'level=debug')).toEqual(['hello']);
  });

  it('refuses what it does not know, and names option, rule and value', () => {
    const journal = journalOf(written);
    const cases: [string, number, string][] = [
      [
        'level=loud',
        400,
        'option "level" must be one of trace, debug, info, warn, error, fatal, received "loud"',
      ],
      ['level=silent', 400, 'option "level" must be one of'],
      ['lines=-1', 400, 'option "lines" must be an integer between 0 and 10000, received "-1"'],
      ['lines=10001', 400, 'received "10001"'],
      ['lines=1e3', 400, 'received "1e3"'],
      ['lines=', 400, 'received ""'],
      ['follow=yes', 400, 'option "follow" must be one of'],
      ['servce=api', 400, 'option "servce" does not exist (did you mean "service"?)'],
      ['lines=1&lines=2', 400, 'option "lines" must be given once'],
      ['service=apy', 404, 'there is no service named "apy" (did you mean "api"?)'],
    ];
    for (const [query, status, message] of cases) {
      expect(() => ask(journal, query), query).toThrow(
        expect.objectContaining({ status, message: expect.stringContaining(message) }),
      );
    }
  });

  it('follows with what comes, until nobody reads', async () => {
    const journal = journalOf(written);
    const stream = ask(journal, 'follow=1&service=api&lines=1').body as Readable;
    const lines = stream[Symbol.asyncIterator]();
    expect(messages(String((await lines.next()).value))).toEqual(['trouble']);
    journal.addLines([line(30, 'cache', 'not this'), line(30, 'api', 'this')]);
    expect(messages(String((await lines.next()).value))).toEqual(['this']);
    stream.destroy();
    await once(stream, 'close');
  });

  it('ends to follow when the reader goes', async () => {
    const journal = journalOf([]);
    const unfollow = vi.fn();
    vi.spyOn(journal, 'follow').mockReturnValue(unfollow);
    const stream = ask(journal, 'follow=1').body as Readable;
    expect(unfollow).not.toHaveBeenCalled();
    stream.destroy();
    await once(stream, 'close');
    expect(unfollow).toHaveBeenCalledOnce();
  });

  it('keeps little for a reader who does not read, and says how much is missing', async () => {
    const journal = journalOf([]);
    const stream = ask(journal, 'follow=1').body as Readable;
    const long = 'x'.repeat(1_000);
    const count = 5_000;
    for (let i = 0; i < count; i++) journal.addLines([line(30, 'api', `${i} ${long}`)]);
    expect(stream.readableLength).toBeLessThan(1.1 * 1024 * 1024);
    let text = '';
    for await (const chunk of stream) {
      text += String(chunk);
      if (text.includes('are missing here')) break;
    }
    const got = messages(text);
    const missing = Number(/^(\d+) lines are missing here/.exec(got.at(-1) ?? '')?.[1]);
    expect(missing).toBeGreaterThan(0);
    expect(got.length - 1 + missing).toBe(count);
  });
});
