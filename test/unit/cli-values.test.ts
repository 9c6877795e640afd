import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InvalidArgumentError } from 'commander';
import {
  collect,
  parseDuration,
  parsePid,
  parsePositive,
  parseRate,
  parseRingSize,
  parseShare,
  parseTimeout,
} from '../../cli/values.js';

function table<T>(parse: (text: string) => T, good: [string, T][], bad: string[]): void {
  for (const [text, value] of good) assert.equal(parse(text), value, text);
  for (const text of bad) assert.throws(() => parse(text), InvalidArgumentError, `'${text}'`);
}

test('durations', () => {
  table(
    parseDuration,
    [
      ['1ms', 1e6],
      ['500us', 5e5],
      ['500µs', 5e5],
      ['1m30s', 90e9],
      ['1.5s', 1.5e9],
      ['7ns', 7],
      ['2h', 7_200e9],
      ['0', 0],
      ['0ms', 0],
    ],
    ['', '5', '-1s', '1 s', 's', '1e3s', '1.s', '1d', '1ms;', '9999999999h'],
  );
});

test('timeouts are durations that a timer can take', () => {
  table(parseTimeout, [['30s', 30_000]], ['30', '600h']);
});

test('shares', () => {
  table(
    parseShare,
    [
      ['0.1', 0.1],
      ['10%', 0.1],
      ['1', 1],
      ['0', 0],
      ['100%', 1],
      ['.5', 0.5],
    ],
    ['', '2', '101%', '-0.1', 'half', '1e-3', '%', 'NaN'],
  );
});

test('numbers', () => {
  table(parsePositive, [['1', 1]], ['0', '-1', '1.5', '', '0x10', '99999999999999999999']);
  table(
    parseRate,
    [
      ['0', 0],
      ['0.5', 0.5],
      ['100', 100],
    ],
    ['', '-1', 'Infinity', '1e3'],
  );
  table(parsePid, [['4242', 4242]], ['0', '-1', 'shop', '', '4294967296', '1.0']);
});

test('ring sizes are powers of two that the kernel takes', () => {
  table(
    parseRingSize,
    [
      ['4096', 4096],
      ['64K', 65536],
      ['8M', 8 << 20],
      ['8MiB', 8 << 20],
      ['1G', 2 ** 30],
    ],
    ['', '3M', '2K', '2G', '-8M', '8MM', 'M'],
  );
});

test('a list grows by repetition', () => {
  assert.deepEqual(collect(parsePid)('7', [1]), [1, 7]);
});
