/*
 * A plain C program whose function does next to nothing: for each number that it reads it makes so
 * many calls and prints the nanoseconds of its own CPU time that one took, on average.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static volatile long counter;

/* Called by work(), so that this has a frame. */
__attribute__((noinline)) static void count(long n)
{
	counter += n;
}

__attribute__((noinline)) long work(long n)
{
	count(n);
	return counter;
}

static double cpu_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return now.tv_sec * 1e9 + now.tv_nsec;
}

int main(void)
{
	char line[64];

	setvbuf(stdout, NULL, _IOLBF, 0);
	while (fgets(line, sizeof(line), stdin)) {
		long calls = atol(line);
		double begin = cpu_ns();

		for (long n = 0; n < calls; n++)
			work(n);
		printf("%.3f\n", (cpu_ns() - begin) / calls);
	}
	return 0;
}
