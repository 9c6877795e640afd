/** HTTP requests as the kernel counted them, by handler, method and status. */
import type { BpfMap } from '../native/native.js';
import {
  HTTP_METHOD_OTHER,
  HTTP_METHOD_UNKNOWN,
  httpKey,
  httpRequests,
} from '../spans/records.generated.js';

export interface HttpRequests {
  functionIndex: number;
  /** "" where it could not be read. */
  method: string;
  /** 0 where it is not known. */
  status: number;
  /** Not cumulative; the bounds are HTTP_BUCKETS_SECONDS, and the last has none. */
  buckets: number[];
  sumNs: number;
}

/** Bounds of http.server.request.duration, and what is longer. */
const BUCKETS = 15;

/** What the semantic conventions know; anything else a client may send is one series, not many. */
const METHODS = new Set('GET HEAD POST PUT DELETE CONNECT OPTIONS TRACE PATCH QUERY'.split(' '));
const OTHER_METHOD = '_OTHER';

export async function readHttpRequests(map: BpfMap): Promise<HttpRequests[]> {
  const { keys, values } = await map.entries();
  return Array.from({ length: keys.length / httpKey.size }, (_, index) => {
    const key = index * httpKey.size;
    const value = index * httpRequests.size;
    const count = (at: number): number => Number(values.readBigUInt64LE(value + at));
    return {
      functionIndex: keys.readUInt32LE(key + httpKey.function),
      method: methodOf(keys.subarray(key + httpKey.method, key + httpKey.method + 8)),
      status: keys.readUInt32LE(key + httpKey.status),
      buckets: Array.from({ length: BUCKETS }, (_, bucket) =>
        count(httpRequests.buckets + 8 * bucket),
      ),
      sumNs: count(httpRequests.sumNs),
    };
  });
}

function methodOf(bytes: Buffer): string {
  const value = bytes.readBigUInt64LE();
  if (value === BigInt(HTTP_METHOD_UNKNOWN)) return '';
  if (value === BigInt(HTTP_METHOD_OTHER)) return OTHER_METHOD;
  const text = bytes.toString('latin1').replace(/\0.*$/s, '');
  return METHODS.has(text) ? text : OTHER_METHOD;
}

/** Takes a handler's counts out, for its number will be another function's. */
export async function forgetHttpRequests(map: BpfMap, first: number, count: number): Promise<void> {
  const { keys } = await map.entries();
  for (let at = 0; at < keys.length; at += httpKey.size) {
    const index = keys.readUInt32LE(at + httpKey.function);
    if (index >= first && index < first + count) map.delete(keys.subarray(at, at + httpKey.size));
  }
}
