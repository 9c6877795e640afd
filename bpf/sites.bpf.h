/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* From a hit to its site, and whether the process that made it is a target. */
#ifndef UNDERSPAN_SITES_BPF_H
#define UNDERSPAN_SITES_BPF_H

#include "common.bpf.h"
#include "registers.bpf.h"
#include "targets.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct site);
} sites SEC(".maps");

/* Index into `sites` by address in the module, for kernels without cookies (before 5.15). */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u64);
	__type(value, __u32);
} site_by_address SEC(".maps");

/* The module of this attachment in the process, if its hits count. */
INLINE struct target_module *module_of(struct target *target)
{
	if (!target)
		return NULL;
#pragma unroll
	for (__u32 i = 0; i < MAX_TARGET_MODULES; i++)
		if (target->modules[i].attachment == settings.attachment)
			return &target->modules[i];
	return NULL;
}

/*
 * What a hit costs is known by its function; in which process it costs that, user space learns from
 * a few of them. Reader and writers may meet in an element: then one sample is of nobody.
 */
OUT_OF_LINE __attribute__((unused)) void sample_hit(__u32 tgid, __u32 function)
{
	__u32 zero = 0, chance, slot;
	struct target_facts *facts = bpf_map_lookup_elem(&target_facts, &zero);
	struct hit_sample *sample;

	if (!facts || !facts->samples_hits)
		return;
	chance = bpf_get_prandom_u32();
	if (chance & (HIT_SAMPLE_EVERY - 1))
		return;
	slot = (chance / HIT_SAMPLE_EVERY) & (HIT_SAMPLES - 1);
	sample = bpf_map_lookup_elem(&hit_samples, &slot);
	if (!sample)
		return;
	sample->time_ns = bpf_ktime_get_ns();
	sample->tgid = tgid;
	sample->function = function;
}

/*
 * The site of a hit that counts, else NULL; `at`: its address in memory, which only kernels without
 * cookies need. Sets the process's target if that had to be looked up, which it need not if it is
 * known that the hits of the process count.
 */
INLINE struct site *find_site_at(struct pt_regs *regs, __u64 at, bool counts, __u32 tgid,
				 struct target **target)
{
	struct target_module *module = NULL;
	struct site *site;
	__u32 index;

	if ((settings.filter_targets && !counts) || !settings.has_cookies) {
		*target = bpf_map_lookup_elem(&targets, &tgid);
		module = module_of(*target);
		if (!module)
			return NULL;
	}
	if (settings.has_cookies) {
		index = bpf_get_attach_cookie(regs);
	} else {
		__u64 address = at - module->bias;
		__u32 *found = bpf_map_lookup_elem(&site_by_address, &address);

		if (!found)
			return NULL;
		index = *found;
	}
	site = bpf_map_lookup_elem(&sites, &index);
	if (!site)
		return NULL;
	if (site->condition == CONDITION_ABOVE && !jbe_falls_through(regs))
		return NULL;
	if (site->condition >= CONDITION_TAKEN && !jump_is_taken(regs, site->condition & 15))
		return NULL;
	return site;
}

/* Where the module is mapped whose site is met at `at`. */
INLINE __u64 bias_at(const struct site *site, __u64 at)
{
	return settings.position_independent ? at - site->address : 0;
}

/* The site of a hit at the site itself, as all are but returns through a trampoline; sets the
 * process and where its module is mapped. */
INLINE struct site *find_site(struct pt_regs *regs, __u32 *tgid, __u64 *bias)
{
	struct target *target = NULL;
	struct site *site;

	*tgid = bpf_get_current_pid_tgid() >> 32;
	site = find_site_at(regs, INSTRUCTION_POINTER(regs), false, *tgid, &target);
	if (!site)
		return NULL;
	*bias = bias_at(site, INSTRUCTION_POINTER(regs));
	if (site->kind != SITE_RETURN)
		sample_hit(*tgid, site->function);
	return site;
}

#endif
