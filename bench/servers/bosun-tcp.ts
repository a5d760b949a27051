import { entrypoint } from 'bosun';
import { TcpEchoService } from 'bosun/services/tcp-echo';

const echo = new TcpEchoService({ host: '127.0.0.1', port: 0 });
await entrypoint([echo], { log: { level: 'warn' } });
console.log(`LISTENING ${new URL(echo.addresses[0] as string).port}`);
