/** One field of a protobuf message: a number (varint), eight or four bytes, or what has a length. */
export interface ProtobufField {
  number: number;
  value: bigint | Buffer;
}

const VARINT = 0;
const EIGHT_BYTES = 1;
const LENGTH = 2;
const FOUR_BYTES = 5;

/** The fields of a message that is not trusted. Throws where it is none. */
export function* protobufFields(message: Buffer): Generator<ProtobufField> {
  let at = 0;
  const varint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = message[at++];
      if (byte === undefined) break;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return BigInt.asUintN(64, value);
    }
    throw new Error('a number has no end');
  };
  const take = (size: bigint): Buffer => {
    if (size > message.length - at) throw new Error('a field is longer than its message');
    const start = at;
    at += Number(size);
    return message.subarray(start, at);
  };
  while (at < message.length) {
    const tag = varint();
    const number = Number(tag >> 3n);
    switch (Number(tag & 7n)) {
      case VARINT:
        yield { number, value: varint() };
        break;
      case EIGHT_BYTES:
        yield { number, value: take(8n) };
        break;
      case LENGTH:
        yield { number, value: take(varint()) };
        break;
      case FOUR_BYTES:
        yield { number, value: take(4n) };
        break;
      default:
        throw new Error('a field has a type that does not exist');
    }
  }
}
