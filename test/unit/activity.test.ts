import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BpfMap } from '../../src/native/native.js';
import { Activity } from '../../src/session/activity.js';

/** The flag as the kernel has it, and a reader that looks at it when the test says so. */
function scene() {
  const word = Buffer.alloc(4);
  let isWatching = false;
  let told = 0;
  const map = {
    read: () => Buffer.from(word),
    update: (_: Buffer, value: Buffer) => void value.copy(word),
  };
  const activity = new Activity(map as unknown as BpfMap, () => (isWatching = true));
  return {
    activity,
    call: () => word.writeUInt32LE(1),
    /** Whether there is something to be told of. */
    read: (): boolean => {
      const isFound = isWatching && word.readUInt32LE() !== 0;
      if (isFound) isWatching = false;
      return isFound;
    },
    wait: (since = activity.look()) => activity.once(since, () => told++),
    get told() {
      return told;
    },
  };
}

test('what was called is seen by one look', () => {
  const { activity, call } = scene();
  const before = activity.look();
  assert.equal(activity.look(), before);
  call();
  const after = activity.look();
  assert.notEqual(after, before);
  assert.equal(activity.look(), after);
});

test('who waits is told once when the reader has found the flag set', () => {
  const each = scene();
  each.wait();
  assert.equal(each.read(), false);
  each.call();
  assert.equal(each.read(), true);
  each.activity.found();
  assert.equal(each.told, 1);
  assert.equal(each.read(), false);
  each.activity.look();
  assert.equal(each.told, 1);
});

test('a call between the look and the asking is found by the reader', () => {
  const each = scene();
  const since = each.activity.look();
  each.call();
  each.wait(since);
  assert.equal(each.told, 0);
  assert.equal(each.read(), true);
});

test('where another look clears the flag before the reader comes, that tells', () => {
  const each = scene();
  each.wait();
  each.call();
  each.activity.look();
  assert.equal(each.told, 1);
  assert.equal(each.read(), false);
});

test('where another look cleared it before it was asked, it is told at once', () => {
  const each = scene();
  const since = each.activity.look();
  each.call();
  each.activity.look();
  each.wait(since);
  assert.equal(each.told, 1);
});

test('a word of the reader that is late does no harm to who has asked anew', () => {
  const each = scene();
  each.wait();
  each.call();
  assert.equal(each.read(), true);
  each.activity.look();
  assert.equal(each.told, 1);
  each.wait();
  each.activity.found();
  assert.equal(each.told, 2);
  each.wait();
  each.call();
  assert.equal(each.read(), true);
});
