/**
 * The line's worker in development: as `worker.js`, with sockets to which a fault can be done.
 */

import "./faults.js";
import "../worker.js";
