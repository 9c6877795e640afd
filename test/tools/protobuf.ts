/** One field of a protobuf message. Its getters check that it is of that kind. */
export class ProtobufField {
  constructor(
    private readonly wireType: number,
    private readonly scalar: bigint,
    private readonly content: Uint8Array | null,
  ) {}

  private expect(wireType: number): void {
    if (this.wireType !== wireType)
      throw new Error(`protobuf: wire type ${this.wireType} where ${wireType} was expected`);
  }

  bytes(): Uint8Array {
    this.expect(2);
    return this.content ?? new Uint8Array();
  }

  string(): string {
    return Buffer.from(this.bytes()).toString('utf8');
  }

  message(): ProtobufReader {
    return new ProtobufReader(this.bytes());
  }

  number(): number {
    this.expect(0);
    return Number(this.scalar);
  }

  int64(): bigint {
    this.expect(0);
    return BigInt.asIntN(64, this.scalar);
  }

  fixed64(): bigint {
    this.expect(1);
    return this.scalar;
  }

  fixed32(): number {
    this.expect(5);
    return Number(this.scalar);
  }

  double(): number {
    const bytes = new DataView(new ArrayBuffer(8));
    bytes.setBigUint64(0, this.fixed64());
    return bytes.getFloat64(0);
  }
}

/** Reads a protobuf message field by field. */
export class ProtobufReader {
  private position = 0;
  private readonly view: DataView;

  constructor(private readonly data: Uint8Array) {
    this.view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  }

  /** Calls the handler of each field's number; fields without one are skipped. */
  each(handlers: Record<number, (field: ProtobufField) => unknown>): void {
    while (this.position < this.data.length) {
      const tag = Number(this.varint());
      const field = this.field(tag & 7);
      handlers[tag >>> 3]?.(field);
    }
  }

  private field(wireType: number): ProtobufField {
    switch (wireType) {
      case 0:
        return new ProtobufField(0, this.varint(), null);
      case 1:
        return new ProtobufField(1, this.view.getBigUint64(this.take(8), true), null);
      case 2: {
        const size = Number(this.varint());
        const from = this.take(size);
        return new ProtobufField(2, 0n, this.data.subarray(from, from + size));
      }
      case 5:
        return new ProtobufField(5, BigInt(this.view.getUint32(this.take(4), true)), null);
      default:
        throw new Error(`protobuf: wire type ${wireType}`);
    }
  }

  /** Moves on by `size` bytes and returns where they begin. */
  private take(size: number): number {
    const from = this.position;
    if (size > this.data.length - from) throw new Error('protobuf: the message is cut short');
    this.position = from + size;
    return from;
  }

  private varint(): bigint {
    // Nearly all of them are small, and BigInt arithmetic is slow.
    let low = 0;
    for (let shift = 0; shift < 28; shift += 7) {
      const byte = this.view.getUint8(this.take(1));
      low |= (byte & 127) << shift;
      if (byte < 128) return BigInt(low);
    }
    let value = BigInt(low);
    for (let shift = 28n; shift < 70n; shift += 7n) {
      const byte = this.view.getUint8(this.take(1));
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return BigInt.asUintN(64, value);
    }
    throw new Error('protobuf: a varint without end');
  }
}
