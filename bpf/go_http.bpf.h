/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * Method and status of HTTP requests to net/http: the method is read where the handler begins, the
 * status is what the first WriteHeader beneath it says.
 */
#ifndef UNDERSPAN_GO_HTTP_BPF_H
#define UNDERSPAN_GO_HTTP_BPF_H

#include "memory.bpf.h"
#include "open_calls.bpf.h"
#include "registers.bpf.h"

/* Method is the first field of http.Request, in every version. */
INLINE __u64 read_method(__u64 request)
{
	__u64 text[2], method = 0;

	if (!request || read_user(text, sizeof(text), request))
		return HTTP_METHOD_UNKNOWN;
	if (text[1] > 7)
		return HTTP_METHOD_OTHER;
	if (!text[1] || read_user(&method, text[1] & 7, text[0]))
		return HTTP_METHOD_UNKNOWN;
	return method > HTTP_METHOD_OTHER ? method : HTTP_METHOD_UNKNOWN;
}

/* The request of a handler, from its own arguments. */
INLINE __u64 request_method(struct pt_regs *regs, const struct site *site)
{
	__u64 request = 0;

	if (site->context_place == CONTEXT_REQUEST_REGISTER)
		request = go_argument(regs, site->context_at);
	else if (site->context_place == CONTEXT_REQUEST_STACK)
		read_user(&request, sizeof(request), STACK_POINTER(regs) + 8 + site->context_at);
	return read_method(request);
}

/* WriteHeader(status) on this goroutine: of all handlers that run, one within the other, as far as
 * they have none. 1xx are followed by another; later ones are ignored by net/http. */
OUT_OF_LINE void set_http_status(struct stack *stack, __u64 status)
{
	if (!stack || status < 200 || status > 999)
		return;
	for (__u64 i = 0; i < MAX_OPEN_CALLS; i++) {
		struct open_call *call;

		if (i >= stack->depth)
			return;
		call = CALL_SLOT(stack, stack->depth - 1 - i);
		if (call->http_method && !call->http_status)
			call->http_status = status;
	}
}

#endif
