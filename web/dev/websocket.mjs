// The server side of a websocket, as much of RFC 6455 as the mock needs: text frames, ping, close; no fragments.
import { createHash } from 'node:crypto';

export function accept(request, socket, hooks) {
  const key = request.headers['sec-websocket-key'];
  const answer = createHash('sha1').update(key + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest('base64');
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${answer}\r\n\r\n`);
  socket.setNoDelay(true);
  let buffer = Buffer.alloc(0);
  const frame = (opcode, payload) => {
    const n = payload.length;
    const head = n < 126 ? Buffer.from([0x80 | opcode, n]) : n < 65536 ? Buffer.from([0x80 | opcode, 126, n >> 8, n & 255]) : Buffer.alloc(10);
    if (n >= 65536) {
      head[0] = 0x80 | opcode;
      head[1] = 127;
      head.writeBigUInt64BE(BigInt(n), 2);
    }
    socket.write(Buffer.concat([head, payload]));
  };
  socket.on('data', (data) => {
    buffer = Buffer.concat([buffer, data]);
    for (;;) {
      if (buffer.length < 2) return;
      let n = buffer[1] & 127;
      let at = 2;
      if (n === 126) {
        if (buffer.length < 4) return;
        n = buffer.readUInt16BE(2);
        at = 4;
      } else if (n === 127) return void socket.destroy();
      if (buffer.length < at + 4 + n) return;
      const mask = buffer.subarray(at, at + 4);
      const payload = Buffer.from(buffer.subarray(at + 4, at + 4 + n)).map((b, i) => b ^ mask[i & 3]);
      const opcode = buffer[0] & 15;
      buffer = buffer.subarray(at + 4 + n);
      if (opcode === 8) return void socket.end(Buffer.from([0x88, 0]));
      if (opcode === 9) frame(10, payload);
      if (opcode === 1) hooks.message(payload.toString());
    }
  });
  socket.on('close', hooks.closed);
  socket.on('error', () => socket.destroy());
  return { send: (message) => socket.writable && frame(1, Buffer.from(JSON.stringify(message))), drop: () => socket.destroy() };
}
