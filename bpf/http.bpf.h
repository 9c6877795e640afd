/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * HTTP requests: calls of functions that the user named as handlers, counted by method and status
 * whatever is filtered.
 */
#ifndef UNDERSPAN_HTTP_BPF_H
#define UNDERSPAN_HTTP_BPF_H

#include "open_calls.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2048);
	__type(key, struct http_key);
	__type(value, struct http_requests);
} http_requests SEC(".maps");

/* An empty element, too large for a program's stack. Never written. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct http_requests);
} blank_requests SEC(".maps");

/* Requests that found no room there. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} http_uncounted SEC(".maps");

#define HTTP_OK 200
#define HTTP_SERVER_ERROR 500

/* http.server.request.duration of the semantic conventions: bounds belong to the bucket below. */
INLINE __u32 http_bucket(__u64 ns)
{
	return (ns > 5000000ULL) + (ns > 10000000ULL) + (ns > 25000000ULL) + (ns > 50000000ULL) +
	       (ns > 75000000ULL) + (ns > 100000000ULL) + (ns > 250000000ULL) +
	       (ns > 500000000ULL) + (ns > 750000000ULL) + (ns > 1000000000ULL) +
	       (ns > 2500000000ULL) + (ns > 5000000000ULL) + (ns > 7500000000ULL) +
	       (ns > 10000000000ULL);
}

/*
 * A handler has ended. net/http answers 200 where none was set, and cuts the connection where one
 * panics: to whoever asked, that is a server error. A global function, since the verifier looks at
 * those once; so it takes numbers only.
 */
__noinline int count_request(__u64 function, __u64 method, __u64 status, __u64 duration_ns)
{
	struct http_key key = { .method = method, .function = function, .status = status };
	struct http_requests *requests = bpf_map_lookup_elem(&http_requests, &key), *blank;
	__u32 bucket = http_bucket(duration_ns);
	__u32 zero = 0;
	__u64 *uncounted;

	if (!requests) {
		blank = bpf_map_lookup_elem(&blank_requests, &zero);
		if (!blank)
			return 0;
		bpf_map_update_elem(&http_requests, &key, blank, BPF_NOEXIST);
		requests = bpf_map_lookup_elem(&http_requests, &key);
		if (!requests) {
			uncounted = bpf_map_lookup_elem(&http_uncounted, &zero);
			if (uncounted)
				ADD(*uncounted, 1);
			return 0;
		}
	}
	ADD(requests->sum_ns, duration_ns);
	ADD(requests->buckets[slot_index(bucket, HTTP_BUCKETS)], 1);
	return 0;
}

#endif
