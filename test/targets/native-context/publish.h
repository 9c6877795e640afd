/* How the programs here publish the context of a thread. */
#ifndef PUBLISH_H
#define PUBLISH_H

#ifdef __cplusplus
extern "C" {
#endif

struct context {
    unsigned char trace_id[16];
    unsigned char span_id[8];
    unsigned char flags;
};

/* Of the thread that calls it, from now on; NULL: none. */
void publish(const struct context *context);

/* The address of the thread's own copy of the variable that is published. */
void *published_variable(void);

#ifdef __cplusplus
}
#endif

#endif
