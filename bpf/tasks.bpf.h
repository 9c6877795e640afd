/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* What the kernel says of a thread that it takes off a CPU: its state, and what it is blocked in.
 */
#ifndef UNDERSPAN_TASKS_BPF_H
#define UNDERSPAN_TASKS_BPF_H

#include "kernel_stacks.bpf.h"
#include <asm/unistd_64.h>

#define TASK_STOPPED 4
#define TASK_TRACED 8
#define TASK_DEAD 0x80

struct cfs_rq___schedule {
	int throttle_count;
} __attribute__((preserve_access_index));

struct sched_entity___schedule {
	struct cfs_rq___schedule *cfs_rq;
} __attribute__((preserve_access_index));

struct inode___schedule {
	unsigned short i_mode;
} __attribute__((preserve_access_index));

struct file___schedule {
	struct inode___schedule *f_inode;
} __attribute__((preserve_access_index));

struct fdtable___schedule {
	unsigned int max_fds;
	struct file___schedule **fd;
} __attribute__((preserve_access_index));

struct files_struct___schedule {
	struct fdtable___schedule *fdt;
} __attribute__((preserve_access_index));

struct task_struct___schedule {
	int pid;
	unsigned int __state;
	unsigned in_iowait : 1;
	struct sched_entity___schedule se;
	struct files_struct___schedule *files;
	bool throttled;
} __attribute__((preserve_access_index));

/* Before Linux 5.14, commit 2f064a59a11f. */
struct task_struct___5_13 {
	volatile long state;
} __attribute__((preserve_access_index));

/* As it is now: the tracepoint tells it since Linux 5.18 only (commit fa2c3254d7cf), and a thread
 * that is being woken meanwhile is still one that has stopped. */
INLINE __u64 task_state(const struct task_struct___schedule *task)
{
	if (bpf_core_field_exists(task->__state))
		return task->__state;
	return ((const struct task_struct___5_13 *)task)->state;
}

/*
 * Its control group has used up its share of the processors. From Linux 6.18 on that is said of
 * each thread; before, of the queue that it waits in.
 */
INLINE bool is_throttled(const struct task_struct___schedule *task)
{
	if (bpf_core_field_exists(task->throttled))
		return task->throttled;
	if (bpf_core_field_exists(task->se.cfs_rq) &&
	    bpf_core_field_exists(((struct cfs_rq___schedule *)0)->throttle_count))
		return BPF_CORE_READ(task, se.cfs_rq, throttle_count) > 0;
	return false;
}

#define FILE_TYPE 0170000
#define FILE_IS_SOCKET 0140000
#define FILE_IS_REGULAR 0100000
#define FILE_IS_BLOCK_DEVICE 0060000
#define FILE_IS_FOLDER 0040000

/* What reading or writing that file descriptor waits for. */
INLINE __u32 file_kind(const struct task_struct___schedule *task, __u64 number)
{
	struct fdtable___schedule *table = BPF_CORE_READ(task, files, fdt);
	struct file___schedule **files, *file = NULL;

	if (!table || number >= BPF_CORE_READ(table, max_fds))
		return WAIT_SYSTEM_CALL;
	files = BPF_CORE_READ(table, fd);
	bpf_probe_read_kernel(&file, sizeof(file), files + number);
	if (!file)
		return WAIT_SYSTEM_CALL;
	switch (BPF_CORE_READ(file, f_inode, i_mode) & FILE_TYPE) {
	case FILE_IS_SOCKET:
		return WAIT_NETWORK;
	case FILE_IS_REGULAR:
	case FILE_IS_BLOCK_DEVICE:
	case FILE_IS_FOLDER:
		return WAIT_IO;
	default:
		return WAIT_SYSTEM_CALL;
	}
}

/* By the system call that it is in, and what that was called with first. */
INLINE __u32 system_call_kind(const struct task_struct___schedule *task, __u64 number, __u64 first)
{
	switch (number) {
	case __NR_futex:
		return WAIT_FUTEX;
	case __NR_nanosleep:
	case __NR_clock_nanosleep:
		return WAIT_SLEEP;
	case __NR_read:
	case __NR_write:
	case __NR_readv:
	case __NR_writev:
		return file_kind(task, first);
	case __NR_pread64:
	case __NR_pwrite64:
	case __NR_preadv:
	case __NR_pwritev:
	case __NR_preadv2:
	case __NR_pwritev2:
	case __NR_fsync:
	case __NR_fdatasync:
	case __NR_sync:
	case __NR_syncfs:
	case __NR_sync_file_range:
	case __NR_msync:
		return WAIT_IO;
	case __NR_connect:
	case __NR_accept:
	case __NR_accept4:
	case __NR_recvfrom:
	case __NR_recvmsg:
	case __NR_recvmmsg:
	case __NR_sendto:
	case __NR_sendmsg:
	case __NR_sendmmsg:
	case __NR_poll:
	case __NR_ppoll:
	case __NR_select:
	case __NR_pselect6:
	case __NR_epoll_wait:
	case __NR_epoll_pwait:
	case __NR_epoll_pwait2:
		return WAIT_NETWORK;
	default:
		return WAIT_SYSTEM_CALL;
	}
}

/* What the running thread is blocked by. */
INLINE __u32 blocked_kind(const struct kernel_hit *at, const struct task_struct___schedule *task,
			  __u64 state)
{
	struct pt_regs *user = user_registers(at);
	__u64 number, first = 0;
	__u32 kind;

	if (state & (TASK_STOPPED | TASK_TRACED) ||
	    bpf_probe_read_kernel(&number, sizeof(number), &user->orig_rax))
		return WAIT_OTHER;
	if ((__s64)number < 0)
		return WAIT_PAGE_FAULT;
	bpf_probe_read_kernel(&first, sizeof(first), &user->rdi);
	kind = system_call_kind(task, number, first);
	return kind == WAIT_SYSTEM_CALL && BPF_CORE_READ_BITFIELD_PROBED(task, in_iowait) ? WAIT_IO
											  : kind;
}

#endif
