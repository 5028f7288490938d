import { mount, unmount } from "svelte";

import { open, reportOf } from "./counted.js";
import Echo from "./Echo.svelte";

const echo = mount(Echo, { target: document.getElementById("root"), props: { open } });
reportOf("open: one two", () => unmount(echo));
