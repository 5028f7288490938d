/**
 * The script of a worker that holds lines: import it in the worker's own script, and give the worker to `connect`.
 * It exports nothing.
 */
export {};
