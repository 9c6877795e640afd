import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { describe, test } from 'node:test';

import { loadNative } from '../../src/native/load.js';
import { ProcessMemory, withMemory } from '../../src/targets/memory.js';
import { type ThreadContextPlace, ThreadContexts } from '../../src/targets/thread-context.js';
import {
  buildNativeContext,
  compilersOf,
  NATIVE_CONTEXT_BUILDS,
  type NativeContextBuild,
} from '../tools/native-context.js';
import { requireCommands } from '../tools/require.js';

const native = loadNative();

interface Thread {
  pointer: bigint;
  variable: bigint;
}

/** Starts the program and waits until each of its threads has said where its variable is. */
async function start(
  name: NativeContextBuild,
): Promise<{ child: ChildProcess; threads: Thread[] }> {
  const { path, env } = await buildNativeContext(name);
  const child = spawn(path, ['3', '1'], {
    env: { ...process.env, ...env },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  await once(child, 'spawn');
  const threads: Thread[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    const found = /^thread \d+ (0x[0-9a-f]+) (0x[0-9a-f]+)$/.exec(line);
    if (found?.[1] && found[2]) {
      threads.push({ pointer: BigInt(found[1]), variable: BigInt(found[2]) });
    }
    if (line === 'ready') break;
  }
  return { child, threads };
}

/** As bpf/thread_context.bpf.h does it. */
function addressIn(pid: number, place: ThreadContextPlace, pointer: bigint): bigint {
  if (place.kind === 'static') return pointer + BigInt(place.offset);
  return withMemory(ProcessMemory, `/proc/${pid}/mem`, (memory) => {
    const table = memory.word(pointer + 8n);
    const entry = place.libc === 'glibc' ? 16 : 8;
    return memory.word(table + BigInt(place.module * entry)) + BigInt(place.offset);
  });
}

const kindOf: Partial<Record<NativeContextBuild, 'dynamic'>> = {
  'library, general dynamic': 'dynamic',
  'library, bound by the linker': 'dynamic',
  'dlopen, general dynamic': 'dynamic',
  'dlopen, descriptors, no static room': 'dynamic',
  'musl, library, general dynamic': 'dynamic',
  'musl, dlopen, general dynamic': 'dynamic',
  'musl, dlopen, descriptors': 'dynamic',
  'Elastic, dlopen': 'dynamic',
  'Elastic, musl': 'dynamic',
};

describe('the variable of each thread is found', () => {
  for (const name of Object.keys(NATIVE_CONTEXT_BUILDS) as NativeContextBuild[]) {
    test(name, async (t) => {
      if (!requireCommands(t, compilersOf(name))) return;
      const { child, threads } = await start(name);
      try {
        assert.ok(child.pid);
        assert.equal(threads.length, 3);
        const place = await new ThreadContexts(native).find(child.pid);
        assert.ok(place);
        assert.equal(place.format, name.startsWith('Elastic') ? 'elastic' : 'otel');
        assert.equal(place.kind, kindOf[name] ?? 'static');
        if (place.kind === 'dynamic') {
          assert.equal(place.libc, name.includes('musl') ? 'musl' : 'glibc');
        }
        for (const { pointer, variable } of threads) {
          assert.equal(addressIn(child.pid, place, pointer), variable);
        }
      } finally {
        child.kill('SIGKILL');
        await once(child, 'exit');
      }
    });
  }
});
