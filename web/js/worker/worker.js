/**
 * The script of a worker that holds lines for pages.
 */

import { serve } from "./served.js";

serve();
