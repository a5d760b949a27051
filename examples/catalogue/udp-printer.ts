import type { Scope } from 'bosun';
import { type RemoteInfo, UdpService } from 'bosun/services/udp';

/** Prints every datagram to the log. */
export class UdpPrinter extends UdpService {
  protected override handle(message: Buffer, remote: RemoteInfo, { log }: Scope): void {
    log.info({ from: `${remote.address}:${remote.port}`, bytes: message.length }, message.toString());
  }
}
