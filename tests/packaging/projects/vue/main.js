import { createApp } from "vue";

import { open, reportOf } from "./counted.js";
import Echo from "./Echo.vue";

const app = createApp(Echo, { open });
app.mount("#root");
reportOf("open: one two", () => app.unmount());
