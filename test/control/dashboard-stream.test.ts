import { expect, test, vi } from 'vitest';

/** The page's own module, which TypeScript does not follow from here. */
const { splitter } = (await import(
  String(new URL('../../src/control/dashboard/api.js', import.meta.url))
)) as { readonly splitter: () => (chunk: string) => string[] };

const text = 'event: a\ndata: {}\n\nevent: b\ndata: {"long":1}\n\nevent: c\ndata: []\n\n';
const events = ['event: a\ndata: {}', 'event: b\ndata: {"long":1}', 'event: c\ndata: []'];

test('events are made of chunks, wherever they were cut', () => {
  for (let size = 1; size <= text.length; size++) {
    const split = splitter();
    const got: string[] = [];
    for (let at = 0; at < text.length; at += size) got.push(...split(text.slice(at, at + size)));
    expect(got, `chunks of ${size}`).toEqual(events);
  }
});

test('each chunk of a large event is looked at once', () => {
  const chunk = 'x'.repeat(1_000);
  const split = splitter();
  const looked = vi.spyOn(String.prototype, 'split');
  let length = 0;
  for (let i = 0; i < 1_000; i++) {
    split(chunk);
    length += String(looked.mock.contexts.at(-1)).length;
  }
  expect(looked).toHaveBeenCalledTimes(1_000);
  looked.mockRestore();
  expect(length).toBe(1_000_000);
  expect(split('\n\n')).toEqual([chunk.repeat(1_000)]);
});
