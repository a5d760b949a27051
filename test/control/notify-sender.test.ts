import { randomUUID } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { NotifySender } from '../../src/control/thread/notify-sender.ts';
import { missingTools, NotifySocket } from '../support/notify-socket.ts';

/** The children of this process that are shells. */
const shells = () =>
  readdirSync('/proc/self/task')
    .flatMap((task) => readFileSync(`/proc/self/task/${task}/children`, 'utf8').split(' '))
    .filter((pid) => pid !== '' && readFileSync(`/proc/${pid}/comm`, 'utf8').trim() === 'sh')
    .map(Number);

describe.skipIf(missingTools.length > 0 && process.env.CI !== 'true')('messages to systemd', () => {
  test('are sent as they are, by one shell, and by another when that has ended', async () => {
    const name = `@bosun-${randomUUID()}`;
    await using socket = await NotifySocket.at(name);
    using sender = new NotifySender(name);
    const before = shells();
    const text = `STATUS=$(false) "a" 'b' \`c\` \\n * ; & | ü -x`;
    await sender.send(['READY=1', text]);
    await socket.received(/READY=1/);
    expect(socket.messages).toEqual([`READY=1\n${text}`]);
    const begun = () => shells().filter((pid) => !before.includes(pid));
    const [shell] = begun();
    await sender.send(['WATCHDOG=1']);
    expect(begun()).toEqual([shell]);
    process.kill(shell as number, 'SIGKILL');
    while (begun().includes(shell as number)) await new Promise(setImmediate);
    await sender.send(['STOPPING=1']).catch(() => sender.send(['STOPPING=1']));
    await socket.received(/STOPPING=1/);
  });

  test('that cannot be sent are told of, and do not keep others from being sent', async () => {
    const name = `@bosun-${randomUUID()}`;
    using sender = new NotifySender(name);
    await expect(sender.send(['READY=1'])).rejects.toThrow(/^systemd-notify said [1-9]\d* .*refused/);
    await using socket = await NotifySocket.at(name);
    await sender.send(['READY=1']);
    await socket.received(/READY=1/);
  });
});
