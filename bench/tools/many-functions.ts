/** A C program of so many functions; it tells how long it has been stalled. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { projectRoot } from '../../test/tools/go.js';

const run = promisify(execFile);

/** Of a generated name; the number begins with how many of all are of the list: see listOf(). */
export const MANY = 5_000;

/** The first so many functions, as a pattern; a power of ten, or all. */
export function listOf(count: number): string {
  return count === MANY ? 'many_*' : `many_${'0'.repeat(4 - Math.log10(count))}*`;
}

export async function manyFunctions(): Promise<string> {
  const folder = join(projectRoot, '.cache/bench');
  const path = join(folder, `many-${MANY}`);
  if (existsSync(path)) return path;
  await mkdir(folder, { recursive: true });
  await writeFile(`${path}.c`, source());
  const options = ['-O1', '-fcf-protection', '-fno-omit-frame-pointer', '-pthread'];
  await run('gcc', [...options, '-o', `${path}.new`, `${path}.c`]);
  await rename(`${path}.new`, path);
  return path;
}

const name = (index: number): string => `many_${String(index).padStart(4, '0')}`;

/**
 * A thread that the scheduler prefers wakes every half millisecond and calls some of the functions;
 * how late it is done is the stall. Each line that is read is answered with the longest since the
 * one before, in nanoseconds.
 */
function source(): string {
  const names = Array.from({ length: MANY }, (_, index) => name(index));
  const functions = names.map(
    (each, index) =>
      `__attribute__((noinline)) long ${each}(long n) { count(n + ${index}); return n; }`,
  );
  return `#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <time.h>

#define PERIOD_NS 500000
#define CALLS 20

static volatile long counter;
static long longest;

__attribute__((noinline)) static void count(long n) { counter += n; }
${functions.join('\n')}
static long (*const functions[])(long) = {${names.join(', ')}};

static long now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000L + now.tv_nsec;
}

static void *watch(void *unused)
{
	struct sched_param first = { .sched_priority = 50 };
	long due = now_ns();

	pthread_setschedparam(pthread_self(), SCHED_FIFO, &first);
	for (unsigned turn = 0;;) {
		struct timespec until;
		long late;

		due += PERIOD_NS;
		until.tv_sec = due / 1000000000L;
		until.tv_nsec = due % 1000000000L;
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
		for (int i = 0; i < CALLS; i++)
			functions[turn++ % ${MANY}](i);
		late = now_ns() - due;
		if (late > __atomic_load_n(&longest, __ATOMIC_RELAXED))
			__atomic_store_n(&longest, late, __ATOMIC_RELAXED);
		if (late > PERIOD_NS)
			due = now_ns();
	}
	return unused;
}

int main(void)
{
	char line[64];
	pthread_t watcher;

	setvbuf(stdout, NULL, _IOLBF, 0);
	pthread_create(&watcher, NULL, watch, NULL);
	while (fgets(line, sizeof(line), stdin))
		printf("%ld\\n", __atomic_exchange_n(&longest, 0, __ATOMIC_RELAXED));
	return 0;
}
`;
}
