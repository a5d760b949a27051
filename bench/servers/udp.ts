import { createSocket } from 'node:dgram';

const socket = createSocket('udp4');
socket.on('message', (message, remote) => socket.send(message, remote.port, remote.address));
socket.bind(0, '127.0.0.1', () => console.log(`LISTENING ${socket.address().port}`));
