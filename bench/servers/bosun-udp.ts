import { entrypoint } from 'bosun';
import { type RemoteInfo, UdpService } from 'bosun/services/udp';

class Echo extends UdpService {
  protected override handle(message: Buffer, remote: RemoteInfo): void {
    this.reply(message, remote);
  }
}

const echo = new Echo({ host: '127.0.0.1', port: 0 });
await entrypoint([echo], { log: { level: 'warn' } });
console.log(`LISTENING ${new URL(echo.addresses[0] as string).port}`);
