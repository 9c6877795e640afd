/** How records leave the kernel: by one ring buffer, or by a perf buffer for each CPU. */
export const TRANSPORTS = ['ring', 'perf'] as const;
export type Transport = (typeof TRANSPORTS)[number];
